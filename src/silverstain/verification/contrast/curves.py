"""How many units turn the answer: K of them patched, by each order, in both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from silverstain.verification.contrast.patching import BASE, Patch, Patching

KS = (5, 10, 20, 50, 100, 200, 500)
BETWEEN = 6
"""Numbers of units that are tried between two others at a time."""
ALL_BELOW = 20
"""Up to this number, every K below the one that was found is tried too."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The target with K units patched, by one order."""

    method: str
    run: int
    """The run that is patched: 0 the base, 1 the contrast."""
    values: Mapping[int, float]

    def area(self, start: float, end: float) -> float:
        """The mean share of the way from one run to the other, over K on a logarithmic scale from 1 (nothing); at
        most 1 counts (what overshoots gains nothing)."""
        points = [(0.0, 0.0)]
        for k, value in sorted(self.values.items()):
            share = (value - start) / (end - start) if end != start else 0.0
            points.append((float(torch.tensor(float(k)).log()), min(max(share, 0.0), 1.0)))
        total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
        return total / points[-1][0] if points[-1][0] else points[-1][1]


def curves(
    patching: Patching,
    orders: Mapping[str, Sequence[Int[Tensor, " some"]]],
    *,
    run: int = BASE,
    ks: Sequence[int] = KS,
    all_but: bool = False,
) -> list[Curve]:
    """The target with the first K units of each order patched, or everything but them; several orders of one method
    are averaged."""
    patches, names = [], []
    for method, listed in orders.items():
        for order in listed:
            for k in ks:
                patches.append(Patch(run=run, units=order[:k], all_but=all_but))
                names.append((method, k, len(listed)))
    measured = patching.run(patches).value.tolist()
    values: dict[str, dict[int, float]] = {}
    for (method, k, n), value in zip(names, measured, strict=True):
        at = values.setdefault(method, {})
        at[k] = at.get(k, 0.0) + value / n
    return [Curve(method=method, run=run, values=found) for method, found in values.items()]


@dataclass(frozen=True, kw_only=True)
class Turned:
    """The fewest units that turn the answer, in one direction."""

    k: int | None
    """0 where the run as it is gives the other answer, None where none of those tried does. With one unit less the
    answer does not turn; above `ALL_BELOW` a smaller number may that was not tried."""
    is_first: bool
    """Whether the other run's answer is then the likeliest token of all."""

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, "first_choice": self.is_first}


def smallest(patching: Patching, order: Int[Tensor, " some"], *, run: int = BASE, known: Curve | None = None) -> Turned:
    """The smallest K with which the other run's answer is above this one's: between the first of KS that turns it and
    the one before, narrowed down, and at last every smaller one up to `ALL_BELOW`, as a further unit may also turn the
    answer back. A `known` curve of the same order spares the first runs."""
    wanted = patching.contrast.roots[0].facts["ids"][0 if run == BASE else 1]
    sign = 1 if run == BASE else -1

    def turning(ks: Sequence[int]) -> dict[int, bool]:
        values = patching.run([Patch(run=run, units=order[:k]) for k in ks]).value
        return {k: sign * value > 0 for k, value in zip(ks, values.tolist(), strict=True)}

    most = len(order)
    if known is None:
        tried = turning([0, *(k for k in KS if k < most), *([most] if most else [])])
    else:
        tried = turning([0]) | {min(k, most): sign * value > 0 for k, value in known.values.items()}
    while True:
        good = [k for k, is_turned in tried.items() if is_turned]
        best = min(good, default=most + 1)
        below = max((k for k, is_turned in tried.items() if k < best and not is_turned), default=0)
        between = range(below + 1, min(best, most + 1))
        smaller = [k for k in range(1, min(best, ALL_BELOW + 1, most + 1)) if k not in tried]
        missing = list(between[:: -(-len(between) // BETWEEN)]) if good and between else smaller
        if not missing:
            break
        tried |= turning(missing)
    if not good:
        return Turned(k=None, is_first=False)
    first = patching.run([Patch(run=run, units=order[:best])]).first
    return Turned(k=best, is_first=int(first[0]) == wanted)


def first_turned(curve: Curve, *, run: int = BASE) -> int | None:
    """The first K of a curve with which the answer is turned; None where none does."""
    sign = 1 if run == BASE else -1
    return min((k for k, value in curve.values.items() if sign * value > 0), default=None)
