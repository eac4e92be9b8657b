"""Edges: what each source adds to each target through the frozen flow.

`A[target, source] = Σ_places ⟨what the source writes there, gradient of the target there⟩`, plus the target's own
constant (its encoder bias) in the column of the constant node. Targets are swept in groups that read at neighbouring
positions, so that nothing above a target's layer and little right of its position is computed; sources lie grouped by
the position they write to, so that a place costs one matrix product and no gathered copy of a gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.blocks import Blocks, blocks_of
from silverstain.attribution.edge_rows import EdgeRows
from silverstain.attribution.flow import ATTENTION_VALUES, EMBEDDING, FrozenFlow
from silverstain.attribution.joining import RowTable
from silverstain.attribution.targets import Targets
from silverstain.brief import brief
from silverstain.resuming import ResumeStore
from silverstain.storage import hash_tensors

GRADIENT_BYTES = 16 * 2**20
"""Room for the gradients and sums of one group of targets on a processor, where what fits its caches is fastest."""
DEVICE_SHARE = 0.25
"""On a GPU a group may take this share of the memory that is free."""
TOGETHER = 64
"""Targets of neighbouring positions are swept together until there are this many: smaller products are slower."""
SPREAD = 0.2
"""… but over no more than this share of the positions before them, as each is computed up to the last position."""
WRITTEN_OUT_BYTES = 64 * 2**20
"""What is written at one layer is written out while it takes no more room than this."""


@brief
@dataclass(frozen=True, kw_only=True)
class Writes:
    """Everything written at one layer's MLP output (or at the embedding), sorted by position.

    A feature that is active at many positions writes multiples of one decoder row; where writing all of them out would
    take much room, each is held once.
    """

    table: Float[Tensor, "unique d_model"]
    row: Int[Tensor, " write"] | None
    """Which row of the table each write is a multiple of; None where the table is what is written."""
    scale: Float[Tensor, " write"] | None
    """… and which multiple."""
    columns: Int[Tensor, " write"]
    """The source each write belongs to; a source may write at many places."""
    bounds: tuple[int, ...]
    """Writes at position p are `bounds[p] : bounds[p + 1]`."""
    blocks: Blocks | None
    """Those whose columns follow each other; None where they are too few to be worth it."""
    single: Float[Tensor, "pos some d_model"] | None
    """What those write that are in no block; zero where a position has fewer."""

    @property
    def positions(self) -> Int[Tensor, " write"]:
        """Where each writes."""
        counts = torch.tensor(self.bounds, device=self.columns.device).diff()
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)

    def rows(self, some: slice | Int[Tensor, " some"]) -> Float[Tensor, "some d_model"]:
        """What is written by some of the writes."""
        if self.row is None or self.scale is None:
            return self.table[some]
        return self.table[self.row[some]] * self.scale[some, None]


@brief
@dataclass(frozen=True, kw_only=True)
class Sources:
    """All that writes into the stream of one run."""

    n_columns: int
    writes: tuple[Writes, ...]
    """One for each layer."""
    embedding: Writes
    constant_column: int
    """The column of the constant node, through which targets' own biases come."""
    attention: tuple[Writes, ...] = ()
    """What changed patterns write where the attention of a layer adds to the stream; only between two runs."""
    values: Writes | None = None
    """All that is written below the attention of layer `values_layer`, as its values have it: targets read it there."""
    values_layer: int | None = None
    """None: gradients cross every attention. 0: they end at the values of layer 0's. 1: what the embedding and the
    biases of layer 0's attention write has been brought behind that attention (`FrozenFlow.carried`), and gradients end
    at the values of the next."""

    def at(self, layer: int) -> Writes:
        if layer == ATTENTION_VALUES:
            assert self.values is not None
            return self.values
        return self.embedding if layer == EMBEDDING else self.writes[layer]


