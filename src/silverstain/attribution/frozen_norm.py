"""A norm whose denominators are those of one recorded run: an affine map, position by position."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FrozenNorm:
    """x[p] ↦ (x[p] − mean(x[p]), if centred) · scale[p] · weight + bias, if there is one."""

    scale: Float[Tensor, " pos"]
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"] | None = None
    is_centred: bool = False

    def gain(self, first: int, stop: int) -> Float[Tensor, "some d_model"]:
        """What the (centred) stream is multiplied with at positions first, …, stop − 1."""
        return self.scale[first:stop, None] * self.weight

    def linear(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """The map without its bias."""
        centred = x - x.mean(dim=-1, keepdim=True) if self.is_centred else x
        return centred * self.gain(0, x.shape[-2])

    def linear_at(
        self, x: Float[Tensor, "write d_model"], positions: Int[Tensor, " write"]
    ) -> Float[Tensor, "write d_model"]:
        """`linear` for rows that are each at one position."""
        centred = x - x.mean(dim=-1, keepdim=True) if self.is_centred else x
        return centred * self.weight * self.scale[positions, None]

    def pull(self, gradient: Float[Tensor, "target some d_model"], first: int) -> Float[Tensor, "target some d_model"]:
        """The gradient at the input, given the one at the output, at positions from `first` on."""
        into = gradient * self.gain(first, first + gradient.shape[1])
        return into - into.mean(dim=-1, keepdim=True) if self.is_centred else into

    def pull_at(
        self, gradient: Float[Tensor, "target d_model"], positions: Int[Tensor, " target"]
    ) -> Float[Tensor, "target d_model"]:
        """`pull` for gradients that are each at one position."""
        return self.pull_weight(gradient) * self.scale[positions, None]

    def pull_weight(self, gradient: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """`pull` without the scale, which is all that depends on the position."""
        into = gradient * self.weight
        return into - into.mean(dim=-1, keepdim=True) if self.is_centred else into

    def pull_into_(
        self,
        stream: Float[Tensor, "target some d_model"],
        gradient: Float[Tensor, "target some d_model"],
        first: int,
    ) -> None:
        """Add `pull(gradient, first)` to `stream`, in place and without a temporary of its size."""
        scale = self.scale[first : first + gradient.shape[1]]
        stream.addcmul_(gradient, scale[:, None] * self.weight)
        if self.is_centred:
            # the mean of gradient · weight over d_model is one product with the weight
            stream.sub_(((gradient @ self.weight) * scale / len(self.weight)).unsqueeze(-1))


def no_norm(like: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    """The identity, for architectures that read the stream as it is."""
    return FrozenNorm(scale=torch.ones_like(like[:, 0]), weight=torch.ones_like(like[0]))
