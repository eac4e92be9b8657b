"""The data every trainer gets: planted sparse features under superposition, in the shape of a small or a larger model.

Inputs and outputs of a layer are sums of the same few of 512 directions of its own, and some noise: what an MLP's
sparse replacement is trained on, without a model's taking part in the measurement.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large the case is."""

    n_layers: int
    d_model: int
    k: int
    """Active features a token and layer."""
    n_tokens: int
    n_planted: int


SHAPES = {
    "small": Shape(n_layers=6, d_model=128, k=16, n_tokens=16384, n_planted=512),
    "smollm2": Shape(n_layers=6, d_model=576, k=32, n_tokens=8192, n_planted=2048),
}
"""The second has the width of smollm2-135m and a fifth of its layers: layers cost alike."""


def make_case(shape: Shape, path: Path) -> Path:
    """Write inputs and outputs [layer, token, d_model], each of root mean square 1, unless they are there."""
    if path.exists():
        return path
    generator = torch.Generator().manual_seed(0)
    code = torch.rand(shape.n_tokens, shape.n_planted, generator=generator)
    code *= torch.rand(shape.n_tokens, shape.n_planted, generator=generator) < shape.k / shape.n_planted
    tensors = {}
    for name in ("inputs", "outputs"):
        layers = []
        for _ in range(shape.n_layers):
            x = code @ torch.randn(shape.n_planted, shape.d_model, generator=generator)
            x += 0.1 * x.std() * torch.randn(x.shape, generator=generator)
            layers.append(x / x.square().mean().sqrt())
        tensors[name] = torch.stack(layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
