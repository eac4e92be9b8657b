"""The exact difference of each operation between two runs, as coefficients of a linear map.

Notation: subscripts b (base) and c (contrast), x̄ = (x_b + x_c)/2, Δx = x_c − x_b.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 1e-3
"""Where an input changes by less than this share of its size, a slope is the derivative in the middle: a quotient of
two small numbers would be mostly rounding, and the derivative is wrong by the square of this only."""
NEAR_IN_FLOAT64 = 1e-6


def slope(function: Callable[[Tensor], Tensor], base: Tensor, contrast: Tensor) -> Tensor:
    """σ = Δf/Δx of an elementwise function, the derivative at x̄ where Δx is tiny; in float64 on the way."""
    b, c = base.double(), contrast.double()
    difference, middle = c - b, (b + c) / 2
    near = NEAR_IN_FLOAT64 if base.dtype == torch.float64 else NEAR
    is_near = difference.abs() <= near * (1e-3 + middle.abs())
    with torch.enable_grad():
        at = middle.requires_grad_()
        (derivative,) = torch.autograd.grad(function(at).sum(), at)
    quotient = (function(c) - function(b)) / torch.where(is_near, 1.0, difference)
    return torch.where(is_near, derivative, quotient).to(base.dtype)


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
    near = (base * contrast).sqrt() * (1 + t.square() / 6 * (1 + t.square() / 20))
    far = (contrast - base) / torch.where(is_near, 1.0, 2 * t)
    mean = torch.where(is_near, near, far)
    return torch.where(mean.isfinite(), mean, 0.0)


def softmax_pull(
    gradient: Float[Tensor, "target *batch key"], weights: Float[Tensor, "*batch key"]
) -> Float[Tensor, "target *batch key"]:
    """The gradient at the scores, given the one at ΔP, with P̃ the logarithmic means of the two patterns:

    ΔP_j = P̃_j (Δs_j − Σ_i P̃_i Δs_i / Σ_i P̃_i), whose matrix is its own transpose.

    `weights` has a column for a sink, if there is one, with a gradient of 0.
    """
    total = weights.sum(dim=-1, keepdim=True)
    shared = (gradient * weights).sum(dim=-1, keepdim=True) / total
    return weights * (gradient - shared)
