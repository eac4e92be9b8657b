"""How many units turn the answer: K of them patched, by each order, in both directions."""

from collections.abc import Callable, Mapping, Sequence
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
            share = (value - start) / (end - start)
            points.append((float(torch.tensor(float(k)).log()), min(max(share, 0.0), 1.0)))
        total = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
        return total / points[-1][0]


def curves(
    patching: Patching,
    orders: Mapping[str, Sequence[Int[Tensor, " some"]]],
    *,
    run: int = BASE,
    ks: Sequence[int] = KS,
    on_progress: Callable[[int], None] | None = None,
) -> list[Curve]:
    """The target with the first K units of each order patched; several orders of one method are averaged."""
    patches, names = [], []
    for method, listed in orders.items():
        for order in listed:
            for k in ks:
                patches.append(Patch(run=run, units=order[:k]))
                names.append((method, k, len(listed)))
    measured = patching.run(patches, on_progress).value.tolist()
    values: dict[str, dict[int, float]] = {}
    for (method, k, n), value in zip(names, measured, strict=True):
        at = values.setdefault(method, {})
        at[k] = at.get(k, 0.0) + value / n
    return [Curve(method=method, run=run, values=found) for method, found in values.items()]


@dataclass(frozen=True, kw_only=True)
class Turned:
    """The fewest units that turn the answer, in one direction."""

    k: int | None
    """None where none of those tried does."""
    is_first: bool
    """Whether the other run's answer is then the likeliest token of all."""

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, "first_choice": self.is_first}


def smallest(patching: Patching, order: Int[Tensor, " some"], *, run: int = BASE, known: Curve | None = None) -> Turned:
    """The smallest K with which the other run's answer is above this one's: between the first of KS that turns it and
    the one before, narrowed down. A `known` curve of the same order spares the first runs."""
    wanted = patching.contrast.roots[0].facts["ids"][0 if run == BASE else 1]
    sign = 1 if run == BASE else -1

    def turning(ks: Sequence[int]) -> list[tuple[int, bool]]:
        values = patching.run([Patch(run=run, units=order[:k]) for k in ks]).value if ks else torch.zeros(0)
        return [(k, sign * value > 0) for k, value in zip(ks, values.tolist(), strict=True)]

    most = len(order)
    if known is None:
        tried = turning([k for k in KS if k < most] + [most] if most else [])
    else:
        tried = [(min(k, most), sign * value > 0) for k, value in known.values.items()]
    while True:
        good = [k for k, is_turned in tried if is_turned]
        if not good:
            return Turned(k=None, is_first=False)
        best = min(good)
        below = max((k for k, is_turned in tried if k < best and not is_turned), default=0)
        between = range(below + 1, best)
        if not between:
            first = patching.run([Patch(run=run, units=order[:best])]).first
            return Turned(k=best, is_first=int(first[0]) == wanted)
        tried += turning(between[:: -(-len(between) // BETWEEN)])


def first_turned(curve: Curve, *, run: int = BASE) -> int | None:
    """The first K of a curve with which the answer is turned; None where none does."""
    sign = 1 if run == BASE else -1
    return min((k for k, value in curve.values.items() if sign * value > 0), default=None)
