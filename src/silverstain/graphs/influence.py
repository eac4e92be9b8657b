"""How much each node moves the targets, summed over paths of every length."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays, rows_by_depth
from silverstain.graphs.kinds import BIAS, LOGIT, TOKEN


def target_weights(graph: GraphArrays) -> Float64[Tensor, " node"]:
    """Probabilities of the logit nodes, normalised to sum to 1; 0 elsewhere. Equal shares if none has probability."""
    is_logit = graph.nodes.kind == LOGIT
    weights = torch.where(is_logit, graph.nodes.activation.double(), 0.0)
    if not weights.sum() > 0:
        weights = is_logit.double()
    return weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def row_sums(indptr: Int[Tensor, " row_and_one"], terms: Float[Tensor, " edge"]) -> Float64[Tensor, " row"]:
    """Sum of the terms of each row, in float64, as rows may have 1e5 of them."""
    sums = torch.zeros(len(indptr) - 1, dtype=torch.float64, device=terms.device)
    filled = indptr.diff() > 0  # reduceat takes an empty row for the first term of the next
    if len(terms):
        starts = indptr[:-1][filled].cpu().numpy()
        known = terms.float() if terms.dtype in (torch.bfloat16, torch.float16) else terms  # to numpy
        added = np.add.reduceat(known.detach().cpu().numpy(), starts, dtype=np.float64)  # no index, no copy of terms
        sums[filled] = torch.from_numpy(added).to(sums.device)
    return sums


def shares_of_rows(
    indptr: Int[Tensor, " row_and_one"], values: Float[Tensor, " edge"], is_left_out: Bool[Tensor, " edge"]
) -> Float64[Tensor, " edge"]:
    """Each edge's share of its row: |value| / Σ |values of the row|. Those left out have share 0 and count nowhere."""
    sizes = _sizes(values, is_left_out)
    return sizes.div_(_totals(indptr, sizes).repeat_interleave(indptr.diff()))


def _sizes(values: Float[Tensor, " edge"], is_left_out: Bool[Tensor, " edge"]) -> Float64[Tensor, " edge"]:
    return values.double().abs().masked_fill_(is_left_out, 0)


def _totals(indptr: Int[Tensor, " row_and_one"], sizes: Float64[Tensor, " edge"]) -> Float64[Tensor, " row"]:
    """What the sizes of each row are divided by to be shares."""
    return row_sums(indptr, sizes).clamp_(min=torch.finfo(sizes.dtype).tiny)


def edge_shares(graph: GraphArrays, kept: Bool[Tensor, " edge"] | None = None) -> Float64[Tensor, " edge"]:
    """Each edge's share of its target's input: |value| / Σ |values of the row|.

    Bias columns have share 0 and do not count in the sum: a bias is no answer to "which part of the prompt", and
    circuit-tracer and the papers have no such nodes. With `kept`, the other edges count as absent.
    """
    is_left_out = graph.nodes.kind[graph.indices] == BIAS
    is_left_out = is_left_out if kept is None else is_left_out | ~kept
    return shares_of_rows(graph.indptr, graph.values, is_left_out)


def signed_shares(graph: GraphArrays, kept: Bool[Tensor, " edge"] | None = None) -> Float64[Tensor, " edge"]:
    """`edge_shares`, below 0 where an edge works against its target.

    Into an answer the sign is the edge's own. Into a unit, whose activation (or change of one) may itself be below 0,
    an edge drives it or works against it: its sign is the edge's times the activation's.
    """
    signs = graph.values.double().sign()
    is_turned = graph.nodes.is_unit & (graph.nodes.activation < 0)
    return edge_shares(graph, kept) * torch.where(is_turned[graph.targets], -signs, signs)


def influence(
    graph: GraphArrays,
    shares: Float[Tensor, " edge"] | None = None,
    goal: Float[Tensor, " node"] | None = None,
) -> Float64[Tensor, " node"]:
    """How much each node moves the goal, summed over paths of every length.

    With shares A[target, source] (default: `edge_shares`) and goal weights w (default: `target_weights`), this is
    w(A + A² + …). Edges run from lower depths to higher ones, so one pass over the rows from the highest depth down
    visits each edge once; circuit-tracer repeats a dense product for every path length.
    """
    is_bias = graph.nodes.kind == BIAS
    goal = target_weights(graph) if goal is None else goal.double()
    reached = torch.zeros(graph.n_nodes, dtype=torch.float64)
    groups = rows_by_depth(graph)
    assert all(low < high for (low, _), (high, _) in pairwise(groups))  # rows stand in the order of nodes
    for _, rows in reversed(groups):
        indptr, targets = graph.indptr[rows.start : rows.stop + 1], graph.row_nodes[rows]
        edges = slice(int(indptr[0]), int(indptr[-1]))
        sources, passed_on = graph.indices[edges], goal[targets] + reached[targets]
        if shares is None:  # a depth at a time: all shares at once take several times the memory of the edges
            here = _sizes(graph.values[edges], is_bias.index_select(0, sources))
            passed_on /= _totals(indptr - indptr[0], here)  # a row's weight is divided rather than each of its shares
        else:
            here = shares[edges].double()
        reached.index_add_(0, sources, here * passed_on.repeat_interleave(indptr.diff()))
    return reached


def cumulative_influence(graph: GraphArrays) -> Float64[Tensor, " node"]:
    """Share of all influence carried by a node and those above it: low means important.

    This is what the JSON of circuit-tracer calls `influence`; a viewer's slider at s shows the nodes <= s.
    """
    ranked, order = influence(graph).sort(descending=True, stable=True)
    shares = ranked.cumsum(0) / ranked.sum().clamp(min=torch.finfo(ranked.dtype).tiny)
    return torch.empty_like(shares).index_copy_(0, order, shares)


@brief
class PathLengths(NamedTuple):
    """Influence of the tokens on the targets by the length of the path."""

    cumulative: Float64[Tensor, " length"]
    """Share of the tokens' influence that paths of at most 1, 2, … edges carry; ends at 1."""
    average: float
    """Mean number of edges of a path, weighted by its influence."""


def path_lengths(graph: GraphArrays) -> PathLengths:
    """P(l) = Σ_tokens Σ_{i<=l} w Aⁱ, divided by its last value, and the mean length its steps imply.

    A graph whose targets no token reaches gives an empty curve and average 0.
    """
    shares, step, by_length = edge_shares(graph), target_weights(graph), []
    is_token = graph.nodes.kind == TOKEN
    most = graph.n_layers + 1 + sum(depth % 2 == 0 for depth, _ in rows_by_depth(graph))
    for _ in range(most):  # every edge climbs: to the features of another layer, to attention, or to the logits
        flow = shares * step[graph.targets]
        step = torch.zeros_like(step).index_add_(0, graph.indices, flow)
        by_length.append(step[is_token].sum())
    arrived = torch.stack(by_length)
    if not arrived.sum() > 0:
        return PathLengths(arrived[:0], 0.0)
    arrived = arrived / arrived.sum()
    return PathLengths(arrived.cumsum(0), float((arrived * torch.arange(1, len(arrived) + 1)).sum()))
