"""Edits resolved against a batch of prompts: one row of numbers for every feature changed at every token.

A site is (row, layer, position, feature) with its rule new = factor · activation + constant. Two edits of one row that
name the same site contradict each other, and are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit
from silverstain.interventions.positions import resolved


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Everything that is changed in a batch, sorted by (layer, row, position, feature)."""

    row: Int[Tensor, " site"]
    layer: Int[Tensor, " site"]
    position: Int[Tensor, " site"]
    feature: Int[Tensor, " site"]
    factor: Float[Tensor, " site"]
    constant: Float[Tensor, " site"]

    def __len__(self) -> int:
        return self.row.numel()

    def at_layer(self, layer: int) -> "Sites":
        """The sites whose features read the stream at `layer`."""
        first, last = torch.searchsorted(
            self.layer, torch.tensor([layer, layer + 1], device=self.layer.device)
        ).tolist()
        return Sites(**{name: getattr(self, name)[first:last] for name in self.__dataclass_fields__})

    def change(self, activation: Float[Tensor, " site"]) -> Float[Tensor, " site"]:
        """new − activation."""
        return (self.factor - 1) * activation + self.constant


def resolve(
    edits: Sequence[Sequence[Edit]],
    lengths: Sequence[int],
    *,
    n_layers: int,
    n_features: int,
    n_real: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Sites:
    """Lay out the edits of each row, whose prompt has lengths[row] tokens.

    UsageError for a layer, feature or position that does not exist, for one of the `n_real` leading positions, which
    keep their real MLP and so have no features, and for two edits of one feature at one position.
    """
    rules: dict[tuple[int, int, int, int], tuple[float, float]] = {}
    named_by: dict[tuple[int, int, int, int], Edit] = {}
    for row, (edits_of_row, length) in enumerate(zip(edits, lengths, strict=True)):
        for edit in edits_of_row:
            positions = resolved(edit.positions, length, first=n_real, edit=edit)
            for layer, feature, factor, constant in edit.rules():
                if layer >= n_layers or feature >= n_features:
                    raise UsageError(
                        f"The edit {edit} names L{layer}.F{feature}, but this dictionary has {n_layers} layers of "
                        f"{n_features} features; name one of those."
                    )
                for position in positions:
                    site = (layer, row, position, feature)
                    if site in rules:
                        raise UsageError(
                            f"Two edits change L{layer}.F{feature} at position {position}: {named_by[site]} and "
                            f"{edit}; keep one of them."
                        )
                    rules[site], named_by[site] = (factor, constant), edit
    keys = sorted(rules)
    columns = torch.tensor(keys, dtype=torch.long, device=device).reshape(-1, 4)
    values = torch.tensor([rules[key] for key in keys], dtype=dtype, device=device).reshape(-1, 2)
    return Sites(
        layer=columns[:, 0].contiguous(),
        row=columns[:, 1],
        position=columns[:, 2],
        feature=columns[:, 3],
        factor=values[:, 0],
        constant=values[:, 1],
    )
