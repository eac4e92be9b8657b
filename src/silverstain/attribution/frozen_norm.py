"""A norm as it was in one recorded run: an affine map, position by position.

With its denominators frozen it lets a change along the stream pass that the model would divide away again. Linearised,
it has the derivative of the real norm: what lies along the recorded stream is taken out.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FrozenNorm:
    """x[p] ↦ c · scale[p] · weight + bias, with c = x[p], less its mean if centred, less its part along `along`."""

    scale: Float[Tensor, " pos"]
    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, "#pos d_model"] | None = None
    """What comes out whatever goes in, one row where it is the same at every position."""
    is_centred: bool = False
    along: Float[Tensor, "pos d_model"] | None = None
    """The direction in which a linearised norm lets nothing pass, about a unit vector: the recorded input's own."""

    def behind(self, first: int) -> "FrozenNorm":
        """The same for positions from `first` on alone, counted from there."""
        bias = self.bias if self.bias is None or len(self.bias) == 1 else self.bias[first:]
        along = None if self.along is None else self.along[first:]
        return replace(self, scale=self.scale[first:], bias=bias, along=along)

    def linear(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """The map without its bias."""
        return self._seen(x, slice(0, x.shape[-2])) * (self.scale[: x.shape[-2], None] * self.weight)

    def affine(self, x: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos d_model"]:
        """The whole map."""
        out = self.linear(x)
        return out if self.bias is None else out + self.bias

    def linear_at(
        self, x: Float[Tensor, "write d_model"], positions: Int[Tensor, " write"]
    ) -> Float[Tensor, "write d_model"]:
        """`linear` for rows that are each at one position."""
        return self._seen(x, positions) * self.weight * self.scale[positions, None]

    def pull(self, gradient: Float[Tensor, "target some d_model"], first: int) -> Float[Tensor, "target some d_model"]:
        """The gradient at the input, given the one at the output, at positions from `first` on."""
        some = slice(first, first + gradient.shape[1])
        return self._seen(gradient * (self.scale[some, None] * self.weight), some)

    def pull_at(
        self, gradient: Float[Tensor, "target d_model"], positions: Int[Tensor, " target"]
    ) -> Float[Tensor, "target d_model"]:
        """`pull` for gradients that are each at one position."""
        return self._seen(gradient * self.weight, positions) * self.scale[positions, None]

    def pull_weight(self, gradient: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """`pull` without what depends on the position: the scale, and what is taken out along the recorded input."""
        into = gradient * self.weight
        return into - into.mean(dim=-1, keepdim=True) if self.is_centred else into

    def pull_into_(
        self,
        stream: Float[Tensor, "target some d_model"],
        gradient: Float[Tensor, "target some d_model"],
        first: int,
    ) -> None:
        """Add `pull(gradient, first)` to `stream`, in place and without a temporary of its size where nothing is taken
        out."""
        if self.along is not None:
            stream += self.pull(gradient, first)
            return
        scale = self.scale[first : first + gradient.shape[1]]
        stream.addcmul_(gradient, scale[:, None] * self.weight)
        if self.is_centred:
            # the mean of gradient · weight over d_model is one product with the weight
            stream.sub_(((gradient @ self.weight) * scale / len(self.weight)).unsqueeze(-1))

    def add_mixed_(
        self,
        stream: Float[Tensor, "target key d_model"],
        patterns: Float[Tensor, "target key head"],
        by_head: Float[Tensor, "target head d_model"],
    ) -> None:
        """Add to `stream`, in place, the `pull` of Σ patterns · by_head at every key, where `by_head` has passed
        `pull_weight` already."""
        n_keys = stream.shape[1]
        scaled = patterns * self.scale[:n_keys, None]
        if self.along is None:
            stream.baddbmm_(scaled, by_head)
        else:
            stream += self._without_along(scaled @ by_head, slice(0, n_keys))

    def _seen(self, x: Tensor, positions: slice | Tensor) -> Tensor:
        """What of x the norm looks at: centred, and without what it takes out. Its own transpose."""
        centred = x - x.mean(dim=-1, keepdim=True) if self.is_centred else x
        return self._without_along(centred, positions)

    def _without_along(self, x: Tensor, positions: slice | Tensor) -> Tensor:
        if self.along is None:
            return x
        along = self.along[positions]
        return x - (x * along).sum(dim=-1, keepdim=True) * along


class FlowNorms(NamedTuple):
    """The norms on the way, as a flow has them."""

    attention: tuple[FrozenNorm, ...]
    attention_output: tuple[FrozenNorm | None, ...]
    read: tuple[FrozenNorm, ...]
    """Before the MLP of each layer, and the final norm at last."""


def linearised(norm: FrozenNorm, x: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    """The derivative of a frozen norm's norm at its recorded input, with what is left of its output as its bias.

    d(c · (Σ c²/d + ε)^−½) = s (dc − u (u · dc)) with s the scale and u = s c / √d.
    """
    centred = x - x.mean(dim=-1, keepdim=True) if norm.is_centred else x
    along = centred * norm.scale[:, None] / x.shape[-1] ** 0.5
    out = replace(norm, along=along)
    rest = norm.linear(x) - out.linear(x)
    return replace(out, bias=rest if norm.bias is None else rest + norm.bias)


def no_norm(like: Float[Tensor, "pos d_model"]) -> FrozenNorm:
    """The identity, for architectures that read the stream as it is."""
    return FrozenNorm(scale=torch.ones_like(like[:, 0]), weight=torch.ones_like(like[0]))
