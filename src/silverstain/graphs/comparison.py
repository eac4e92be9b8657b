"""How two graphs of one prompt agree: which nodes both have, their activations, and the edges between them.

Nodes are matched by their ids, so the graphs may come from other budgets, other dictionaries of the same numbering, or
other tools. Targets that are no tokens have ids by their rank alone, and are matched by name and position.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.graph import Graph
from silverstain.graphs.kinds import NODE_KINDS


class Overlap(NamedTuple):
    """How many things both have, and how many only one."""

    shared: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class ActivationAgreement:
    """Activations of the features that both graphs have; None where there are too few to say."""

    n: int
    correlation: float | None
    max_relative_difference: float | None
    """Largest |left − right| / |right|."""


@dataclass(frozen=True, kw_only=True)
class EdgeAgreement:
    """Edges between nodes that both graphs have; None where there is nothing to compare."""

    count: Overlap
    relative_difference: float | None
    """‖left − right‖ / ‖right‖ over the edges that both have."""
    cosine: float | None
    left_share: float
    """Share of Σ |edge| of the left graph that lies on edges only it has, those at nodes of its own included."""
    right_share: float


@dataclass(frozen=True, kw_only=True)
class TargetAgreement:
    """One target: its weight in the influence, which for a token is its probability; None where it is no target."""

    id: str
    name: str
    left: float | None
    right: float | None


@brief
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two graphs side by side; `left` and `right` in the order they were given."""

    nodes: Mapping[str, Overlap]
    """By kind; attention only where there is any."""
    activations: ActivationAgreement
    edges: Mapping[str, EdgeAgreement]
    """All, and by the kind of their source: tools differ in what they count as a token's or an error's share."""
    targets: tuple[TargetAgreement, ...]


def compare(left: Graph, right: Graph, *, pruned: bool = False) -> Comparison:
    """Compare two graphs, or with `pruned` what pruning kept of them."""
    pairs = _shared_nodes(left, right, pruned)
    nodes = {kind: _overlap(left, right, pairs, pruned, kind) for kind in NODE_KINDS}
    edges = {"all": _edges(left, right, pairs, pruned, None)}
    edges |= {kind: _edges(left, right, pairs, pruned, kind) for kind in NODE_KINDS if kind != "logit"}
    return Comparison(
        nodes={kind: overlap for kind, overlap in nodes.items() if any(overlap) or kind != "attention"},
        activations=_activations(left, right, pairs),
        edges={kind: agreement for kind, agreement in edges.items() if kind == "all" or any(agreement.count)},
        targets=_targets(left, right),
    )


class _Pairs(NamedTuple):
    """Indices of each node that both graphs have."""

    left: Int64[Tensor, " shared"]
    right: Int64[Tensor, " shared"]


def _shared_nodes(left: Graph, right: Graph, pruned: bool) -> _Pairs:
    in_right = {node_id: node for node, node_id in enumerate(_names(right))}
    kept_left, kept_right = left.kept_nodes(pruned), right.kept_nodes(pruned)
    pairs = [
        (node, in_right[node_id])
        for node, node_id in enumerate(_names(left))
        if node_id in in_right and kept_left[node] and kept_right[in_right[node_id]]
    ]
    columns = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return _Pairs(columns[:, 0], columns[:, 1])


def _names(graph: Graph) -> list[str]:
    """The id of each node; of a target that is no token what it is called in every graph that asks for it."""
    ids, span = graph.nodes.ids(), graph.nodes.span("logit")
    columns = graph.nodes.token[span].tolist(), graph.nodes.position[span].tolist(), graph.target_names
    for node, (token, position, name) in enumerate(zip(*columns, strict=True), start=span.start):
        if token < 0:
            ids[node] = f"{name}@{position}"
    return ids


def _overlap(left: Graph, right: Graph, pairs: _Pairs, pruned: bool, kind: str) -> Overlap:
    shared = int(left.nodes.is_kind(kind)[pairs.left].sum())
    sizes = [int((graph.nodes.is_kind(kind) & graph.kept_nodes(pruned)).sum()) for graph in (left, right)]
    return Overlap(shared, sizes[0] - shared, sizes[1] - shared)


