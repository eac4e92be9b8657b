"""Edits resolved against a batch of prompts: one row of numbers for every feature changed at every token.

A site is (row, layer, position, feature) with its rule new = factor · activation + constant. Where two edits of one
row name the same site the later one holds, so that "silence these, then set those" reads as written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit


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

    UsageError for a layer, feature or position that does not exist, and for one of the `n_real` leading positions,
    which keep their real MLP and so have no features.
    """
    rules: dict[tuple[int, int, int, int], tuple[float, float]] = {}
    for row, (edits_of_row, length) in enumerate(zip(edits, lengths, strict=True)):
        for edit in edits_of_row:
            positions = _positions(edit, length, n_real)
            for layer, feature, factor, constant in edit.rules():
                if layer >= n_layers or feature >= n_features:
                    raise UsageError(
                        f"The edit {edit} names L{layer}.F{feature}, but this dictionary has {n_layers} layers of "
                        f"{n_features} features; name one of those."
                    )
                for position in positions:
                    rules[layer, row, position, feature] = (factor, constant)
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


def _positions(edit: Edit, length: int, n_real: int) -> list[int]:
    if edit.positions is None:
        return list(range(n_real, length))
    resolved = [position + length if position < 0 else position for position in edit.positions]
    for given, position in zip(edit.positions, resolved, strict=True):
        if not 0 <= position < length:
            raise UsageError(
                f"The edit {edit} is at position {given}, but the prompt has {length} tokens (0 to {length - 1})."
            )
        if position < n_real:
            raise UsageError(
                f"The edit {edit} is at position {given}, but the first {n_real} token(s) keep their real MLP and have "
                f"no features; choose positions from {n_real} on."
            )
    return resolved
