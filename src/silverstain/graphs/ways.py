"""The edges of a circuit: the strongest ones, and so many more that every unit has a way from words and to an answer.

An edge that is drawn for its strength carries at least SMALLEST_SHARE of its target's input. In a graph of many small
units no edge does; then each unit keeps its strongest edge on either side. Where a unit touches nothing that is drawn,
because all it does goes through units that are not, the edge is the sum of those paths, and says so (`is_direct`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import influence, signed_shares
from silverstain.graphs.supernodes import GroupGraph

SMALLEST_SHARE = 0.05
"""Edges that carry less of their target's input than this are left out, unless a unit has no other way on."""
SMALLEST_WAY = 0.005
"""A direct edge below this would be drawn as 0.00; the paths through units that are not drawn say more."""
MOST_INPUTS = 4
"""Edges into one node of the circuit that are chosen by their strength."""
MOST_FROM_ERRORS = 3
"""Edges out of errors, or of all the rest."""
SOURCES = ("token", "error")


@dataclass(frozen=True, kw_only=True)
class CircuitEdge:
    """The signed share of a target's input that a source gives; both are indices into the circuit's nodes."""

    source: int
    target: int
    weight: float
    is_direct: bool = True
    """False: the sum over all paths through units that are not drawn."""


def chosen_edges(graph: GraphArrays, between: GroupGraph, kinds: Sequence[str]) -> list[CircuitEdge]:
    """The edges to draw between the groups, strongest first, without cycles; all of them lead to an answer."""
    weights = between.weights
    order = _Order(len(kinds))
    strong = _strong_edges(weights, kinds)
    from_errors = [edge for edge in strong if kinds[edge.source] == "error"][:MOST_FROM_ERRORS]
    edges = order.without_cycles([edge for edge in strong if kinds[edge.source] != "error" or edge in from_errors])
    ways = _Ways(graph, between)
    strongest = sorted(range(len(kinds)), key=lambda i: -float(between.shares[i]))
    for unit in strongest:
        if kinds[unit] not in (*SOURCES, "logit") and not any(edge.source == unit for edge in edges):
            targets = [t for t in range(len(kinds)) if kinds[t] not in SOURCES and not order.reaches[t, unit]]
            edges += order.without_cycles(ways.out_of(unit, targets, kinds))
    errors = [i for i, kind in enumerate(kinds) if kind == "error"]
    for unit in strongest:
        entering = {kinds[edge.source] for edge in edges if edge.target == unit}
        if kinds[unit] in SOURCES or entering - {"error"}:
            continue
        sources = [s for s in range(len(kinds)) if kinds[s] not in ("logit", "error") and not order.reaches[unit, s]]
        found = ways.into(unit, sources) or (ways.into(unit, errors) if not entering else [])
        edges += order.without_cycles(found)
    return sorted(_towards_answers(edges, kinds), key=lambda edge: (-abs(edge.weight), edge.target, edge.source))


class _Order:
    """Which node reaches which: groups of many layers may feed each other, and a drawing has no cycle."""

    def __init__(self, n: int) -> None:
        self.reaches: Bool[Tensor, "from to"] = torch.eye(n, dtype=torch.bool)

    def without_cycles(self, edges: Iterable[CircuitEdge]) -> list[CircuitEdge]:
        """The edges, in their order, without those that would close a cycle with the ones before."""
        kept = []
        for edge in edges:
            if not self.reaches[edge.target, edge.source]:
                kept.append(edge)
                self.reaches |= self.reaches[:, edge.source, None] & self.reaches[None, edge.target]
        return kept


