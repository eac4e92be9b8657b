"""What the edges of a graph predict: signed effects summed over paths of every length.

An edge says what a source adds to the pre-activation of a feature, or to a target, at the activation it has. So a
source that is moved by a share of its activation moves its targets by that share of their edges, and a feature whose
pre-activation moved by x moves on what it writes by x / activation: thresholds, norms and attention are left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from silverstain.graphs import Graph


def total_effects(
    graph: Graph, starts: Sequence[Int[Tensor, " _"]], shares: Sequence[Float64[Tensor, " _"]]
) -> tuple[Float64[Tensor, "start node"], Float64[Tensor, "start node"]]:
    """(total, direct) change of every node's value when the nodes of each start are moved by shares of themselves.

    Members of one start are held, so what reaches them stops there. One pass over the rows, lowest layer first.
    """
    n = graph.n_nodes
    moved = torch.zeros(n, len(starts), dtype=torch.float64)  # share of itself by which each node is moved
    is_held = torch.zeros(n, len(starts), dtype=torch.bool)
    for column, (nodes, share) in enumerate(zip(starts, shares, strict=True)):
        moved[nodes, column] = share
        is_held[nodes, column] = True
    only = moved.clone()
    total, direct = torch.zeros_like(moved), torch.zeros_like(moved)
    activation = graph.nodes.activation.double()
    is_feature = graph.nodes.is_kind("feature")
    matrix: Any = graph.matrix().astype("float64")
    for nodes in _layers_up(graph):
        weights = matrix[nodes.numpy()]
        total[nodes] = torch.from_numpy(weights @ moved.numpy())
        direct[nodes] = torch.from_numpy(weights @ only.numpy())
        passed = torch.where(is_held[nodes], moved[nodes], total[nodes] / activation[nodes, None])
        moved[nodes] = torch.where(is_feature[nodes, None], passed, moved[nodes])
    return total.T, direct.T


def reached(graph: Graph, starts: Sequence[Int[Tensor, " _"]]) -> Bool[Tensor, "start node"]:
    """Which nodes each start has a path to along the edges that pruning kept."""
    found = torch.zeros(graph.n_nodes, len(starts), dtype=torch.float64)
    for column, nodes in enumerate(starts):
        found[nodes, column] = 1
    own = found.clone()
    matrix: Any = graph.matrix(pruned=True).astype(bool).astype("float64")
    for nodes in _layers_up(graph):
        arrived = torch.from_numpy(matrix[nodes.numpy()] @ found.numpy())
        found[nodes] = torch.maximum(found[nodes], (arrived > 0).double())
    return ((found - own) > 0).T


def _layers_up(graph: Graph) -> Iterator[Int[Tensor, " target"]]:
    """The nodes that have rows, a layer at a time, lowest first."""
    _layers, counts = torch.unique_consecutive(graph.nodes.layer[graph.row_nodes], return_counts=True)
    first = 0
    for count in counts.tolist():
        yield graph.row_nodes[first : first + count]
        first += count
