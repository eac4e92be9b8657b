"""Supernodes: groups of nodes, and the graph between them (Circuit Tracing, Ameisen et al. 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import influence, row_sums, signed_shares
from silverstain.graphs.kinds import FEATURE


@brief
@dataclass(frozen=True, kw_only=True)
class Group:
    """A supernode: nodes (by index in their graph) that are read as one."""

    label: str
    members: tuple[int, ...]
    kind: str = ""
    """What sort of thing the label says, such as "concept", "output" or "token"; free text."""


@brief
class GroupGraph(NamedTuple):
    """Edges between groups."""

    groups: tuple[Group, ...]
    weights: Float64[Tensor, "target source"]
    """Mean over a target group's members of the signed share of their input that a source group gives."""
    shares: Float64[Tensor, " group"]
    """Influence of a group's members / influence of all nodes."""


def collapse(graph: GraphArrays, groups: Sequence[Group], *, pruned: bool = False) -> GroupGraph:
    """The graph between groups: adj(T, S) = Σ_t f(t) Σ_s A'[t, s] / Σ_t f(t), for t in T and s in S.

    A' is the signed edge divided by Σ |edges| into its target (biases apart), its sign being that of `signed_shares`,
    and f(t) is the share of |input| of t that comes from outside T, so that members which only relay their own group
    count little. A group has no edge to itself. With `pruned`, only edges that pruning kept count. Groups must not
    overlap: UsageError.
    """
    group_of = _group_of_nodes(graph, groups)
    kept = graph.edge_mask if pruned else None
    signed = signed_shares(graph, kept)
    shares = signed.abs()
    target_group, source_group = group_of[graph.targets], group_of[graph.indices]
    from_outside = row_sums(graph.indptr, torch.where(target_group != source_group, shares, 0.0))

    n = len(groups)
    total, weight = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    row_group = group_of[graph.row_nodes]
    weight.index_add_(0, row_group[row_group >= 0], from_outside[row_group >= 0])
    edges = (target_group >= 0) & (source_group >= 0) & (target_group != source_group)
    flow = (from_outside[graph.edge_rows] * signed)[edges]
    total.index_put_((target_group[edges], source_group[edges]), flow, accumulate=True)
    weights = torch.where(weight[:, None] > 0, total / weight[:, None], 0.0)
    return GroupGraph(tuple(groups), weights, group_shares(graph, groups))


def group_shares(graph: GraphArrays, groups: Sequence[Group]) -> Float64[Tensor, " group"]:
    """Influence of each group's members / influence of all nodes."""
    reached = influence(graph)
    total = reached.sum().clamp(min=torch.finfo(reached.dtype).tiny)
    return torch.stack([reached[list(g.members)].sum() / total for g in groups]) if groups else reached[:0]


def group_places(graph: GraphArrays, group: Group) -> list[tuple[int, int, int]]:
    """(layer, position, feature) of a group's features: what an intervention on the group edits."""
    columns = (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    features = [node for node in group.members if int(graph.nodes.kind[node]) == FEATURE]
    places = (tuple(int(column[node]) for column in columns) for node in features)
    return [(layer, position, feature) for layer, position, feature in places]


def _group_of_nodes(graph: GraphArrays, groups: Sequence[Group]) -> Tensor:
    """The group of each node, -1 for none."""
    group_of = torch.full((graph.n_nodes,), -1)
    for i, group in enumerate(groups):
        if not group.members:
            raise UsageError(f"the group {group.label!r} has no members; give it some or leave it out")
        for node in group.members:
            if not 0 <= node < graph.n_nodes:
                raise UsageError(f"the group {group.label!r} names node {node}; this graph has {graph.n_nodes} nodes")
            if group_of[node] >= 0:
                other = groups[int(group_of[node])].label
                raise UsageError(f"node {node} is in two groups, {other!r} and {group.label!r}; leave it in one")
            group_of[node] = i
    return group_of
