"""Supernodes by what units do: units of one role are one group, wherever they are. No label and no table is needed.

Two units are alike where the same words feed them *and* they feed the same (`profiles`): the similarity of two units is
the harmonic mean of the cosines of their two profiles, and of what they write where the basis is at hand. Units are
joined by average linkage until no two groups are as alike as `ALIKE`; what is joined further, up to `ALIKE_ROLES`, is
one role, a group of groups. Units that raise the answer and units that lower it are kept apart in the end, and so are
features and attention, and units that do nothing but hand what other units give them to the answer (`writers`). A
label is no part of this: where members have one, most of them the same, the group is called by it.

The same graph always gives the same groups: nothing is drawn.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from silverstain.brief import brief
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import edge_shares, influence
from silverstain.graphs.kinds import ATTENTION, ERROR, FEATURE
from silverstain.graphs.profiles import TINY, Profiles, profiles, word_names
from silverstain.graphs.scores import scores
from silverstain.graphs.signs import directions
from silverstain.graphs.supernodes import Group, group_shares
from silverstain.printable import printable

MOST_UNITS = 1024
"""The most influential units are grouped: similarities are of all pairs."""
SMALLEST = 0.0002
"""Of all units' influence: a unit with less is in no group."""
ALIKE, ALIKE_ROLES = 0.75, 0.6
"""Groups are joined while their members are on average at least as alike as this; into roles while as alike as that."""
MOST_GROUPS = 40
NAMED = 0.25
"""Share of a group's input by which a word is named in its label."""
SAYS = 0.8
"""Share of a group's influence that must go right to the answers for it to *write the answer*."""
ALL_OF_IT, HANDED_ON = 0.95, 0.5
"""Units of which so much goes right to the answers, and so much comes right from other units, only write the answer."""
ONE_WAY = 0.2
"""Of all that a unit's group adds to an answer, so much must be left over for it to have a direction."""
SHARED_LABEL = 0.5
"""Share of a group's influence whose members must have one label for the group to be called by it."""
NOTHING = 0.1
"""Replacement score, and share of the MLPs that features explain, below which there is nothing to group."""
LONGEST_WORD = 16
WRITES, ROLE, ATTENDS = "output", "role", "attention"


@brief
@dataclass(frozen=True, kw_only=True)
class Supernode:
    """A group that was found, and what speaks for and against it."""

    group: Group
    share: float
    """Of the influence of all nodes."""
    internal: float
    """Share of its members' input that comes right from other members: those hand on what they are given."""
    consistency: float
    """|Σ c| / Σ |c| of what its members add to the answer: 1 where all pull one way."""
    direction: int
    """1 raises the answer, −1 lowers it, 0 does both."""
    direct: float
    """Share of its influence that goes right to the answers."""
    from_units: float
    """Share of its members' input that comes right from other units, rather than from words."""
    role: int
    """Groups of one role have one number."""
    positions: tuple[int, ...]
    layers: tuple[int, int]
    fed_by: tuple[tuple[str, float], ...]
    """The words that give most of its input, and the share of each."""

    @property
    def only_writes(self) -> bool:
        """Whether it does nothing but write the answer: what it has from other units it hands right on to it."""
        return self.direct >= ALL_OF_IT and self.from_units >= HANDED_ON

    def to_json(self, ids: Sequence[str]) -> dict[str, Any]:
        """As `silverstain group --json` prints it."""
        return {
            "label": self.group.label, "kind": self.group.kind, "members": [ids[m] for m in self.group.members],
            "positions": list(self.positions), "layers": list(self.layers), "share": self.share,
            "internal": self.internal, "consistency": self.consistency, "direction": self.direction,
            "direct": self.direct, "from_units": self.from_units, "role": self.role,
            "fed_by": [list(pair) for pair in self.fed_by],
        }  # fmt: skip


@brief
@dataclass(frozen=True, kw_only=True)
class Roles:
    """All groups of a graph, most influential first."""

    supernodes: tuple[Supernode, ...]
    units_share: float
    """Share of the influence of all units that is in some group."""
    remark: str = ""
    """Why there is nothing, or little, to read; empty otherwise."""

    @property
    def groups(self) -> list[Group]:
        return [one.group for one in self.supernodes]

    @property
    def roles(self) -> dict[int, list[int]]:
        """The groups of each role, by their index."""
        found: dict[int, list[int]] = {}
        for i, one in enumerate(self.supernodes):
            found.setdefault(one.role, []).append(i)
        return found


