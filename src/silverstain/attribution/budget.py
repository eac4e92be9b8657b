"""Which features get a row of their own when there is no room for all: the most influential first.

Rows are found in rounds. After each, influence flows from the logits down the rows known so far and rests on the
features that have none yet; those with most go next. What rests there at the end is what the graph leaves unexplained.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from silverstain.attribution.edges import EdgeRows, Sources, Targets, edges_into, join_rows
from silverstain.attribution.flow import FrozenFlow
from silverstain.graphs import Graph, NodeTable

ROUNDS = 8
"""A full budget is spent in about this many rounds: more rounds rank better and cost a pass over the edges each."""
SMALLEST_ROUND = 64
"""Smaller rounds than this waste the matrix products."""


class Expansion(NamedTuple):
    """Features chosen under a budget, and the rows found while choosing."""

    chosen: Bool[Tensor, " active"]
    rows: EdgeRows
    """Of the chosen features in their order, then of the logits; columns are those of all active features."""
    unexplained: float
    """Share of the logits' influence that rests on features without a row: at most this much could be shared out
    differently among tokens and errors by a larger budget."""


def expand(
    flow: FrozenFlow,
    sources: Sources,
    features: Targets,
    logits: Targets,
    nodes: NodeTable,
    *,
    max_features: int,
    max_unexplained: float = 0.0,
    on_progress: Callable[[int], None] | None = None,
) -> Expansion:
    """Expand features in order of influence until `max_features` have rows or little is left unexplained.

    Features that no path from the logits reaches are never expanded.
    """
    order = torch.zeros(0, dtype=torch.long)
    logit_rows = edges_into(flow, sources, logits, on_progress=on_progress)
    rows = logit_rows
    pieces: list[EdgeRows] = []
    step = max(SMALLEST_ROUND, -(-max_features // ROUNDS))
    while True:
        waiting = _partial_graph(nodes, order, rows, features, logits).nodes.influence
        assert waiting is not None  # a graph fills it in
        waiting = waiting[: len(features)].clone()
        waiting[order] = 0
        unexplained = float(waiting.sum())
        room = min(step, max_features - len(order), int((waiting > 0).sum()))
        if room <= 0 or unexplained <= max_unexplained:
            chosen = torch.zeros(len(features), dtype=torch.bool)
            chosen[order] = True
            return Expansion(chosen, rows, unexplained)
        following = waiting.topk(room).indices
        at = following.to(features.layers.device)
        pieces.append(edges_into(flow, sources, features[at], on_progress=on_progress))
        order = torch.cat([order, following])
        rows = _in_order(pieces, order, logit_rows)


def merge_columns(rows: EdgeRows, columns: Int[Tensor, " column"]) -> EdgeRows:
    """The same rows with column c renamed to `columns[c]`, edges that then share a column added up."""
    row = torch.arange(len(rows), device=rows.columns.device).repeat_interleave(rows.indptr.diff())
    width = int(columns.max()) + 1
    keys, inverse = torch.unique(row * width + columns[rows.columns], return_inverse=True)
    values = rows.values.new_zeros(len(keys)).index_add_(0, inverse, rows.values)
    ends = torch.bincount(keys // width, minlength=len(rows)).cumsum(0)
    return EdgeRows(indptr=torch.cat([ends.new_zeros(1), ends]), columns=keys % width, values=values)


def _in_order(pieces: list[EdgeRows], order: Int[Tensor, " expanded"], logit_rows: EdgeRows) -> EdgeRows:
    """Rows of features, found in `order`, sorted by feature and followed by the logits' rows."""
    place = torch.empty_like(order)
    place[order.argsort()] = torch.arange(len(order))
    places = [part.to(logit_rows.indptr.device) for part in place.split([len(piece) for piece in pieces])]
    behind = torch.arange(len(logit_rows), device=logit_rows.indptr.device) + len(order)
    return join_rows([*pieces, logit_rows], [*places, behind])


def _partial_graph(
    nodes: NodeTable, order: Int[Tensor, " expanded"], rows: EdgeRows, features: Targets, logits: Targets
) -> Graph:
    expanded = order.sort().values
    logit_nodes = torch.arange(len(nodes) - len(logits), len(nodes))
    values = torch.cat([features.values[expanded.to(features.values.device)], logits.values])
    return Graph(
        nodes=nodes,
        row_nodes=torch.cat([expanded, logit_nodes]),
        indptr=rows.indptr.cpu(),
        indices=rows.columns.cpu(),
        values=rows.values.cpu(),
        values_of_targets=values.cpu(),
    )
