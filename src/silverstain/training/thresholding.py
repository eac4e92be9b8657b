"""JumpReLU and its step as functions with a gradient everywhere they need one.

Both jump at the threshold and have no gradient there, so the derivative of the step is taken as that of a ramp of width
`bandwidth` around it: ∂/∂z H(z − θ) = K((z − θ) / ε) / ε with K the rectangle. The gradient reaches pre-activations as
well as thresholds (science: to all parameters), through the threshold's own definition also the decoder norm.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def jump_relu(z: Float[Tensor, " entry"], cut: Float[Tensor, " entry"], bandwidth: float) -> Float[Tensor, " entry"]:
    """z where z > cut, else 0; near the cut the gradient sees a ramp as high as the jump."""
    return _Jump.apply(z, cut, bandwidth)  # type: ignore[no-any-return]


def step(z: Float[Tensor, " entry"], cut: Float[Tensor, " entry"], bandwidth: float) -> Float[Tensor, " entry"]:
    """1 where z > cut, else 0; near the cut the gradient sees a ramp."""
    return _Step.apply(z, cut, bandwidth)  # type: ignore[no-any-return]


def _ramp(z: Tensor, cut: Tensor, bandwidth: float) -> Tensor:
    """The derivative of the ramp: 1 / bandwidth within it."""
    return ((z - cut).abs() < bandwidth / 2).to(z.dtype) / bandwidth


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, cut, bandwidth):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z, cut)
        ctx.bandwidth = bandwidth
        return z * (z > cut)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z, cut = ctx.saved_tensors
        jump = cut * _ramp(z, cut, ctx.bandwidth)
        return grad * ((z > cut) + jump), -grad * jump, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, cut, bandwidth):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z, cut)
        ctx.bandwidth = bandwidth
        return (z > cut).to(z.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z, cut = ctx.saved_tensors
        ramp = _ramp(z, cut, ctx.bandwidth)
        return grad * ramp, -grad * ramp, None
