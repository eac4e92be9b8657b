"""sparsify (EleutherAI), `eai-sparsify` from PyPI: one SparseCoder a layer, a transcoder, as its trainer runs it.

Dense encode, ReLU, top-k of each token, `embedding_bag` decode (its fallback on a processor); the loss is its FVU and
each layer's backward pass follows its forward pass. Adam, not its default sign descent, so that all have one optimiser.
It has no cross-layer transcoder.
"""

import os

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from sparsify.config import SparseCoderConfig
from sparsify.sparse_coder import SparseCoder
from torch import Tensor

from measuring import Case, Step, main


def make(case: Case) -> Step:
    assert case.kind == "per-layer"
    config = SparseCoderConfig(num_latents=case.n_features, k=case.k, transcode=True)
    coders = [SparseCoder(case.d_model, config, dtype=torch.float32) for _ in range(case.n_layers)]
    optimizer = torch.optim.Adam([p for coder in coders for p in coder.parameters()], lr=1e-3, fused=True)

    def step(inputs: Tensor, outputs: Tensor) -> float:
        total = 0.0
        for coder, x, y in zip(coders, inputs, outputs, strict=True):
            out = coder(x=x, y=y, total_variance=(y - y.mean(0)).pow(2).sum())
            out.fvu.backward()
            total += float(out.fvu.detach())
        optimizer.step()
        optimizer.zero_grad()
        return total / len(coders)

    return step


if __name__ == "__main__":
    main(make)
