"""The smallest set of groups that makes an answer, found by measuring: no score of a graph decides.

Of two prompts that are answered differently a run of the first is made in which some units have the activations of the
second, and some heads look where they look in the second. What that does is measured, everything else live:

    necessity    the circuit's units have the other prompt's activations, its heads the other's patterns; by how much is
                 the answer's probability less, of the two answers alone, in points
    sufficiency  *all* units and what no unit explains have the other prompt's, but for the circuit's, which stay live,
                 as all attention does; what share of the answer's probability is left

Groups that do little but write the answer (`only_writes`) are no part of a circuit: turning them off shows nothing, as
they are the answer. In the runs of sufficiency they are live, so that what the circuit hands them can be written; what
they do without any circuit is the floor (`writers_alone`).

The search begins with the `SEARCHED` most influential groups and takes them away one at a time, whichever costs least
of the mean of both figures over the pairs it is searched on. What is found is the fewest groups, no more than asked
for, that do nearly as much as the best of so few (`WORTH`). Groups of one mechanism do little without each other:
adding them one at a time, or ranking them by what each does alone, finds none. Beside it stand circuits of as many
members drawn at random, and of the units with the largest direct effect on the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Group
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.kinds import ATTENTION, FEATURE
from silverstain.verification.contrast.patching import BASE, Patch, Patching

WORTH = 0.01
"""So much of the mean of necessity and sufficiency is given for a smaller circuit, at most."""
MOST, SEARCHED = 10, 12
ATTENDS = 4
"""Numbers in a place of attention."""
Place = tuple[int, ...]
"""(layer, position from the end, feature) of a unit; (layer, head, query, key) of attention, both from the end."""


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class PairOfGroups:
    """Two prompts, and which of their units and patterns are in which group."""

    patching: Patching
    members: tuple[Tensor, ...]
    """Of each group, as indices into all units, and behind these into `patterns`; empty where the pair has none."""
    writers: Int[Tensor, " some"]
    """Members of groups that only write the answer."""
    patterns: Int[Tensor, "pattern 4"]
    """(layer, head, query, key) of all attention that is in a group."""

    @property
    def n_units(self) -> int:
        return self.patching.offsets[-1]

    def patch(self, run: int, members: Int[Tensor, " some"]) -> Patch:
        """A run in which some members are as in the other run."""
        is_unit = members < self.n_units
        return Patch(run=run, units=members[is_unit], pairs=self.patterns[members[~is_unit] - self.n_units])

    def only(self, run: int, members: Int[Tensor, " some"]) -> Patch:
        """A run in which all units but some are as in the other run; attention is live."""
        return Patch(run=run, units=members[members < self.n_units], all_but=True)

    def of(self, chosen: Sequence[int]) -> Int[Tensor, " some"]:
        """The members of some groups."""
        parts = [self.members[i] for i in chosen]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


@brief
@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a circuit does to pairs of prompts; means over them."""

    necessity: float
    """Points of probability lost without it, from 0 to 1."""
    sufficiency: float
    """Share of the probability that is left with it alone."""
    turned: float
    """Share of the prompts whose likeliest word is another one without it."""
    kept: float
    """Share of the prompts whose likeliest word is the same with it alone."""
    units: float
    """Mean number of units and patterns."""
    share: float
    """Mean share of all units that are active in either run."""
    n: int

    @property
    def both(self) -> float:
        return (self.necessity + self.sufficiency) / 2

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@brief
@dataclass(frozen=True, kw_only=True)
class FoundCircuit:
    """A circuit, and what it does beside others of its size."""

    groups: tuple[int, ...]
    """Indices of the groups."""
    labels: tuple[str, ...]
    effect: Effect
    steps: tuple[Effect, ...]
    """After each step of the search, on its pairs; the first is before any group was taken away."""
    random: Effect | None
    direct: Effect | None
    writers_alone: Effect | None
    remark: str = ""
    """Why it shows nothing; empty otherwise."""

    def to_json(self) -> dict[str, Any]:
        named: Mapping[str, Effect | None] = {
            "random": self.random,
            "direct": self.direct,
            "writers_alone": self.writers_alone,
        }
        return {
            "groups": list(self.labels), **self.effect.to_json(), "steps": [step.to_json() for step in self.steps],
            **{name: None if one is None else one.to_json() for name, one in named.items()}, "remark": self.remark,
        }  # fmt: skip


