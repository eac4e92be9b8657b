"""The data every trainer gets: planted sparse features under superposition, six layers of width 128.

Inputs and outputs of a layer are sums of the same few of 512 directions of its own, and some noise: what an MLP's
sparse replacement is trained on, without a model's taking part in the measurement.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

N_LAYERS, D_MODEL, K = 6, 128, 16
N_TOKENS, N_PLANTED = 16384, 512


def make_case(path: Path) -> Path:
    """Write inputs and outputs [layer, token, d_model], each of root mean square 1, unless they are there."""
    if path.exists():
        return path
    generator = torch.Generator().manual_seed(0)
    code = torch.rand(N_TOKENS, N_PLANTED, generator=generator)
    code *= torch.rand(N_TOKENS, N_PLANTED, generator=generator) < K / N_PLANTED
    tensors = {}
    for name in ("inputs", "outputs"):
        layers = []
        for _ in range(N_LAYERS):
            x = code @ torch.randn(N_PLANTED, D_MODEL, generator=generator)
            x += 0.1 * x.std() * torch.randn(x.shape, generator=generator)
            layers.append(x / x.square().mean().sqrt())
        tensors[name] = torch.stack(layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
