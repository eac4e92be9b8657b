"""What is done to a prompt to test a claim: features held at given values, and vectors added to MLP outputs.

Many moves are tried in one pass; each is a row of the batch. A feature is held: its value is set against what it
would be in that row, so that members of one group which feed each other are not moved twice. A vector (of an error
node, or a random direction) is added as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Move:
    """What one row does."""

    layers: Int[Tensor, " held"]
    """Of the features that are held."""
    positions: Int[Tensor, " held"]
    features: Int[Tensor, " held"]
    values: Float[Tensor, " held"]
    """The activation each is held at."""
    added: tuple[tuple[int, int, Float[Tensor, " d_model"]], ...] = ()
    """(layer, position, vector): added to the MLP output there."""


class Moves:
    """A batch of moves, looked up by layer."""

    def __init__(self, moves: Sequence[Move]) -> None:
        self.n_rows = len(moves)
        rows = torch.cat([torch.full_like(move.layers, row) for row, move in enumerate(moves)])
        layers = torch.cat([move.layers for move in moves])
        columns = (
            rows,
            torch.cat([move.positions for move in moves]),
            torch.cat([move.features for move in moves]),
            torch.cat([move.values for move in moves]),
        )
        self._held = {layer: tuple(column[layers == layer] for column in columns) for layer in layers.unique().tolist()}
        self._added: dict[int, list[tuple[int, int, Tensor]]] = {}
        for row, move in enumerate(moves):
            for layer, position, vector in move.added:
                self._added.setdefault(layer, []).append((row, position, vector))

    def held(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """(row, position, feature, value) of what is held in a layer; None for nothing."""
        return self._held.get(layer)  # type: ignore[return-value]

    def add_vectors_(self, layer: int, output: Float[Tensor, "row pos d_model"]) -> None:
        """Add, in place, the vectors of a layer to what its MLP adds."""
        for row, position, vector in self._added.get(layer, ()):
            output[row, position] += vector.to(output)
