"""How much each node moves the targets, summed over paths of every length."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from silverstain.graphs.graph import Graph
from silverstain.graphs.nodes import BIAS, LOGIT, TOKEN


def target_weights(graph: Graph) -> Float64[Tensor, " node"]:
    """Probabilities of the logit nodes, normalised to sum to 1; 0 elsewhere. Equal shares if none has probability."""
    is_logit = graph.nodes.kind == LOGIT
    weights = torch.where(is_logit, graph.nodes.activation.double(), 0.0)
    if not weights.sum() > 0:
        weights = is_logit.double()
    return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def row_sums(graph: Graph, terms: Float[Tensor, " edge"]) -> Float64[Tensor, " row"]:
    """Sum of `terms` over the edges of each row."""
    sums = torch.zeros(len(graph.row_nodes), dtype=torch.float64)  # float64: rows may have 1e5 terms
    return sums.index_add_(0, graph.edge_rows, terms.double())


def shares_of_rows(
    row: Int[Tensor, " edge"], n_rows: int, values: Float[Tensor, " edge"], is_left_out: Bool[Tensor, " edge"]
) -> Float64[Tensor, " edge"]:
    """Each edge's share of its row: |value| / Σ |values of the row|. Those left out have share 0 and count nowhere."""
    size = values.abs().double()  # a copy first: what is float64 already is not copied by double()
    size[is_left_out] = 0
    totals = torch.zeros(n_rows, dtype=torch.float64, device=size.device).index_add_(0, row, size)
    return size.div_(totals.clamp_(min=torch.finfo(totals.dtype).tiny).index_select(0, row))


def edge_shares(graph: Graph, kept: Bool[Tensor, " edge"] | None = None) -> Float64[Tensor, " edge"]:
    """Each edge's share of its target's input: |value| / Σ |values of the row|.

    Bias columns have share 0 and do not count in the sum: a bias is no answer to "which part of the prompt", and
    circuit-tracer and the papers have no such nodes. With `kept`, the other edges count as absent.
    """
    is_left_out = graph.nodes.kind[graph.indices] == BIAS
    is_left_out = is_left_out if kept is None else is_left_out | ~kept
    return shares_of_rows(graph.edge_rows, len(graph.row_nodes), graph.values, is_left_out)


def influence(
    graph: Graph,
    shares: Float[Tensor, " edge"] | None = None,
    goal: Float[Tensor, " node"] | None = None,
) -> Float64[Tensor, " node"]:
    """How much each node moves the goal, summed over paths of every length.

    With shares A[target, source] (default: `edge_shares`) and goal weights w (default: `target_weights`), this is
    w(A + A² + …). Edges run from lower layers to higher ones, so one pass over the rows from the top layer down
    visits each edge once; circuit-tracer repeats a dense product for every path length.
    """
    is_bias = graph.nodes.kind == BIAS
    goal = target_weights(graph) if goal is None else goal.double()
    reached = torch.zeros(graph.n_nodes, dtype=torch.float64)
    layers, n_rows = torch.unique_consecutive(graph.nodes.layer[graph.row_nodes], return_counts=True)
    assert bool((layers.diff() > 0).all())  # rows stand in the order of nodes: by layer, logits last
    stop = len(graph.row_nodes)
    for rows in reversed(n_rows.tolist()):
        start = stop - rows
        counts = graph.indptr[start : stop + 1].diff()
        targets = graph.row_nodes[start:stop]
        edges = slice(int(graph.indptr[start]), int(graph.indptr[stop]))
        sources, passed_on = graph.indices[edges], (goal[targets] + reached[targets]).repeat_interleave(counts)
        if shares is None:  # a layer at a time: all shares at once take several times the memory of the edges
            row = torch.arange(rows).repeat_interleave(counts)
            here = shares_of_rows(row, rows, graph.values[edges], is_bias[sources])
        else:
            here = shares[edges].double()
        reached.index_add_(0, sources, here * passed_on)
        stop = start
    return reached


def cumulative_influence(graph: Graph) -> Float64[Tensor, " node"]:
    """Share of all influence carried by a node and those above it: low means important.

    This is what the JSON of circuit-tracer calls `influence`; a viewer's slider at s shows the nodes <= s.
    """
    ranked, order = influence(graph).sort(descending=True, stable=True)
    shares = ranked.cumsum(0) / ranked.sum().clamp(min=torch.finfo(ranked.dtype).tiny)
    return torch.empty_like(shares).index_copy_(0, order, shares)


class PathLengths(NamedTuple):
    """Influence of the tokens on the targets by the length of the path."""

    cumulative: Float64[Tensor, " length"]
    """Share of the tokens' influence that paths of at most 1, 2, … edges carry; ends at 1."""
    average: float
    """Mean number of edges of a path, weighted by its influence."""


def path_lengths(graph: Graph) -> PathLengths:
    """P(l) = Σ_tokens Σ_{i<=l} w Aⁱ, divided by its last value, and the mean length its steps imply.

    A graph whose targets no token reaches gives an empty curve and average 0.
    """
    shares, step, by_length = edge_shares(graph), target_weights(graph), []
    is_token = graph.nodes.kind == TOKEN
    for _ in range(graph.n_layers + 1):  # every edge climbs at least one layer, from -1 to n_layers
        flow = shares * step[graph.targets]
        step = torch.zeros_like(step).index_add_(0, graph.indices, flow)
        by_length.append(step[is_token].sum())
    arrived = torch.stack(by_length)
    if not arrived.sum() > 0:
        return PathLengths(arrived[:0], 0.0)
    arrived = arrived / arrived.sum()
    return PathLengths(arrived.cumsum(0), float((arrived * torch.arange(1, len(arrived) + 1)).sum()))
