"""The exact difference of each operation between two runs, as coefficients of a linear map.

Notation: subscripts b (base) and c (contrast), x̄ = (x_b + x_c)/2, Δx = x_c − x_b.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 1e-6
"""Where an input changes by less than this share of its size, a slope is a derivative: a quotient of two small numbers
would be mostly rounding, and the derivative is wrong by the square of this only."""
KINK = 1e-3
"""Where derivatives at two near inputs differ by more than this, the function bends between them (ReLU, a clamp), and
only the quotient is right."""


def slope(function: Callable[[Tensor], Tensor], base: Tensor, contrast: Tensor) -> Tensor:
    """σ = Δf/Δx of an elementwise function, the mean of both derivatives where Δx is tiny; in float64 on the way."""
    b, c = base.double().flatten(), contrast.double().flatten()
    difference = c - b
    near = (difference.abs() <= NEAR * (1e-3 + (b + c).abs() / 2)).nonzero().flatten()
    found = (function(c) - function(b)).div_(difference)
    if len(near):
        at_b, at_c = derivative(function, torch.stack([b[near], c[near]]))
        bends = ((at_b - at_c).abs() > KINK) & (difference[near] != 0)
        found[near] = torch.where(bends, found[near], (at_b + at_c) / 2)
    return found.to(base.dtype).view_as(base)


def derivative(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f′ of an elementwise function."""
    with torch.enable_grad():
        at = x.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(function(at).sum(), at)
    return found


def norm_rank_one(
    scale_base: Float[Tensor, " pos"], scale_contrast: Float[Tensor, " pos"], mean: Float[Tensor, "pos d_model"]
) -> Float[Tensor, "pos d_model"]:
    """What a norm takes out of a difference: with s̄ the mean scale and x̄ the mean (centred) input,

    Δ(x s) = s̄ (Δx − u (u · Δx)),  u = x̄ √(−2κ / (d s̄)),  κ = −s_b² s_c² / (s_b + s_c)

    so that the norm's difference has the form of a linearised norm.
    """
    b, c = scale_base.double(), scale_contrast.double()
    curvature = b.square() * c.square() / (b + c)
    factor = (2 * curvature / (mean.shape[-1] * (b + c) / 2)).sqrt()
    return mean * factor.to(mean)[:, None]


def logarithmic_mean(base: Tensor, contrast: Tensor, log_base: Tensor, log_contrast: Tensor) -> Tensor:
    """(c − b) / (log c − log b), and √(bc) (1 + t²/6) with t = (log c − log b)/2 where the two are close; 0 where one
    of them is 0."""
    t = (log_contrast - log_base) / 2
    is_near = t.abs() < 0.05
    near = base.sqrt() * contrast.sqrt() * (1 + t.square() / 6 * (1 + t.square() / 20))
    far = (contrast - base) / torch.where(is_near, 1.0, 2 * t)
    mean = torch.where(is_near, near, far)
    return torch.where(mean.isfinite(), mean, 0.0)


def softmax_pull(
    gradient: Float[Tensor, "*#batch key"], weights: Float[Tensor, "*#batch key"]
) -> Float[Tensor, "*#batch key"]:
    """The gradient at the scores, given the one at ΔP, with P̃ the logarithmic means of the two patterns:

    ΔP_j = P̃_j (Δs_j − Σ_i P̃_i Δs_i / Σ_i P̃_i), whose matrix is its own transpose.

    `weights` has a column for a sink, if there is one, with a gradient of 0.
    """
    total = weights.sum(dim=-1, keepdim=True)
    shared = (gradient * weights).sum(dim=-1, keepdim=True) / total
    return weights * (gradient - shared)
