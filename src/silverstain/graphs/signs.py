"""Which way nodes of a graph move the answer: what each adds to it, through all paths, signed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import influence, target_weights
from silverstain.graphs.kinds import LOGIT
from silverstain.graphs.supernodes import Group


def contributions(graph: GraphArrays) -> Float64[Tensor, " node"]:
    """What each node adds to the targets (to their weighted sum) through all paths of the graph.

    An edge of weight A into a unit of value v carries the share A / v of what that unit adds; into a target it carries
    A. A unit whose value is exactly 0 adds nothing, and neither does what enters it.
    """
    return influence(graph, _carried(graph), target_weights(graph))


def directions(graph: GraphArrays, groups: Sequence[Group]) -> list[float]:
    """Which way each group moves the answer, from −1 (all that it adds lowers it) to 1 (all of it raises it).

    It is Σ c / Σ |c| over the members, c being what a member adds by the edges that leave its group: what one member
    hands to another is counted once, where it leaves.
    """
    group_of = torch.full((graph.n_nodes,), -1)
    for i, group in enumerate(groups):
        group_of[list(group.members)] = i
    weights, targets, sources = target_weights(graph), graph.targets, graph.indices.long()
    added = _carried(graph) * (weights + contributions(graph))[targets]
    leaves = group_of[sources] != group_of[targets]
    by_node = torch.zeros_like(weights).index_add_(0, sources, torch.where(leaves, added, 0.0))
    parts = [by_node[list(group.members)] for group in groups]
    return [float(part.sum() / part.abs().sum().clamp_min(torch.finfo(part.dtype).tiny)) for part in parts]


def _carried(graph: GraphArrays) -> Float64[Tensor, " edge"]:
    """The share of its target that each edge makes; into a target of the graph, what it makes of it."""
    is_logit = graph.nodes.kind[graph.row_nodes] == LOGIT
    whole = torch.where(is_logit, 1.0, graph.values_of_targets.double())[graph.edge_rows]
    return torch.where(whole != 0, graph.values.double() / torch.where(whole != 0, whole, 1.0), 0.0)