def pair_of_groups(
    patching: Patching, groups: Sequence[Sequence[Place]], *, only_write: Sequence[bool] | None = None
) -> PairOfGroups:
    """The members of each group that a pair of prompts has; places count positions from the end (0 is the last)."""
    last = patching.contrast.pair.n_positions - 1
    index = _index(patching)
    named = {place for group in groups for place in group if len(place) == ATTENDS and place[2] <= place[3] <= last}
    index |= {place: number for number, place in enumerate(sorted(named), start=patching.offsets[-1])}
    found = [torch.tensor(sorted({index[p] for p in group if p in index}), dtype=torch.long) for group in groups]
    writes = only_write or [False] * len(groups)
    writers = [members for members, only in zip(found, writes, strict=True) if only]
    patterns = [(layer, head, last - query, last - key) for layer, head, query, key in sorted(named)]
    return PairOfGroups(
        patching=patching, members=tuple(found),
        writers=torch.cat(writers) if writers else torch.zeros(0, dtype=torch.long),
        patterns=torch.tensor(patterns, dtype=torch.long).reshape(-1, ATTENDS),
    )  # fmt: skip


def places_of(graph: GraphArrays, groups: Sequence[Group]) -> list[list[Place]]:
    """Where the features and the attention of each group are, positions counted from the end."""
    nodes = graph.nodes
    last = int(nodes.position.max()) if len(nodes) else 0
    keys = torch.full_like(nodes.kind, -1) if nodes.key is None else nodes.key
    columns = [column.tolist() for column in (nodes.layer, nodes.position, nodes.feature, nodes.kind, keys)]
    layer, position, feature, kind, key = columns

    def place(node: int) -> Place:
        if kind[node] == ATTENTION:
            return layer[node], feature[node], last - position[node], last - key[node]
        return layer[node], last - position[node], feature[node]

    return [[place(m) for m in g.members if kind[m] in (FEATURE, ATTENTION)] for g in groups]


