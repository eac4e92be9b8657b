"""Where in the prompt a node's input comes from: a share for each of some spans of tokens.

An edge's share of its target's input (`edge_shares`) is passed on from sources to targets, so that the share of span s
in what drives node t is O[t, s] = Σ_i A[t, i] O[i, s], with 1 for the tokens of the span themselves. What comes from
other tokens and from errors is in no span; the sum over spans is at most 1.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays, rows_by_depth
from silverstain.graphs.influence import edge_shares, influence, target_weights
from silverstain.graphs.kinds import ERROR, TOKEN


@brief
class Origins(NamedTuple):
    """Where what drives the targets comes from, and through which nodes."""

    of_targets: Float64[Tensor, " span"]
    """Share of the targets' input that comes from each span, the targets weighted by their probability."""
    of_nodes: Float64[Tensor, "node span"]
    """Share of each node's input that comes from each span."""
    through: Float64[Tensor, "node span"]
    """Influence that a node passes on to the targets, times the share of its input from the span."""
    errors: float
    """Share of the targets' input that comes from error nodes: what the basis misses."""


def origins(graph: GraphArrays, spans: Sequence[Collection[int]]) -> Origins:
    """The origins of a graph's targets in spans of positions."""
    shares = edge_shares(graph)
    of_nodes = torch.zeros(graph.n_nodes, len(spans) + 1, dtype=torch.float64)
    is_token = graph.nodes.kind == TOKEN
    for column, positions in enumerate(spans):
        inside = torch.isin(graph.nodes.position, torch.tensor(sorted(positions), dtype=graph.nodes.position.dtype))
        of_nodes[is_token & inside, column] = 1
    of_nodes[graph.nodes.kind == ERROR, len(spans)] = 1
    for _, rows in rows_by_depth(graph):  # sources lie below their targets
        indptr = graph.indptr[rows.start : rows.stop + 1]
        edges = slice(int(indptr[0]), int(indptr[-1]))
        given = of_nodes[graph.indices[edges]] * shares[edges].double()[:, None]
        targets = graph.row_nodes[rows].repeat_interleave(indptr.diff())
        of_nodes.index_add_(0, targets, given)
    of_targets = target_weights(graph) @ of_nodes
    through = influence(graph)[:, None] * of_nodes
    return Origins(of_targets[:-1], of_nodes[:, :-1], through[:, :-1], float(of_targets[-1]))
