"""The two ends of a claim: nodes and groups as sources and targets, and the graph's own targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Graph, Group


@brief
@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One end of a claim."""

    kind: str
    """node, group or logit."""
    label: str
    nodes: tuple[int, ...]
    """Features and errors only, or one target of the graph."""
    read: tuple[int, ...]
    """Those of `nodes` whose values can be read: features, or the target."""
    layer: int
    """Of the lowest node."""

    def is_target_of(self, source: "Endpoint") -> bool:
        """Whether a claim of the source on this makes sense: like on like, or on a target; never on itself."""
        if self.kind == "logit":
            return True
        return self.kind == source.kind and bool(self.read) and not set(self.nodes) & set(source.nodes)


def endpoints_of(graph: Graph, groups: Sequence[Group], most: int) -> tuple[list[Endpoint], Int[Tensor, " feature"]]:
    """The kept nodes (at most so many, by influence) and the groups as endpoints, and every feature node they read."""
    nodes = graph.nodes
    assert nodes.influence is not None  # a Graph fills it in
    can_move = nodes.is_kind("feature", "error")
    if graph.node_mask is not None:
        can_move &= graph.node_mask
    ranked = nodes.influence.masked_fill(~can_move, -1).argsort(descending=True, stable=True)
    chosen = sorted(ranked[: min(most, int(can_move.sum()))].tolist())
    if not chosen:
        raise UsageError("the graph keeps no feature and no error node, so there is nothing to test; prune it less")
    ids, movable = nodes.ids(), nodes.is_kind("feature", "error")
    endpoints = [_endpoint(graph, "node", ids[node], (node,)) for node in chosen]
    for group in groups:
        members = tuple(member for member in group.members if bool(movable[member]))
        if members:
            endpoints.append(_endpoint(graph, "group", group.label, members))
    read = sorted({node for endpoint in endpoints for node in endpoint.read})
    return endpoints, torch.tensor(read, dtype=torch.long)


def logit_endpoints(graph: Graph) -> list[Endpoint]:
    """The graph's targets."""
    span = graph.nodes.span("logit")
    nodes = range(span.start, span.stop)
    return [
        Endpoint(kind="logit", label=name, nodes=(node,), read=(node,), layer=graph.n_layers)
        for node, name in zip(nodes, graph.target_names, strict=True)
    ]


def effects_on(
    graph: Graph, targets: Sequence[Endpoint], features: Int[Tensor, " feature"], clean: Float[Tensor, " feature"]
) -> Float64[Tensor, "target read"]:
    """The matrix from changes of what is read (features, then the graph's targets) to effects on endpoints.

    Of a node or group: the change of its activation, members added up, over what it is in the clean run, so that an
    effect is below 0 where activations shrink, whatever their sign; of a target: as it is.
    """
    columns = {int(node): i for i, node in enumerate(features.tolist())}
    span = graph.nodes.span("logit")
    columns |= {node: len(features) + i for i, node in enumerate(range(span.start, span.stop))}
    matrix = torch.zeros(len(targets), len(columns), dtype=torch.float64)
    for row, target in enumerate(targets):
        read = [columns[node] for node in target.read]
        own = clean[[column for column in read if column < len(clean)]].double()
        is_logit = target.kind == "logit"
        matrix[row, read] = 1.0 if is_logit else own.sign() / own.abs().sum().clamp_min(1e-30)
    return matrix


def _endpoint(graph: Graph, kind: str, label: str, members: tuple[int, ...]) -> Endpoint:
    is_feature = graph.nodes.is_kind("feature")
    return Endpoint(
        kind=kind,
        label=label,
        nodes=members,
        read=tuple(member for member in members if bool(is_feature[member])),
        layer=min(int(graph.nodes.layer[member]) for member in members),
    )
