"""Batches of token sequences, as the model runs them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from silverstain.brief import brief


@brief
@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Sequences padded on the right to one length."""

    token_ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    """Positions that count: neither padding nor one of the leading positions that keep their real MLP."""
    determined: Bool[Tensor, "batch pos"] | None = None
    """Positions after which only one token can follow."""
    families: Int[Tensor, " batch"] | None = None
    """The kind of each sequence; fidelity is reported for each kind."""

    @property
    def n_tokens(self) -> int:
        return int(self.mask.sum())

    def to(self, device: torch.device) -> "TokenBatch":
        """The same on a device."""
        moved = {name: getattr(self, name) for name in ("token_ids", "mask", "determined", "families")}
        return replace(self, **{name: tensor.to(device) for name, tensor in moved.items() if tensor is not None})