def _activations(left: Graph, right: Graph, pairs: _Pairs) -> ActivationAgreement:
    features = left.nodes.is_kind("feature")[pairs.left]
    a = left.nodes.activation[pairs.left[features]].double()
    b = right.nodes.activation[pairs.right[features]].double()
    spread = a - a.mean(), b - b.mean()
    size = float(spread[0].norm() * spread[1].norm()) if len(a) > 1 else 0.0
    known = b != 0
    return ActivationAgreement(
        n=len(a),
        correlation=_cosine(*spread) if size > 0 else None,
        max_relative_difference=float(((a - b).abs() / b.abs())[known].max()) if bool(known.any()) else None,
    )


def _edges(left: Graph, right: Graph, pairs: _Pairs, pruned: bool, kind: str | None) -> EdgeAgreement:
    numbers = torch.arange(len(pairs.left))
    of_left = _shared_edges(left, pairs.left, numbers, pruned, kind)
    of_right = _shared_edges(right, pairs.right, numbers, pruned, kind)
    keys, where = torch.cat([of_left.keys, of_right.keys]).unique(return_inverse=True)
    # a graph has an edge once at most, so each key has one place in each
    a, b = (torch.zeros(len(keys), dtype=torch.float64) for _ in range(2))
    in_a, in_b = (torch.zeros(len(keys), dtype=torch.bool) for _ in range(2))
    n = len(of_left.keys)
    a[where[:n]], in_a[where[:n]] = of_left.values, True
    b[where[n:]], in_b[where[n:]] = of_right.values, True
    both = in_a & in_b
    norms = float(a[both].norm()), float(b[both].norm())
    return EdgeAgreement(
        count=Overlap(int(both.sum()), of_left.total - int(both.sum()), of_right.total - int(both.sum())),
        relative_difference=float((a[both] - b[both]).norm()) / norms[1] if norms[1] > 0 else None,
        cosine=_cosine(a[both], b[both]) if norms[0] > 0 and norms[1] > 0 else None,
        left_share=_share_not_shared(a[both], of_left.mass),
        right_share=_share_not_shared(b[both], of_right.mass),
    )


def _share_not_shared(shared: Float64[Tensor, " edge"], mass: float) -> float:
    """Share of a graph's Σ |edge| that is not on shared edges; rounding may leave less than nothing."""
    return max(0.0, 1 - float(shared.abs().sum()) / mass) if mass > 0 else 0.0


def _cosine(a: Float64[Tensor, " edge"], b: Float64[Tensor, " edge"]) -> float:
    return min(1.0, max(-1.0, float(a @ b) / float(a.norm() * b.norm())))  # rounding may pass 1


class _SharedEdges(NamedTuple):
    """The edges of one graph between nodes that both have; equal keys mean the same edge in both graphs."""

    keys: Int64[Tensor, " edge"]
    values: Float64[Tensor, " edge"]
    total: int
    """Number of all its edges, those at other nodes included."""
    mass: float
    """Σ |edge| over all of them."""


def _shared_edges(
    graph: Graph, nodes: Int64[Tensor, " shared"], numbers: Int64[Tensor, " shared"], pruned: bool, kind: str | None
) -> _SharedEdges:
    number = torch.full((graph.n_nodes,), -1)
    number[nodes] = numbers
    counted = graph.kept_edges(pruned)
    if kind is not None:
        counted = counted & graph.nodes.is_kind(kind)[graph.indices]
    sources, targets, values = graph.indices[counted], graph.targets[counted], graph.values[counted].double()
    shared = (number[sources] >= 0) & (number[targets] >= 0)
    keys = number[targets[shared]] * len(numbers) + number[sources[shared]]
    return _SharedEdges(keys, values[shared], len(values), float(values.abs().sum()))


def _targets(left: Graph, right: Graph) -> tuple[TargetAgreement, ...]:
    """The targets of the left graph, then those that only the right one has."""
    found: dict[str, tuple[str, list[float | None]]] = {}
    for side, graph in enumerate((left, right)):
        span = graph.nodes.span("logit")
        weights = graph.nodes.activation[span].tolist()
        for node_id, name, weight in zip(_names(graph)[span], graph.target_names, weights, strict=True):
            found.setdefault(node_id, (name, [None, None]))[1][side] = weight
    return tuple(
        TargetAgreement(id=node_id, name=name, left=weights[0], right=weights[1])
        for node_id, (name, weights) in found.items()
    )
