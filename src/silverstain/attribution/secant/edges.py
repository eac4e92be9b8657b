"""The direct edges of a contrast graph: along the flow, stopping at units and patterns."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.edges import Sources, Writes, add_writes_, groups_of
from silverstain.attribution.secant.flow import SecantFlow
from silverstain.attribution.secant.selection import AttentionPairs, Selection
from silverstain.attribution.sources import dense_writes
from silverstain.attribution.targets import Targets
from silverstain.graphs import NodeLayout

GRADIENT_BYTES = 64 * 2**20
"""Room for the gradients of pairs that are swept together."""


def pair_columns(layout: NodeLayout, selection: Selection) -> tuple[Int[Tensor, " pair"], Int[Tensor, " place"]]:
    """The node of each selected pair, and of the rest of attention at each layer and query.

    Attention nodes stand by layer, query, head and key, the rest of a place before its pairs.
    """
    pairs, n = selection.pairs, layout.n_positions
    place = pairs.layer * n + pairs.query
    before = torch.bincount(place, minlength=layout.n_layers * n).cumsum(0)
    rests = torch.arange(layout.n_layers * n) + torch.cat([before.new_zeros(1), before[:-1]])
    return layout.attentions.start + torch.arange(len(pairs)) + place + 1, layout.attentions.start + rests


def secant_sources(flow: SecantFlow, selection: Selection, layout: NodeLayout) -> Sources:
    """All changes that write into the stream, with the nodes they belong to. Positions are counted from the first at
    which anything changes, as those of `SecantFlow.direct` are."""
    device = flow.embedding_change.device
    first, late = flow.first, torch.arange(flow.first, flow.n_positions, device=device)
    columns, rests = (part.to(device) for part in pair_columns(layout, selection))
    attention = []
    for layer in range(flow.n_layers):
        here = (selection.pairs.layer == layer).nonzero().flatten()
        place = slice(layer * flow.n_positions + first, (layer + 1) * flow.n_positions)
        attention.append(_attention_writes(flow, layer, selection.pairs, here, columns[here.to(device)], rests[place]))
    return Sources(
        n_columns=layout.logits.start,
        writes=_mlp_writes(flow, selection, layout),
        embedding=dense_writes(flow.embedding_change[first:], layout.token(late), late - first, len(late)),
        constant_column=layout.constant,
        attention=tuple(attention),
    )


def _attention_writes(
    flow: SecantFlow,
    layer: int,
    pairs: AttentionPairs,
    here: Int[Tensor, " some"],
    columns: Int[Tensor, " some"],
    rests: Int[Tensor, " late"],
) -> Writes:
    """What the changed patterns of a layer write: selected pairs, and the rest at each late query."""
    attention, norm = flow.attentions[layer], flow.attention_output_norms[layer]
    device = columns.device
    head, query, key = (part[here].to(device) for part in (pairs.head, pairs.query, pairs.key))
    rows = attention.written(head, key, attention.change[head, query, key])
    rest = attention.written_in_all().index_add(0, query, -rows)
    if norm is not None:
        rows, rest = norm.linear_at(rows, query), norm.linear(rest)
    first, n_late = flow.first, len(rests)
    late = torch.arange(n_late, device=device)
    return dense_writes(
        torch.cat([rows, rest[first:]]), torch.cat([columns, rests]), torch.cat([query - first, late]), n_late
    )


def _mlp_writes(flow: SecantFlow, selection: Selection, layout: NodeLayout) -> tuple[Writes, ...]:
    """What changes at every MLP's output: selected units, and the rest at each position."""
    n, n_real, start = flow.n_positions, layout.n_real, flow.first
    rows, columns, at = ([[] for _ in range(flow.n_layers)] for _ in range(3))
    first = layout.features.start
    for units, some in zip(flow.units, selection.units, strict=True):
        nodes = torch.arange(first, first + len(some), device=some.device)
        for target, written in units.writes(some):
            rows[target].append(written)
            columns[target].append(nodes)
            at[target].append(units.position[some])
        first += len(some)
    found = []
    for layer in range(flow.n_layers):
        rest = flow.written_change(layer) - flow.skip_change(layer)
        for written, positions in zip(rows[layer], at[layer], strict=True):
            rest = rest.index_add(0, positions, -written)
        every = torch.arange(start, n, device=rest.device)
        late, early = every[every >= n_real], every[every < n_real]
        own = torch.cat(
            [
                layout.real_mlp(torch.full_like(early, layer), early),
                layout.error(torch.full_like(late, layer), late),
            ]
        )
        found.append(
            dense_writes(
                torch.cat([*rows[layer], rest[start:]]),
                torch.cat([*columns[layer], own]),
                torch.cat([*at[layer], every]) - start,
                n - start,
            )
        )
    return tuple(found)