def sort_writes(
    table: Float[Tensor, "unique d_model"],
    row: Int[Tensor, " write"],
    scale: Float[Tensor, " write"],
    columns: Int[Tensor, " write"],
    positions: Int[Tensor, " write"],
    n_positions: int,
) -> Writes:
    """Bring what is written at one layer into the order of its positions."""
    order = positions.argsort(stable=True)
    counts = torch.bincount(positions, minlength=n_positions)
    bounds = (0, *counts.cumsum(0).tolist())
    row, scale, columns = row[order], scale[order], columns[order]
    blocks = blocks_of(columns, bounds)
    writes = Writes(table=table, row=row, scale=scale, columns=columns, bounds=bounds, blocks=blocks, single=None)
    if len(row) * table[:1].nbytes <= WRITTEN_OUT_BYTES:
        writes = replace(writes, table=writes.rows(slice(None)), row=None, scale=None)
    if blocks is None:
        return writes
    single = writes.rows(blocks.single.clamp(min=0).flatten()) * (blocks.single.flatten() >= 0)[:, None]
    return replace(writes, single=single.view(*blocks.single.shape, -1))


def edges_into(
    flow: FrozenFlow,
    sources: Sources,
    targets: Targets,
    *,
    on_progress: Callable[[int], None] | None = None,
    store: ResumeStore | None = None,
) -> EdgeRows:
    """All edges into `targets`, in their order; `on_progress` is told how many more targets are done."""
    table = RowTable(most_edges(sources, targets), targets.constants)
    for group, rows in pieces_into(flow, sources, targets, store=store):
        table.put(group, rows)
        if on_progress is not None:
            on_progress(len(group))
    return table.rows()


def most_edges(sources: Sources, targets: Targets) -> Int[Tensor, " target"]:
    """How many sources can reach each target: those that write below its layer, no later than it reads."""
    n_layers, n_positions = len(sources.writes), len(sources.embedding.bounds) - 1
    layers = targets.layers.new_full((sources.n_columns,), n_layers)
    positions = torch.full_like(layers, n_positions - 1)
    for layer in range(n_layers - 1, EMBEDDING - 1, -1):  # the lowest and the first place it writes to
        writes = sources.at(layer)
        layers[writes.columns] = layer
        positions.scatter_reduce_(0, writes.columns, writes.positions, "amin")
    layers[sources.constant_column], positions[sources.constant_column] = EMBEDDING, 0
    places = (layers + 1) * n_positions + positions  # those that write nowhere stand above all that is read
    found = torch.bincount(places, minlength=(n_layers + 2) * n_positions).view(-1, n_positions)
    return found.cumsum(0).cumsum(1)[targets.layers, targets.positions]


def pieces_into(
    flow: FrozenFlow,
    sources: Sources,
    targets: Targets,
    *,
    finish: Callable[[EdgeRows], EdgeRows] | None = None,
    store: ResumeStore | None = None,
) -> Iterator[tuple[Int[Tensor, " group"], EdgeRows]]:
    """The edges into targets, group by group: which targets, and their rows after `finish`.

    What a `store` has from an interrupted run is not computed again, and what is computed goes into it.
    """
    what = "" if store is None else _identity_of(sources, "whole" if finish is None else "finished")
    for group in groups_of(flow, sources, targets):
        wanted = targets[group]
        key = "" if store is None else store.key(what, wanted.layers, wanted.positions, wanted.vectors.float())
        kept = None if store is None else store.get(key)
        rows = None if kept is None else EdgeRows(**kept)
        if rows is not None and finish is None:
            rows = rows.to(targets.vectors.device)  # files know no device; finished rows are the caller's own matter
        if rows is None:
            rows = edges_of_group(flow, sources, wanted)
            rows = rows if finish is None else finish(rows)
            if store is not None:
                store.put(key, vars(rows))
        yield group, rows


def _identity_of(sources: Sources, form: str) -> str:
    """Which node each write belongs to, and what is kept of a row: rows over other columns mean something else."""
    columns = {str(layer): writes.columns for layer, writes in enumerate(sources.writes)}
    return f"{sources.n_columns} {hash_tensors(columns)} {form}"


def groups_of(flow: FrozenFlow, sources: Sources, targets: Targets) -> list[Tensor]:
    """Targets that read at neighbouring positions, top layer first, in groups whose gradients fit."""
    if not len(targets):
        return []
    groups, bounds = [], [0]
    order = targets.positions.argsort(stable=True)
    positions = targets.positions[order].tolist()
    for index, position in enumerate(positions):
        start = positions[bounds[-1]]
        is_apart = position > start + SPREAD * position or index - bounds[-1] >= TOGETHER
        if position > start and position > positions[index - 1] and is_apart:
            bounds.append(index)
    for start, stop in pairwise([*bounds, len(positions)]):
        group = order[start:stop]
        group = group[targets.layers[group].argsort(descending=True, stable=True)]
        groups += group.split(_group_size(flow, sources, positions[stop - 1] + 1))
    return groups


