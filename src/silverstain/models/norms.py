"""What a norm of the model computes, from its own parameters: a linear map once its denominators are known."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from silverstain.brief import brief
from silverstain.models.architecture import NormKind


@brief
@dataclass(frozen=True, kw_only=True)
class Norm:
    """A norm module of the model, and the formula it follows."""

    module: nn.Module
    kind: NormKind

    @property
    def weight(self) -> Float[Tensor, " d_model"]:
        """What the normalised input is multiplied with."""
        weight = _tensor(self.module, "weight")
        return weight + self.kind.weight_offset if self.kind.weight_offset else weight

    @property
    def bias(self) -> Float[Tensor, " d_model"] | None:
        """What is added at last, where there is such a thing."""
        bias = getattr(self.module, "bias", None)
        return bias.detach() if isinstance(bias, Tensor) else None

    def scale(self, x: Tensor) -> Tensor:
        """1 / sqrt(mean(x²) + eps) over the last axis, of the centred x where the norm centres; in float32 at least."""
        wide = self.centred(x.to(torch.promote_types(x.dtype, torch.float32)))
        return torch.rsqrt(wide.square().mean(dim=-1) + getattr(self.module, self.kind.epsilon)).to(x.dtype)

    def centred(self, x: Tensor) -> Tensor:
        """x less its mean, where the norm centres."""
        return x - x.mean(dim=-1, keepdim=True) if self.kind.is_centred else x

    def with_scale(self, x: Float[Tensor, "*batch d_model"], scale: Float[Tensor, "*batch"]) -> Tensor:
        """The norm's output when it multiplies with a given scale instead of its own."""
        out = self.centred(x) * scale.unsqueeze(-1) * self.weight
        return out if self.bias is None else out + self.bias

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm's output, in the type of x: transformers rounds to float32 whatever the model's type."""
        return self.with_scale(x, self.scale(x))


def _tensor(module: nn.Module, name: str) -> Tensor:
    """A parameter without its gradient history, sharing memory."""
    parameter = getattr(module, name)
    assert isinstance(parameter, Tensor)  # the architecture table named a module that has it
    return parameter.detach()
