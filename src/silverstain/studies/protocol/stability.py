"""How much of a swap depends on which development prompts there were.

Combinations (towns, names, pairs of digits) of the development prompts are drawn again, with replacement and each value
by itself, and the means are taken of those that were drawn. The units that a swap then moves are compared with those
that it moves by all of them (Jaccard), beside as many at random, k / (2N − k) of the N that are ever active there, and
beside the same under permuted labels: there is no variable, and what is alike all the same is so for other reasons.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean

import torch

from .carriers import Units
from .choosing import Setting
from .means import Means
from .trial import Trial, share_of_hits
from .values import Findings, Measure, Pair

DRAWS = 20
"""Times that the units are compared."""
SWAPS = 5
"""Of these draws, how many are tried on the test prompts."""
PAIRS = 10
STABLE, ABOVE_RANDOM, ABOVE_PERMUTED = 0.8, 3.0, 1.5
"""What is called stable: a Jaccard index so high, and so many times that of random sets and of permuted labels."""

Unit = tuple[str, int, int]
"""(place, layer, unit)."""


def stable(
    trial: Trial, setting: Setting, *, of: str = "", moves: Callable[[Mapping[str, Means]], float] | None = None
) -> Findings:
    """The answers that swaps by means drawn again move, and how alike the units are that they move.

    Args:
        moves: The share of test prompts that a swap by some means moves; that of the answers if not given.
    """

    def answers(means: Mapping[str, Means]) -> float:
        share = share_of_hits(trial.swapped(trial.tested, setting, means=means))
        return 0.0 if share is None else share.value

    name, means = trial.variable.name, {place: trial.means(place) for place in setting.places}
    shares = [(moves or answers)(redrawn(means, draw)) for draw in range(SWAPS)]
    measures = [
        Measure(name=f"{of}{name} swapped, development prompts drawn again", role="reported", value=min(shares),
                about=f"the least of {SWAPS} drawings", n=len(trial.tested))
    ]  # fmt: skip
    if not isinstance(trial.carrier, Units):
        return Findings(measures=tuple(measures))
    permuted, _, relabelled = trial.nonsense(trial.settings.seed)
    own, sign = alike(trial, setting, means, trial.tested[:PAIRS])
    null, _ = alike(trial, setting, {place: permuted[place] for place in setting.places}, relabelled[:PAIRS])
    chance = by_chance(trial, setting, means)
    is_stable = own >= STABLE and own >= ABOVE_RANDOM * chance and own >= ABOVE_PERMUTED * null
    measures += [
        Measure(name=f"{of}units of {name} are the same", role="reported", value=own,
                about="Jaccard index, development prompts drawn again", n=DRAWS),
        Measure(name=f"{of}units of {name} are the same, labels permuted", role="reported", value=null,
                about=f"the same of no variable; of random units {chance:.2f}", n=DRAWS),
    ]  # fmt: skip
    note = (
        f"{of}the units that are moved are {'stable' if is_stable else 'not stable'}: drawn again, development prompts "
        f"move {own:.2f} of the same (Jaccard; {chance:.2f} at random, {null:.2f} with labels permuted), "
        f"{100 * sign:.0f} % of them the same way."
    )
    return Findings(measures=tuple(measures), notes=(note,))


def redrawn(means: Mapping[str, Means], seed: int) -> dict[str, Means]:
    """The means of combinations drawn with replacement, of each value as many as it has; at all places the same."""
    found: dict[str, Means] = {}
    for place, one in means.items():
        rng = random.Random(f"development prompts drawn again {seed}")
        rows = torch.tensor([row for value in rows_by_value(one) for row in drawn_rows(value, rng)])
        found[place] = one.of_rows(rows)
    return found


def jaccard(one: Collection[object], other: Collection[object]) -> float:
    """How much of two sets together they have in common; 0 of two that are empty."""
    either = set(one) | set(other)
    return len(set(one) & set(other)) / len(either) if either else 0.0


def rows_by_value(means: Means) -> list[list[list[int]]]:
    """For each value, for each of its combinations, the prompts."""
    found: dict[int, dict[str, list[int]]] = {}
    for row, (label, name) in enumerate(zip(means.labels.tolist(), means.combinations, strict=True)):
        found.setdefault(label, {}).setdefault(name, []).append(row)
    return [list(found[label].values()) for label in sorted(found)]


def drawn_rows(combinations: Sequence[Sequence[int]], rng: random.Random) -> list[int]:
    return [row for _ in combinations for row in rng.choice(combinations)]


def alike(trial: Trial, setting: Setting, means: Mapping[str, Means], pairs: Sequence[Pair]) -> tuple[float, float]:
    """The mean Jaccard index over draws and pairs, and the share of the units in common that are moved the same way."""
    whole = [moved_units(trial, setting, means, pair) for pair in pairs]
    found, signs = [], []
    for draw in range(DRAWS):
        again = redrawn(means, draw)
        for pair, all_of_it in zip(pairs, whole, strict=True):
            some = moved_units(trial, setting, again, pair)
            if some or all_of_it:
                found.append(jaccard(some, all_of_it))
                signs += [some[unit] == all_of_it[unit] for unit in some.keys() & all_of_it.keys()]
    return (fmean(found), fmean(signs)) if found and signs else (0.0, 0.0)


def moved_units(trial: Trial, setting: Setting, means: Mapping[str, Means], pair: Pair) -> dict[Unit, bool]:
    """The units that a swap of a pair moves, and whether up."""
    assert isinstance(trial.carrier, Units)
    return {
        (place, layer, unit): bool(amounts[layer][unit] > 0)
        for place, amounts in trial.amounts(pair, setting, means).items()
        for layer, units in trial.carrier.moved(amounts).items()
        for unit in units.tolist()
    }


def by_chance(trial: Trial, setting: Setting, means: Mapping[str, Means]) -> float:
    """The Jaccard index of two random sets of the mean size, of the units that are ever active there."""
    first, last = setting.window
    n = sum(
        int((one.carrier.components(layer, one.inputs[layer]) != 0).any(0).sum())
        for one in means.values() for layer in range(first, last + 1)
    )  # fmt: skip
    k = fmean(len(moved_units(trial, setting, means, pair)) for pair in trial.tested[:PAIRS])
    return k / (2 * n - k) if n else 0.0
