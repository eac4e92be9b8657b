"""Edges: what each source adds to each target through the frozen flow.

`A[target, source] = Σ_places ⟨what the source writes there, gradient of the target there⟩`, plus the target's own
constant (its encoder bias) in the column of the constant node. Targets are swept in groups that read at one position,
so that nothing above a target's layer or right of its position is computed; sources lie grouped by the position they
write to, so that a place costs one matrix product and no gathered copy of a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.flow import EMBEDDING, FrozenFlow

GRADIENT_BYTES = 256 * 2**20
"""Room for the gradients and sums of one group of targets; larger groups are cut."""


@dataclass(frozen=True, kw_only=True)
class Writes:
    """Everything written at one layer's MLP output (or at the embedding), sorted by position."""

    rows: Float[Tensor, "write d_model"]
    columns: Int[Tensor, " write"]
    """The source each row belongs to; a source may write at many places."""
    bounds: tuple[int, ...]
    """Rows of position p are `bounds[p] : bounds[p + 1]`."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All that writes into the stream of one run."""

    n_columns: int
    writes: tuple[Writes, ...]
    """One for each layer."""
    embedding: Writes
    constant_column: int
    """The column of the constant node, through which targets' own biases come."""

    def at(self, layer: int) -> Writes:
        return self.embedding if layer == EMBEDDING else self.writes[layer]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Things that read the stream: features and logits."""

    vectors: Float[Tensor, "target d_model"]
    """What the norm's output is multiplied with: an encoder row, a demeaned unembedding row."""
    layers: Int[Tensor, " target"]
    """The layer whose MLP input is read; `n_layers` for the final norm."""
    positions: Int[Tensor, " target"]
    constants: Float[Tensor, " target"]
    """A bias that is added to what is read."""
    values: Float[Tensor, " target"]
    """The target's value in the recorded run, never a sum of edges: pre-activation, or demeaned logit."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, chosen: Int[Tensor, " chosen"]) -> "Targets":
        return Targets(
            vectors=self.vectors[chosen],
            layers=self.layers[chosen],
            positions=self.positions[chosen],
            constants=self.constants[chosen],
            values=self.values[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class EdgeRows:
    """Edges as compressed sparse rows: one row a target, columns rising within a row, zeros left out."""

    indptr: Int[Tensor, " row_and_one"]
    columns: Int[Tensor, " edge"]
    values: Float[Tensor, " edge"]

    def __len__(self) -> int:
        return len(self.indptr) - 1


def sort_writes(
    rows: Float[Tensor, "write d_model"],
    columns: Int[Tensor, " write"],
    positions: Int[Tensor, " write"],
    n_positions: int,
) -> Writes:
    """Bring rows written at one layer into the order of their positions."""
    order = positions.argsort(stable=True)
    counts = torch.bincount(positions, minlength=n_positions)
    bounds = (0, *counts.cumsum(0).tolist())
    return Writes(rows=rows[order], columns=columns[order], bounds=bounds)


def edges_into(
    flow: FrozenFlow,
    sources: Sources,
    targets: Targets,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> EdgeRows:
    """All edges into `targets`, in their order; `on_progress` is told how many more targets are done."""
    groups: list[Tensor] = []
    pieces: list[EdgeRows] = []
    for group in _groups(flow, sources, targets):
        sums = _sums(flow, sources, targets[group])
        groups.append(group)
        pieces.append(_compress(sums))
        if on_progress is not None:
            on_progress(len(group))
    if not pieces:
        nothing = targets.positions[:0]
        return EdgeRows(indptr=nothing.new_zeros(1), columns=nothing, values=targets.values[:0])
    return join_rows(pieces, groups)


def join_rows(pieces: list[EdgeRows], places: list[Tensor]) -> EdgeRows:
    """One set of rows out of pieces; row i of a piece goes to the place `places[piece][i]`."""
    place = torch.cat(places)
    counts = torch.cat([piece.indptr.diff() for piece in pieces])
    order = place.argsort()  # row at each place
    ends = counts[order].cumsum(0)
    indptr = torch.cat([ends.new_zeros(1), ends])
    starts = counts.cumsum(0) - counts
    # Every edge of the result, found in the pieces: where its row starts there, and how far along the row it is.
    shift = (starts[order] - indptr[:-1]).repeat_interleave(counts[order])
    at = torch.arange(len(shift), device=shift.device) + shift
    columns = torch.cat([piece.columns for piece in pieces])
    values = torch.cat([piece.values for piece in pieces])
    return EdgeRows(indptr=indptr, columns=columns[at], values=values[at])


def _groups(flow: FrozenFlow, sources: Sources, targets: Targets) -> list[Tensor]:
    """Targets that read at one position, top layer first, in groups whose gradients fit."""
    groups = []
    for position in targets.positions.unique().tolist():
        group = (targets.positions == position).nonzero().flatten()
        group = group[targets.layers[group].argsort(descending=True, stable=True)]
        # The gradient, three temporaries of its size in the attention, and the sums twice.
        numbers = 4 * (position + 1) * flow.d_model + 2 * sources.n_columns
        room = max(1, GRADIENT_BYTES // (numbers * targets.vectors.element_size()))
        groups += group.split(room)
    return groups


def _sums(flow: FrozenFlow, sources: Sources, targets: Targets) -> Float[Tensor, "column target"]:
    """Edges into targets of one position (top layer first), dense."""
    position = int(targets.positions[0])
    sums = targets.vectors.new_zeros(sources.n_columns, len(targets))
    sums[sources.constant_column] = targets.constants
    for crossing in flow.sweep(targets.vectors, targets.layers.tolist(), position):
        sums[sources.constant_column, : len(crossing.constant)] += crossing.constant
        writes = sources.at(crossing.layer)
        bounds = writes.bounds[crossing.first : position + 2]
        products = [
            writes.rows[start:stop] @ crossing.gradient[:, offset].T
            for offset, (start, stop) in enumerate(pairwise(bounds))
            if start < stop
        ]
        if products:
            reached = sums[:, : len(crossing.gradient)]
            reached.index_add_(0, writes.columns[bounds[0] : bounds[-1]], torch.cat(products))
    return sums


def _compress(sums: Float[Tensor, "column target"]) -> EdgeRows:
    dense = sums.T.contiguous()
    row, column = dense.nonzero(as_tuple=True)
    ends = torch.bincount(row, minlength=len(dense)).cumsum(0)
    return EdgeRows(indptr=torch.cat([ends.new_zeros(1), ends]), columns=column, values=dense[row, column])