def find_circuit(
    pairs: Sequence[PairOfGroups],
    labels: Sequence[str],
    *,
    allowed: Sequence[bool] | None = None,
    most: int = MOST,
    seed: int = 0,
    tested: Sequence[PairOfGroups] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FoundCircuit:
    """The best circuit of at most `most` groups on `pairs`, its figures on `tested`, by default on the same pairs.

    `labels` are of the pairs' groups, the most influential first, as `find_roles` has them; `allowed` says which may be
    in it: not those that only write the answer. UsageError where there is no group.
    """
    candidates = [
        i for i in range(len(labels)) if (allowed is None or allowed[i]) and any(len(p.members[i]) for p in pairs)
    ]
    if not pairs or not candidates:
        raise UsageError(
            "there is no group whose units could make the answer; group the graph first: silverstain group"
        )
    chosen = candidates[:SEARCHED]
    tried = [(chosen, effect_of(pairs, [chosen])[0])]
    while len(chosen) > 1:
        without = effect_of(pairs, [[i for i in chosen if i != one] for one in chosen])
        idle = max(range(len(chosen)), key=lambda i: (without[i].both, i))
        chosen = [one for i, one in enumerate(chosen) if i != idle]
        tried.append((chosen, without[idle]))
        if on_progress is not None:
            on_progress(len(tried), SEARCHED)
    chosen, steps = _smallest(tried, most), tuple(effect for _, effect in tried)
    tested = pairs if tested is None else tested
    effect, nothing = effect_of(tested, [chosen, []])
    sizes = [len(pair.of(chosen)) for pair in tested]
    random = units_effect(
        tested, [_random(pair, n, seed + i) for i, (pair, n) in enumerate(zip(tested, sizes, strict=True))]
    )
    direct = units_effect(tested, [_direct(pair, n) for pair, n in zip(tested, sizes, strict=True)])
    return FoundCircuit(
        groups=tuple(chosen), labels=tuple(labels[i] for i in chosen), effect=effect, steps=steps,
        random=random, direct=direct, writers_alone=nothing, remark=_remark(chosen, effect, random),
    )  # fmt: skip


def _smallest(tried: Sequence[tuple[Sequence[int], Effect]], most: int) -> Sequence[int]:
    """The fewest groups that do nearly as much as the best of those that are few enough."""
    few = [(groups, effect.both) for groups, effect in tried if len(groups) <= most]
    best = max(both for _, both in few)
    return min((groups for groups, both in few if both >= best - WORTH), key=len)


def _remark(chosen: Sequence[int], effect: Effect, random: Effect) -> str:
    if not chosen:
        return "no group makes a difference to the answer: there is nothing to read"
    if effect.both < random.both + WORTH:
        return "units drawn at random do as much: there is nothing to read"
    return ""


def effect_of(pairs: Sequence[PairOfGroups], circuits: Sequence[Sequence[int]]) -> list[Effect]:
    """What each circuit does, on average over the pairs."""
    found = [_measured(pair, [pair.of(circuit) for circuit in circuits]) for pair in pairs]
    return [_mean([rows[i] for rows in found]) for i in range(len(circuits))]


def units_effect(pairs: Sequence[PairOfGroups], units: Sequence[Tensor]) -> Effect:
    """What a set of units in each pair does."""
    return _mean([_measured(pair, [some])[0] for pair, some in zip(pairs, units, strict=True)])


def _measured(pair: PairOfGroups, circuits: Sequence[Tensor]) -> list[dict[str, float]]:
    nothing = torch.zeros(0, dtype=torch.long)
    patches = [Patch(run=BASE, units=nothing)]
    patches += [pair.patch(BASE, members) for members in circuits]
    patches += [pair.only(BASE, torch.cat([members, pair.writers])) for members in circuits]
    found = pair.patching.run(patches)
    own = torch.sigmoid(-found.value.double())  # of the two answers, the base's own
    first, clean, n = found.first, float(own[0]), len(circuits)
    return [
        {
            "necessity": clean - float(own[1 + i]),
            "sufficiency": min(float(own[1 + n + i]) / max(clean, 1e-9), 1.0),
            "turned": float(first[1 + i] != first[0]),
            "kept": float(first[1 + n + i] == first[0]),
            "units": float(len(circuits[i])),
            "share": len(circuits[i]) / max(pair.n_units, 1),
        }
        for i in range(n)
    ]


def _mean(rows: Sequence[Mapping[str, float]]) -> Effect:
    n = max(len(rows), 1)
    return Effect(n=len(rows), **{name: sum(row[name] for row in rows) / n for name in rows[0]})


def _index(patching: Patching) -> dict[Place, int]:
    last = patching.contrast.pair.n_positions - 1
    found: dict[Place, int] = {}
    for layer, units in enumerate(patching.contrast.flow.units):
        columns = zip(units.position.tolist(), units.feature.tolist(), strict=True)
        for i, (position, feature) in enumerate(columns):
            found[layer, last - position, feature] = patching.offsets[layer] + i
    return found


def _free(pair: PairOfGroups) -> Int[Tensor, " some"]:
    """What a circuit may have: the members of the groups, but for those that only write."""
    is_free = torch.zeros(pair.n_units + len(pair.patterns), dtype=torch.bool)
    is_free[torch.cat(pair.members)] = True
    is_free[pair.writers] = False
    return is_free.nonzero().flatten()


def _random(pair: PairOfGroups, n: int, seed: int) -> Int[Tensor, " some"]:
    free = _free(pair)
    order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))
    return free[order[:n]]


def _direct(pair: PairOfGroups, n: int) -> Int[Tensor, " some"]:
    """The units whose change writes most right to the answer."""
    free = _free(pair)
    free = free[free < pair.n_units]
    return free[direct_effects(pair.patching)[free].abs().argsort(descending=True, stable=True)[:n]]


def direct_effects(patching: Patching) -> Float[Tensor, " unit"]:
    """What each unit's change between the runs writes right to the difference of answers; the last norm is held."""
    contrast = patching.contrast
    root = contrast.roots[0]
    vector, found = contrast.targets.vectors[0].double(), []
    for layer, units in enumerate(contrast.flow.units):
        rows = contrast.basis.decoder_rows(layer, units.feature).sum(1).double()
        change = (units.values[1] - units.values[0]).double()
        at_answer = units.position == root.position
        found.append(torch.where(at_answer, change * (rows @ vector), 0.0))
    return torch.cat(found)
