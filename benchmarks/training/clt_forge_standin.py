"""A stand-in for CLT-Forge, which is on no package index: the arithmetic of its training step, written anew from its
published source (LLM-Interp/CLT-Forge, 72b1024). Not the package, and not to be quoted as a measurement of it.

Encode all layers densely with JumpReLU; decode by one dense product a pair of layers ("dense", its default) or by
gathering the decoder rows of active features and adding them up ("gather"); squared error, a tanh sparsity penalty
weighted by decoder norms, a pre-activation penalty on all features, clipped gradients, Adam.
"""

import os

import torch
from torch import Tensor

from measuring import Case, Step, main

VARIANT = os.environ.get("FORGE_VARIANT", "dense")
BANDWIDTH = 1.0


class JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, threshold):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, threshold)
        return x * (x > threshold)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, threshold = ctx.saved_tensors
        near = (x - threshold).abs() < BANDWIDTH / 2
        return grad * (x > threshold), (-(threshold / BANDWIDTH) * near * grad).sum(0)


def make(case: Case) -> Step:
    n_layers, d_model, n_features = case.n_layers, case.d_model, case.n_features
    if case.kind == "cross-layer":
        sources, targets = torch.triu_indices(n_layers, n_layers)
    else:
        sources = targets = torch.arange(n_layers)
    W_enc = (torch.rand(n_layers, d_model, n_features) * 2 - 1).div_(d_model**0.5)
    W_dec = (torch.rand(len(sources), n_features, d_model) * 2 - 1).div_((n_layers * d_model) ** 0.5)
    b_enc, b_dec = torch.zeros(n_layers, n_features), torch.zeros(len(sources), d_model)
    pre = torch.einsum("bnd,ndf->bnf", case.inputs[:, :256].transpose(0, 1), W_enc)
    cut = pre.flatten().topk(case.k * 256 * n_layers).values[-1]  # so that k features a token are active
    log_threshold = torch.full((n_layers, n_features), float(cut.log()))
    parameters = [W_enc, b_enc, W_dec, b_dec, log_threshold]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    since_fired = torch.zeros(n_layers, n_features, dtype=torch.long)
    of_source = torch.zeros(n_layers, len(sources))
    of_source[sources, torch.arange(len(sources))] = 1

    def decode(z: Tensor) -> Tensor:
        out = z.new_zeros(z.shape[0] * n_layers, d_model)
        selected = z.index_select(1, sources)
        if VARIANT == "gather":
            row, pair, feature = selected.nonzero(as_tuple=True)
            parts = selected[row, pair, feature].unsqueeze(1) * W_dec[pair, feature]
            out = out.index_add(0, row * n_layers + targets[pair], parts).view(-1, n_layers, d_model)
        else:
            parts = torch.einsum("bpf,pfd->bpd", selected, W_dec)
            out = out.view(-1, n_layers, d_model).index_add(1, targets, parts)
        return out + out.new_zeros(1, n_layers, d_model).index_add(1, targets, b_dec.unsqueeze(0))

    def step(inputs: Tensor, outputs: Tensor) -> float:
        optimizer.zero_grad()
        pre = torch.einsum("bnd,ndf->bnf", inputs.transpose(0, 1), W_enc) + b_enc
        threshold = log_threshold.exp()
        z = JumpReLU.apply(pre, threshold)
        loss = (outputs.transpose(0, 1) - decode(z)).square().sum(-1).mean(0).sum()
        norms = (of_source @ W_dec.square().sum(2)).sqrt()
        sparsity = 1e-6 * torch.tanh(4 * z * norms).sum(-1).mean(0).sum()
        dead = 1e-8 * (torch.relu(threshold - pre) * norms).sum(-1).mean(0).sum()
        with torch.no_grad():
            fired = z.sum(0) > 0
            since_fired.add_(1)
            since_fired[fired] = 0
        (loss + sparsity + dead).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=False)
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main(make, {"variant": VARIANT})
