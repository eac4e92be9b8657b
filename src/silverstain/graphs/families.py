"""Two graphs or many side by side: what they share by feature, by group and by the direction that a group writes.

A family's trace of execution is its merged graph with the frequency of every part (`merging`); here are the parts of it
that stand out: units that nearly every prompt uses, those that only some do, and steps that recur.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.influence import edge_shares, influence
from silverstain.graphs.merging import check_one_basis, merge
from silverstain.graphs.naming import unit_name
from silverstain.graphs.profiles import TINY
from silverstain.graphs.roles import find_roles
from silverstain.graphs.stability import Stability, circuit_units, stability, unit_table
from silverstain.graphs.supernodes import Group
from silverstain.graphs.transfer import GroupRoles

ALWAYS = 0.9
"""In so many of the graphs a unit is part of the family's mechanism."""
MOST = 12


@brief
@dataclass(frozen=True, kw_only=True)
class Recurring:
    """A unit or a step, in what share of the graphs it is, and what it carries there on average."""

    name: str
    frequency: float
    share: float


@brief
@dataclass(frozen=True, kw_only=True)
class GroupMatch:
    """A group of the first graph, and the same in another."""

    label: str
    units: tuple[int, int]
    """How many units it has in each."""
    shared: int
    """How many of them are the same."""
    shares: tuple[float, float]
    """Of the influence in each."""
    cosine: float | None = None
    """Between what it writes in each; None without the basis."""


@brief
@dataclass(frozen=True, kw_only=True)
class FamilyComparison:
    """What some graphs have in common."""

    graphs: int
    by_feature: tuple[tuple[float, ...], ...]
    """Of every two graphs: Jaccard index of the units that carry most of the influence."""
    by_group: tuple[GroupMatch, ...]
    """Of the first two graphs."""
    always: tuple[Recurring, ...]
    """Units in nearly all graphs, the most influential first."""
    sometimes: tuple[Recurring, ...]
    steps: tuple[Recurring, ...]
    """Edges between units, the most frequent first."""
    stability: Stability

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"stability": self.stability.to_json()}


def compare_family(
    graphs: Sequence[Graph], *, draws: int = 100, written: Sequence[Mapping[int, Tensor]] | None = None
) -> FamilyComparison:
    """Compare two graphs or more of one basis; `written` is what units write in each graph, by node."""
    if len(graphs) < 2:
        raise UsageError(f"comparing takes two graphs or more, and there are {len(graphs)}")
    check_one_basis(graphs)
    weights, _ = unit_table(graphs)
    chosen = [circuit_units(row) for row in weights]
    merged = merge(graphs)
    table, is_unit = merged.graph.nodes, merged.graph.nodes.is_unit
    mean = torch.zeros(len(table), dtype=torch.float64)
    for graph, place in zip(graphs, merged.places, strict=True):
        reached = influence(graph)
        mean[place] += reached / reached.sum().clamp_min(TINY) / len(graphs)
    order = torch.where(is_unit, mean, -1.0).argsort(descending=True, stable=True)[: int(is_unit.sum())].tolist()
    units = [
        Recurring(name=unit_name(table, node), frequency=float(merged.node_share[node]), share=float(mean[node]))
        for node in order
        if mean[node] > 0
    ]
    return FamilyComparison(
        graphs=len(graphs), by_feature=tuple(tuple(_jaccard(one, other) for other in chosen) for one in chosen),
        by_group=tuple(_matches(graphs[0], graphs[1], written)),
        always=tuple([one for one in units if one.frequency >= ALWAYS][:MOST]),
        sometimes=tuple([one for one in units if one.frequency < ALWAYS][:MOST]),
        steps=tuple(_steps(merged.graph, merged.edge_share)), stability=stability(graphs, draws=draws),
    )  # fmt: skip


def _steps(graph: Graph, frequency: Tensor) -> list[Recurring]:
    """Edges between units, by how many graphs have them, then by what they carry."""
    nodes, targets, sources = graph.nodes, graph.targets, graph.indices.long()
    between = nodes.is_unit[targets] & nodes.is_unit[sources]
    carried = edge_shares(graph) * influence(graph)[targets]
    score = torch.where(between, frequency * carried / carried.max().clamp_min(TINY), -1.0)
    best = score.argsort(descending=True, stable=True)[:MOST].tolist()
    return [
        Recurring(
            name=f"{unit_name(nodes, int(sources[edge]))} → {unit_name(nodes, int(targets[edge]))}",
            frequency=float(frequency[edge]), share=float(edge_shares(graph)[edge]),
        )
        for edge in best
        if score[edge] > 0
    ]  # fmt: skip


def _matches(left: Graph, right: Graph, written: Sequence[Mapping[int, Tensor]] | None) -> list[GroupMatch]:
    """The groups of one graph in another."""
    found = find_roles(left)
    if not found.supernodes:
        return []
    there = GroupRoles.of(left, found.groups).found_in(right)
    same = GroupRoles.of(left, found.groups).found_in(right, by_role=False)
    reached = influence(right)
    whole = float(reached.sum().clamp_min(TINY))
    return [
        GroupMatch(
            label=one.group.label, units=(len(one.group.members), len(other.members)), shared=len(known.members),
            shares=(one.share, float(reached[list(other.members)].sum()) / whole),
            cosine=None if written is None else _cosine(written[0], one.group, written[1], other),
        )
        for one, other, known in zip(found.supernodes, there, same, strict=True)
    ]  # fmt: skip


def _cosine(left: Mapping[int, Tensor], one: Group, right: Mapping[int, Tensor], other: Group) -> float | None:
    sides = [[written[m] for m in group.members if m in written] for written, group in ((left, one), (right, other))]
    if not all(sides):
        return None
    a, b = (torch.stack(side).double().sum(0) for side in sides)
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else None


def _jaccard(left: Tensor, right: Tensor) -> float:
    return float((left & right).sum() / (left | right).sum().clamp(min=1))