def find_roles(
    graph: GraphArrays,
    *,
    written: Mapping[int, Tensor] | None = None,
    labels: Sequence[str | None] | None = None,
    alike: float = ALIKE,
) -> Roles:
    """Groups of a graph's units by their roles.

    Args:
        written: what units write [d_model], by node, where the basis is at hand; then also this must be alike.
        labels: of each node, where there are any; they name groups and decide nothing else.
        alike: how alike groups must be to be joined, from 0 to 1.
    """
    remark = nothing_to_read(graph)
    reached = influence(graph)
    units = _units(graph, reached)
    if not len(units):
        return Roles(supernodes=(), units_share=0.0, remark=remark or "no unit has any influence on the answer")
    found = profiles(graph, units)
    similar = similarity(graph, found, written)
    apart = np.stack([_pulls(found, similar, alike), graph.nodes.kind[units].numpy(), writers(graph, found).numpy()])
    parts, roles = _parts(similar, apart, alike)
    groups = _groups(graph, found, parts, reached, labels)
    all_units = float(reached[graph.nodes.is_unit].sum())
    inside = float(reached[units].sum())
    return Roles(
        supernodes=_told(graph, found, groups, parts, roles, reached),
        units_share=inside / all_units if all_units > 0 else 0.0,
        remark=remark,
    )


def nothing_to_read(graph: GraphArrays) -> str:
    """Why a graph's units say nothing about the model; empty where they may.

    A dictionary that explains nothing leaves all influence to its errors, as random ones do.
    """
    if not graph.n_edges:
        return "the graph has no edges, so no unit has a role"
    if graph.meta.get("rest"):
        return ""
    passed = scores(graph).replacement
    if passed < NOTHING:
        return (
            f"{100 * (1 - passed):.0f} % of the influence passes through error nodes: the dictionary's features "
            "explain next to nothing of this answer, and groups of them say nothing about the model"
        )
    explained = explained_by_features(graph)
    if explained < NOTHING:
        return (
            "errors take back what the features write (of what the MLPs give, the features explain "
            f"{100 * max(explained, 0):.0f} %): groups of them say nothing about the model"
        )
    return ""


def explained_by_features(graph: GraphArrays) -> float:
    """The share of what the MLPs give to the nodes of a graph that features explain: 1 − Σ e² / Σ (f + e)².

    Below 0 the features add more noise than they explain.

    Over targets and source positions, f is what the features at a position give a target, and e what the errors there
    give. A random dictionary's features may carry much influence; its errors then take back what they write. 1 for a
    graph without errors.
    """
    nodes, sources = graph.nodes, graph.indices.long()
    n = int(nodes.position.max()) + 2 if graph.n_nodes else 1
    place = graph.edge_rows * n + nodes.position[sources].long() + 1
    sums = []
    for kind in (FEATURE, ERROR):
        there = nodes.kind[sources] == kind
        total = torch.zeros(len(graph.row_nodes) * n, dtype=torch.float64)
        sums.append(total.index_add_(0, place[there], graph.values[there].double()))
    features, errors = sums
    whole = float(((features + errors) ** 2).sum())
    return 1 - float((errors**2).sum()) / whole if whole > 0 else 1.0


def similarity(
    graph: GraphArrays, found: Profiles, written: Mapping[int, Tensor] | None = None
) -> Float64[Tensor, "unit unit"]:
    """How alike every two units are, from 0 to 1: the harmonic mean of what feeds them, what they feed and write."""
    views = [_cosines(found.fed_by), _cosines(found.feeds)]
    units = found.units.tolist()
    if written is not None and all(unit in written for unit in units):
        views.append((1 + _cosines(torch.stack([written[unit].double() for unit in units]))) / 2)
    inverse = sum(1 / view.clamp_min(TINY) for view in views)
    both = len(views) / torch.as_tensor(inverse)
    is_attention = graph.nodes.kind[found.units] == ATTENTION
    return torch.where(is_attention[:, None] == is_attention[None], both, 0.0)


