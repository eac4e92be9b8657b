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
FIRST_KS = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 280, 400, 500)
"""Where the smallest number that turns the answer is looked for first."""
ALL_BELOW = 50
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
    """0 where the run as it is gives the other answer, None where none of those tried does. With one unit less the
    answer does not turn; above `ALL_BELOW` a smaller number may that was not tried."""
    is_first: bool
    """Whether the other run's answer is then the likeliest token of all."""

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, "first_choice": self.is_first}


def smallest(patching: Patching, order: Int[Tensor, " some"], *, run: int = BASE) -> Turned:
    """The smallest K with which the other run's answer is above this one's: first on a grid, then between its points,
    and at last every smaller one up to `ALL_BELOW`, as a further unit may also turn the answer back."""
    wanted = patching.contrast.roots[0].facts["ids"][0 if run == BASE else 1]
    sign = 1 if run == BASE else -1

    def turned(ks: Sequence[int]) -> list[tuple[int, bool, bool]]:
        found = patching.run([Patch(run=run, units=order[:k]) for k in ks])
        values, first = (sign * found.value).tolist(), found.first.tolist()
        return [(k, value > 0, token == wanted) for k, value, token in zip(ks, values, first, strict=True)]

    n = len(order)
    tried = turned([0, *(k for k in FIRST_KS if k < n), *([n] if n else [])])
    while True:
        good = [row for row in tried if row[1]]
        best = min(good) if good else (n + 1, False, False)
        below = max((k for k, is_turned, _ in tried if k < best[0] and not is_turned), default=0)
        between = list(range(below + 1, best[0]))
        done = {k for k, _, _ in tried}
        smaller = [k for k in range(1, min(best[0], ALL_BELOW + 1)) if k not in done]
        missing = between[:: max(1, len(between) // 8)] or smaller
        if not missing:
            return Turned(k=best[0] if good else None, is_first=best[2])
        tried += turned(missing)
