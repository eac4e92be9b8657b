"""Which features were active in one recorded run, and how much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.brief import brief


@brief
@dataclass(frozen=True, kw_only=True)
class ActiveUnits:
    """The active features of one prompt, sorted by (layer, position, feature)."""

    layer: Int[Tensor, " active"]
    position: Int[Tensor, " active"]
    feature: Int[Tensor, " active"]
    activation: Float[Tensor, " active"]
    n_layers: int
    n_positions: int

    def __len__(self) -> int:
        return self.layer.shape[0]

    def __getitem__(self, chosen: slice | Int[Tensor, " chosen"]) -> "ActiveUnits":
        """Some of them; the chosen indices must rise."""
        columns = ("layer", "position", "feature", "activation")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def of_layer(self, layer: int) -> slice:
        """Where the features of one layer are: they lie together."""
        bounds = torch.searchsorted(self.layer, self.layer.new_tensor([layer, layer + 1]))
        return slice(int(bounds[0]), int(bounds[1]))

    @staticmethod
    def from_dense(layers: Sequence[Tensor], *, n_real: int = 0) -> "ActiveUnits":
        """From activations [pos, feature] of every layer; the first `n_real` positions are left out."""
        where = [torch.nonzero(dense[n_real:]) for dense in layers]  # row-major: by position, then feature
        counts = torch.tensor([len(found) for found in where])
        position, feature = torch.cat(where).T.clone() + torch.tensor([[n_real], [0]], device=where[0].device)
        activation = [dense[n_real:][tuple(found.T)] for dense, found in zip(layers, where, strict=True)]
        return ActiveUnits(
            layer=torch.arange(len(layers)).repeat_interleave(counts).to(position.device),
            position=position,
            feature=feature,
            activation=torch.cat(activation),
            n_layers=len(layers),
            n_positions=layers[0].shape[0],
        )