def _strong_edges(weights: Float64[Tensor, "target source"], kinds: Sequence[str]) -> list[CircuitEdge]:
    """For each target its strongest inputs, and for each unit its strongest output; strongest first."""
    chosen: set[tuple[int, int]] = set()
    for target, row in enumerate(weights.abs()):
        values, sources = row.topk(min(MOST_INPUTS, len(row)))
        chosen |= {(target, s) for v, s in zip(values.tolist(), sources.tolist(), strict=True) if v >= SMALLEST_SHARE}
    for source, column in enumerate(weights.abs().T):
        target = int(column.argmax())
        if kinds[source] not in SOURCES and float(column[target]) >= SMALLEST_SHARE:
            chosen.add((target, source))
    edges = [CircuitEdge(source=s, target=t, weight=float(weights[t, s])) for t, s in chosen]
    return sorted(edges, key=lambda edge: (-abs(edge.weight), edge.target, edge.source))


class _Ways:
    """The one edge that joins a unit to what is drawn."""

    def __init__(self, graph: GraphArrays, between: GroupGraph) -> None:
        self.graph, self.between = graph, between
        self._through: dict[int, Float64[Tensor, " source"]] = {}

    def out_of(self, unit: int, targets: Sequence[int], kinds: Sequence[str]) -> list[CircuitEdge]:
        """To where most of its influence goes: the share of the target's input times the target's own influence."""
        weight_of = self.between.shares.clone()
        for target, kind in enumerate(kinds):
            if kind == "logit":
                weight_of[target] = max(
                    float(self.graph.nodes.activation[self.between.groups[target].members[0]]), 1e-9
                )
        direct = [(t, float(self.between.weights[t, unit]), True) for t in targets]
        best = max(direct, key=lambda way: abs(way[1]) * float(weight_of[way[0]]), default=None)
        if best is None or abs(best[1]) < SMALLEST_WAY:
            through = [(t, float(self.through(t)[unit]), False) for t in targets]
            best = max((*direct, *through), key=lambda way: abs(way[1]) * float(weight_of[way[0]]), default=None)
        if best is None or best[1] == 0:
            return []
        return [CircuitEdge(source=unit, target=best[0], weight=best[1], is_direct=best[2])]

    def into(self, unit: int, sources: Sequence[int]) -> list[CircuitEdge]:
        """From what gives most of its input."""
        direct = [(s, float(self.between.weights[unit, s]), True) for s in sources]
        best = max(direct, key=lambda way: abs(way[1]), default=None)
        if best is None or abs(best[1]) < SMALLEST_WAY:
            through = self.through(unit)
            both = (*direct, *((s, float(through[s]), False) for s in sources))
            best = max(both, key=lambda way: abs(way[1]), default=None)
        if best is None or best[1] == 0:
            return []
        return [CircuitEdge(source=best[0], target=unit, weight=best[1], is_direct=best[2])]

    def through(self, target: int) -> Float64[Tensor, " source"]:
        """For every group the signed share of the target's input that reaches it by paths through no drawn unit.

        With A the signed shares, D the drawn nodes and H the others, this is the mean over the target's members of
        A_DD + A_DH A_HD + A_DH A_HH A_HD + ….
        """
        if target not in self._through:
            graph, groups = self.graph, self.between.groups
            members = torch.tensor(groups[target].members)
            open_to_paths = torch.ones(graph.n_nodes, dtype=torch.bool)
            open_to_paths[[member for group in groups for member in group.members]] = False
            open_to_paths[members] = True
            shares = signed_shares(graph)
            goal = torch.zeros(graph.n_nodes, dtype=torch.float64)
            goal[members] = 1 / len(members)
            reached = influence(graph, torch.where(open_to_paths[graph.targets], shares, 0.0), goal)
            sums = [0.0 if i == target else float(reached[list(g.members)].sum()) for i, g in enumerate(groups)]
            self._through[target] = torch.tensor(sums, dtype=torch.float64)
        return self._through[target]


def _towards_answers(edges: Sequence[CircuitEdge], kinds: Sequence[str]) -> list[CircuitEdge]:
    """Edges on a path to an answer."""
    reached, todo = set(), [i for i, kind in enumerate(kinds) if kind == "logit"]
    while todo:
        node = todo.pop()
        if node not in reached:
            reached.add(node)
            todo += [edge.source for edge in edges if edge.target == node]
    return [edge for edge in edges if edge.target in reached]