def _cosines(rows: Float64[Tensor, "unit column"]) -> Float64[Tensor, "unit unit"]:
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(TINY)
    return (unit @ unit.T).clamp(-1, 1)


def _units(graph: GraphArrays, reached: Float64[Tensor, " node"]) -> Tensor:
    weight = torch.where(graph.nodes.is_unit, reached, 0.0)
    order = weight.argsort(descending=True, stable=True)[:MOST_UNITS]
    return order[weight[order] > SMALLEST * weight.sum()].sort().values


def writers(graph: GraphArrays, found: Profiles) -> Bool[Tensor, " unit"]:
    """Units that do nothing but write the answer."""
    index = torch.full((graph.n_nodes,), -1)
    index[found.units] = torch.arange(len(found.units))
    target = index[graph.targets]
    counted = (target >= 0) & graph.nodes.is_unit[graph.indices.long()]
    given = torch.zeros(len(found.units), dtype=torch.float64)
    given.index_add_(0, target[counted], edge_shares(graph)[counted])
    return (found.direct >= ALL_OF_IT) & (given >= HANDED_ON)


def _pulls(found: Profiles, similar: Tensor, alike: float) -> np.ndarray:
    """Which way each unit, with those like it, moves the answer: −1 or 1.

    A unit whose own effect is next to nothing goes the way of those that are like it, so that noise makes no groups.
    """
    near = torch.where(similar >= alike, similar, 0.0)
    effect = found.effect
    around = near @ effect / (near @ effect.abs()).clamp_min(TINY)
    small = effect.abs() < 0.05 * (near @ effect.abs()) / near.sum(1).clamp_min(1)
    return torch.where(small, around, effect).sign().where(effect != 0, 1.0).numpy()


def _parts(similar: Tensor, apart: np.ndarray, alike: float) -> tuple[list[list[int]], list[int]]:
    """The units of each group, and the role of each group. Units that differ in `apart` are not in one group."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(similar)
    if n == 1:
        return [[0]], [0]
    distance = (1 - similar.numpy()).clip(0, 1)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    fine = fcluster(tree, 1 - alike, "distance")
    if fine.max() > MOST_GROUPS:
        fine = fcluster(tree, MOST_GROUPS, "maxclust")
    coarse = fcluster(tree, max(1 - ALIKE_ROLES, 1 - alike), "distance")
    members: dict[tuple[int, ...], list[int]] = {}
    for unit in range(n):
        members.setdefault((int(fine[unit]), *map(int, apart[:, unit])), []).append(unit)
    parts = list(members.values())
    return parts, [int(coarse[part[0]]) for part in parts]


def _groups(
    graph: GraphArrays,
    found: Profiles,
    parts: Sequence[Sequence[int]],
    reached: Tensor,
    labels: Sequence[str | None] | None,
) -> list[Group]:
    """The groups with labels of their own, in the order of the parts."""
    words, used, out = [_shown(word) for word in word_names(graph)], Counter[str](), []
    for part in parts:
        members = tuple(sorted(found.units[part].tolist()))
        label, kind = _label(graph, found, list(part), members, words, reached, labels)
        used[label] += 1
        out.append(Group(label=label if used[label] == 1 else f"{label} ({used[label]})", kind=kind, members=members))
    return out


def _label(
    graph: GraphArrays,
    found: Profiles,
    part: list[int],
    members: tuple[int, ...],
    words: Sequence[str],
    reached: Tensor,
    labels: Sequence[str | None] | None,
) -> tuple[str, str]:
    weight = reached[found.units[part]].clamp_min(TINY)
    shared = Counter[str]()
    for member in members if labels is not None else ():
        if labels is not None and labels[member]:
            shared[str(labels[member])] += float(reached[member])  # pyright: ignore[reportArgumentType]
    if shared and shared.most_common(1)[0][1] >= SHARED_LABEL * float(reached[list(members)].sum()):
        return printable(shared.most_common(1)[0][0], 80), "concept"
    direct = float((found.direct[part] * weight).sum() / weight.sum())
    lowers = float(found.effect[part].sum()) < 0
    if direct >= SAYS:
        answers = graph.target_names
        answer = _shown(answers[0]) if len(answers) == 1 else "the answer"
        stem, kind = f"{'less ' if lowers else 'say '}{answer}", WRITES
    else:
        stem, kind = "", ROLE
    if int(graph.nodes.kind[members[0]]) == ATTENTION:
        kind = ATTENDS
        stem = f"attention{', less' if lowers else ''}"
    fed = _fed(found, part, weight, words)
    source = " + ".join(name for name, _ in fed[:2]) or "many words"
    places = Counter(graph.nodes.position[list(members)].tolist())
    place, n_at = places.most_common(1)[0]
    where = words[place] if 0 <= place < len(words) else "?"
    at = "" if n_at < 0.8 * len(members) or where == source else f" at {where}"
    down = " (−)" if lowers and not stem else ""
    return f"{stem}{': ' if stem else ''}{source}{at}{down}", kind


def _fed(found: Profiles, part: list[int], weight: Tensor, words: Sequence[str]) -> list[tuple[str, float]]:
    """The words that give most of some units' input."""
    given = (found.by_word[part] * weight[:, None]).sum(0) / weight.sum()
    order = given.argsort(descending=True, stable=True).tolist()
    names = [str(words[at]) if at < len(words) else f"@{at}" for at in order]
    return [(name, float(given[at])) for name, at in zip(names, order, strict=True) if float(given[at]) >= NAMED]