def unit_rows(flow: SecantFlow, selection: Selection) -> Targets:
    """The selected units as readers of their layers."""
    vectors, layers, positions, constants = [], [], [], []
    for layer, (units, some) in enumerate(zip(flow.units, selection.units, strict=True)):
        read = units.reads(some)
        vectors.append(read.vectors)
        constants.append(read.constants)
        layers.append(torch.full_like(some, layer))
        positions.append(units.position[some])
    return Targets(
        vectors=torch.cat(vectors), layers=torch.cat(layers), positions=torch.cat(positions),
        constants=torch.cat(constants),
    )  # fmt: skip


def edges_into_readers(flow: SecantFlow, sources: Sources, targets: Targets) -> Float[Tensor, "target source"]:
    """All edges into units and logits."""
    edges = flow.embedding_change.new_zeros(len(targets), sources.n_columns)
    late = (targets.positions >= flow.first).nonzero().flatten()  # what reads before it has no edges
    reading = replace(targets[late], positions=targets.positions[late] - flow.first)
    for group in groups_of(flow.direct, sources, reading):
        some = reading[group]
        sums = edges.new_zeros(sources.n_columns, len(group))
        sums[sources.constant_column] = some.constants
        for crossing in flow.direct.sweep(some.vectors, some.layers.tolist(), some.positions, attends=True):
            writes = sources.attention[crossing.layer] if crossing.is_attention else sources.at(crossing.layer)
            sums[sources.constant_column, : len(crossing.constant)] += crossing.constant
            add_writes_(sums, writes, crossing.first, crossing.gradient)
        edges[late[group]] = sums.T
    return edges


def edges_into_pairs(flow: SecantFlow, sources: Sources, pairs: AttentionPairs) -> Float[Tensor, "pair source"]:
    """All edges into changes of patterns, through scores: queries, keys, and all that they are made of."""
    edges = flow.embedding_change.new_zeros(len(pairs), sources.n_columns)
    for group in _pair_groups(flow, pairs):
        gradients = torch.cat(list(_at_streams(flow, pairs, group)))
        sums = edges.new_zeros(sources.n_columns, len(group))
        for crossing in flow.direct.sweep_from(gradients, pairs.layer[group].tolist()):
            writes = sources.attention[crossing.layer] if crossing.is_attention else sources.at(crossing.layer)
            sums[sources.constant_column, : len(crossing.constant)] += crossing.constant
            add_writes_(sums, writes, crossing.first, crossing.gradient)
        edges[group.to(edges.device)] = sums.T
    return edges


def _pair_groups(flow: SecantFlow, pairs: AttentionPairs) -> tuple[Tensor, ...]:
    """Pairs that are swept together, the highest layer first."""
    order = pairs.layer.argsort(descending=True, stable=True)
    return order.split(max(1, GRADIENT_BYTES // max(flow.embedding_change.nbytes, 1))) if len(pairs) else ()


def _at_streams(flow: SecantFlow, pairs: AttentionPairs, group: Int[Tensor, " some"]) -> Iterator[Tensor]:
    """The gradient of each pair at the stream that its block reads, layer by layer."""
    layers, counts = pairs.layer[group].unique_consecutive(return_counts=True)
    for layer, some in zip(layers.tolist(), group.split(counts.tolist()), strict=True):
        head, query, key = (
            part[some].to(flow.embedding_change.device) for part in (pairs.head, pairs.query, pairs.key)
        )
        pulled = flow.attentions[layer].pull_pairs(head, query, key)
        yield flow.attention_norms[layer].pull(pulled, flow.first)