def _group_size(flow: FrozenFlow, sources: Sources, n_positions: int) -> int:
    """How many targets' gradients, with four temporaries of their size and their sums, fit."""
    device = sources.embedding.table.device
    room = GRADIENT_BYTES
    if device.type == "cuda":
        room = max(room, int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]))
    numbers = 5 * n_positions * flow.d_model + 2 * sources.n_columns
    return max(1, room // (numbers * sources.embedding.table.element_size()))


def edges_of_group(flow: FrozenFlow, sources: Sources, targets: Targets) -> EdgeRows:
    """The edges into targets that stand top layer first."""
    sums = targets.vectors.new_zeros(sources.n_columns, len(targets))
    sums[sources.constant_column] = targets.constants
    layers = targets.layers.tolist()
    for crossing in flow.sweep(targets.vectors, layers, targets.positions, values_layer=sources.values_layer):
        sums[sources.constant_column, : len(crossing.constant)] += crossing.constant
        add_writes_(sums, sources.at(crossing.layer), crossing.first, crossing.gradient)
    places = list(zip(layers, targets.positions.tolist(), strict=True))
    bounds = [0, *(i for i in range(1, len(places)) if places[i] != places[i - 1]), len(places)]
    return compressed(sums.T, bounds)


def add_writes_(
    sums: Float[Tensor, "column target"], writes: Writes, first: int, gradient: Float[Tensor, "reached pos width"]
) -> None:
    """Add, in place, what is written at the positions from the first on."""
    reached, end = sums[:, : len(gradient)], first + gradient.shape[1]
    if writes.blocks is None or writes.single is None:
        _add_each_(reached, writes, first, gradient)
        return
    for offset, blocks in enumerate(writes.blocks.at[first:end]):
        here = gradient[:, offset].T
        for start, stop, column in blocks:
            reached[column : column + stop - start].addmm_(writes.rows(slice(start, stop)), here)
    columns = writes.columns[writes.blocks.single[first:end].flatten()]  # where there is none, zero is added anywhere
    if len(columns):
        products = writes.single[first:end] @ gradient.permute(1, 2, 0)
        reached.index_add_(0, columns, products.flatten(0, 1))


def _add_each_(
    reached: Float[Tensor, "column reached"], writes: Writes, first: int, gradient: Float[Tensor, "reached pos width"]
) -> None:
    """The same for writes of any columns."""
    bounds = writes.bounds[first : first + gradient.shape[1] + 1]
    products = [
        writes.rows(slice(start, stop)) @ gradient[:, offset].T
        for offset, (start, stop) in enumerate(pairwise(bounds))
        if start < stop
    ]
    if products:
        reached.index_add_(0, writes.columns[bounds[0] : bounds[-1]], torch.cat(products))


def compressed(dense: Float[Tensor, "row column"], bounds: Sequence[int]) -> EdgeRows:
    """Dense rows without their zeros; rows between two bounds are likely to have theirs in the same columns."""
    blocks = [_compressed_alike(dense[start:stop]) for start, stop in pairwise(bounds)]
    counts = torch.cat([counts for counts, _, _ in blocks])
    return EdgeRows(
        indptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        columns=torch.cat([columns for _, columns, _ in blocks]),
        values=torch.cat([values for _, _, values in blocks]),
    )


def _compressed_alike(dense: Float[Tensor, "row column"]) -> tuple[Tensor, Tensor, Tensor]:
    """(entries of each row, their columns, their values); fast where all rows have the columns that the first has."""
    columns = dense[0].nonzero().flatten()
    values = dense.T.index_select(0, columns).T
    counts = torch.full((len(dense),), len(columns), device=dense.device)
    if int(torch.count_nonzero(values)) == values.numel() == int(torch.count_nonzero(dense)):
        return counts, columns.int().repeat(len(dense)), values.flatten()
    dense = dense.contiguous()
    place = dense.view(-1).nonzero().flatten()  # one number a place is found faster than two
    counts = torch.count_nonzero(dense, dim=1)
    return counts, (place % dense.shape[1]).int(), dense.view(-1).index_select(0, place)