def _told(
    graph: GraphArrays,
    found: Profiles,
    groups: Sequence[Group],
    parts: Sequence[Sequence[int]],
    roles: Sequence[int],
    reached: Tensor,
) -> tuple[Supernode, ...]:
    words = [_shown(word) for word in word_names(graph)]
    shares = group_shares(graph, groups).tolist()
    ways, (internal, from_units) = directions(graph, groups), input_shares(graph, groups)
    out = []
    for i, (group, part) in enumerate(zip(groups, parts, strict=True)):
        weight = reached[found.units[list(part)]].clamp_min(TINY)
        layer = graph.nodes.layer[list(group.members)]
        out.append(
            Supernode(
                group=group, share=shares[i], internal=internal[i], consistency=abs(ways[i]), from_units=from_units[i],
                direction=0 if abs(ways[i]) < ONE_WAY else 1 if ways[i] > 0 else -1,
                direct=float((found.direct[list(part)] * weight).sum() / weight.sum()), role=roles[i],
                positions=tuple(sorted(set(graph.nodes.position[list(group.members)].tolist()))),
                layers=(int(layer.min()), int(layer.max())),
                fed_by=tuple(_fed(found, list(part), weight, words)),
            )
        )  # fmt: skip
    ranked = sorted(out, key=lambda one: (-one.share, one.group.members))
    numbers = {role: n for n, role in enumerate(dict.fromkeys(one.role for one in ranked))}
    return tuple(replace(one, role=numbers[one.role]) for one in ranked)


def input_shares(graph: GraphArrays, groups: Sequence[Group]) -> tuple[list[float], list[float]]:
    """Of what enters each group's members, weighted by influence, the share that comes right from other members, and
    the share that comes right from units of any group or none."""
    group_of = torch.full((graph.n_nodes,), -1)
    for i, group in enumerate(groups):
        group_of[list(group.members)] = i
    reached, targets, sources = influence(graph), graph.targets, graph.indices.long()
    target = group_of[targets]
    flow = edge_shares(graph) * reached[targets]
    whole = torch.zeros(len(groups), dtype=torch.float64).index_add_(0, target[target >= 0], flow[target >= 0])
    parts = []
    for counted in (target == group_of[sources], graph.nodes.is_unit[sources]):
        there = counted & (target >= 0)
        parts.append(torch.zeros_like(whole).index_add_(0, target[there], flow[there]))
    inside, units = ((part / whole.clamp_min(TINY)).tolist() for part in parts)
    return inside, units


def _shown(word: object) -> str:
    text = str(word)
    return printable(text.removeprefix("##").strip("Ġ▁ ") or text, LONGEST_WORD)
