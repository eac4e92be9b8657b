"""Massive rows: the few tokens that hold much of all that a layer's MLP writes, and how much they count in training.

In pretrained models one token in a hundred may hold three quarters of the squared size of a layer's outputs (measured:
layer 2 of a 30-layer Llama), and a single one dozens of times what a hundred others hold. Squared errors then are these
tokens' alone. So a row's error is weighted by

    w = min(1, κ / e),   e = ‖y − mean y‖² / d,

which lets it count as if its energy were κ at most. κ is the largest value with which the 1 % of rows with the highest
energy hold no more than half of the layer's:

    Σ_top min(e, κ) ≤ Σ_others e.

It is never below some 99 times the mean energy of the others: an MLP that acts on few tokens, as many in the organism
do (1 % of the rows hold up to 34 %), has no massive rows, and training is then the plain one, to the bit.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

TOP_ROWS = 0.01
"""The share of rows that may be massive."""
TOP_SHARE = 0.5
"""What they may hold together of the energy of a layer."""


def energy_cap(energy: Float[Tensor, " row"]) -> float:
    """κ of a layer, from ‖y − mean y‖² / d of its rows; infinity where no row is massive."""
    n_top = max(1, math.ceil(TOP_ROWS * energy.numel()))
    if energy.numel() <= n_top:
        return math.inf
    top = energy.double().topk(n_top).values.flip(0)  # rising
    room = TOP_SHARE / (1 - TOP_SHARE) * float(energy.double().sum() - top.sum())
    if not 0 < room < float(top.sum()):
        return math.inf
    # with κ between two of them, those below count whole and the others κ each
    below = torch.cat([top.new_zeros(1), top.cumsum(0)[:-1]])
    caps = (room - below) / torch.arange(n_top, 0, -1, device=top.device)
    fitting = caps <= top
    return float(caps[int(fitting.to(torch.int8).argmax())])


def row_weights(y: Float[Tensor, "row d_model"], cap: Float[Tensor, ""]) -> Float[Tensor, " row"]:
    """min(1, κ / e) of centred outputs."""
    return cap / y.square().mean(1).clamp_min(cap)
