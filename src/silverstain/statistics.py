"""Figures and how sure they are: intervals, lines through points, rank correlations, divergences.

Most intervals are bootstrapped. What is independent (sequences, prompts, combinations) is drawn with replacement, as
often as there are such units; every figure is computed anew from each draw, and the interval holds the middle 95 % of
them. Values within a unit, such as the tokens of one sequence, are drawn together. All draws come from a seed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

DRAWS = 1000
AT_ONCE = 100
LEVEL = 0.95
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
NOTHING_VARIES = 1e-12
"""A variance below this share of the mean square is rounding."""
NAN = float("nan")

Interval = tuple[float, float]
Figures = Callable[[Float[Tensor, "draw unit"]], dict[str, Tensor]]
"""From how often each unit is drawn to figures by name, each [draw, …]."""


class Estimate(NamedTuple):
    """A figure, and where it would lie in 95 % of samples like this one."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share between 0 and 1 with its 95 % interval, measured on `n` cases."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


# the bootstrap


def each_counted_once(n: int) -> Float[Tensor, "draw unit"]:
    """Each of n units counted once: the figure itself."""
    return torch.ones(1, n, dtype=torch.float64)


def drawn(n: int, n_draws: int, generator: torch.Generator) -> Float[Tensor, "draw unit"]:
    """How often each of n units is drawn when n are drawn with replacement."""
    index = torch.randint(n, (n_draws, n), generator=generator)
    times = torch.zeros(n_draws, n, dtype=torch.float64)
    return times.scatter_add_(1, index, torch.ones(1, dtype=torch.float64).expand(n_draws, n))


def intervals(figures: Figures, n: int, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Tensor]:
    """The lower and upper end of each figure of n units, [2, …]; NaN where no draw has the figure."""
    generator = torch.Generator().manual_seed(seed)
    parts = [figures(drawn(n, AT_ONCE, generator)) for _ in range(-(-draws // AT_ONCE))]
    ends = torch.tensor(ENDS, dtype=torch.float64)
    return {name: torch.cat([part[name] for part in parts]).nanquantile(ends, dim=0) for name in parts[0]}


def estimates(figures: Figures, n: int, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Estimate]:
    """Each figure of all n units, and its interval."""
    values, ends = figures(each_counted_once(n)), intervals(figures, n, seed=seed, draws=draws)
    return {
        name: Estimate(float(value[0]), (float(ends[name][0]), float(ends[name][1]))) for name, value in values.items()
    }


def interval_of_mean(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The interval of the mean of values that are independent, one a graph, say."""
    column = torch.tensor(values, dtype=torch.float64)
    found = intervals(lambda times: {"mean": times @ column / times.sum(1)}, len(values), seed=seed)["mean"]
    return float(found[0]), float(found[1])


def mean_and_median(values: Sequence[float], unit_of: Sequence[int], n_units: int, *, seed: int) -> list[Estimate]:
    """Mean and median of values that each belong to a unit."""
    column = torch.tensor(values, dtype=torch.float64)
    owner = torch.tensor(unit_of, dtype=torch.long)

    def figures(times: Float[Tensor, "draw unit"]) -> dict[str, Tensor]:
        weights = times[:, owner]
        return {"mean": weights @ column / weights.sum(1), "median": weighted_median(column, weights)}

    return list(estimates(figures, n_units, seed=seed).values())


def weighted_median(values: Float[Tensor, " value"], weights: Float[Tensor, "draw value"]) -> Float[Tensor, " draw"]:
    """For each draw the middle of the values, each counted as often as it was drawn; NaN where none was.

    As the median of a list is: with an even count the mean of the two in the middle.
    """
    order = values.argsort()
    passed = weights[:, order].cumsum(1)
    total = passed[:, -1:]
    lower, upper = (_first(passed, bar) for bar in (total / 2 - 0.25, total / 2 + 0.25))  # counts are whole numbers
    middle = (values[order][lower] + values[order][upper]) / 2
    return middle.masked_fill(total[:, 0] == 0, NAN)


def _first(passed: Float[Tensor, "draw value"], bar: Float[Tensor, "draw 1"]) -> Int[Tensor, " draw"]:
    """Where the sums first reach the bar."""
    return torch.searchsorted(passed, bar).clamp_max(passed.shape[1] - 1)[:, 0]


# intervals from a distribution


def share_of(n_hits: int, n: int) -> Share:
    """`n_hits` of `n` cases, with Wilson's interval."""
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(n_hits, n).proportion_ci(LEVEL, method="wilson")
    return Share(value=n_hits / n, low=float(interval.low), high=float(interval.high), n=n)


def interval_of_next(values: Float[Tensor, " n"]) -> Interval:
    """Where one more draw from the normal distribution that the values come from lies: Student's interval."""
    from scipy.stats import t

    n, mean = len(values), float(values.mean())
    width = float(t.ppf(ENDS[1], n - 1)) * float(values.std()) * (1 + 1 / n) ** 0.5
    return mean - width, mean + width


# predictions beside measurements


class Line(NamedTuple):
    """How measured values go with predicted ones."""

    slope: Float[Tensor, "*draw"]
    """Of measured on predicted, by least squares; NaN where the predictions do not vary."""
    r2: Float[Tensor, "*draw"]
    """1 − Σ(measured − predicted)² / Σ(measured − mean)²: the share of the measured variance that the predictions
    explain as they are, nothing fitted; below 0 they are worse than the mean. NaN where the measurements do not vary.
    """


def moments(predicted: Float[Tensor, " n"], measured: Float[Tensor, " n"]) -> Float[Tensor, " 6"]:
    """n, Σp, Σm, Σp², Σm², Σpm: what a `Line` follows from, and what adds up over units."""
    p, m = predicted.double(), measured.double()
    return torch.stack([p.new_tensor(float(len(p))), p.sum(), m.sum(), p @ p, m @ m, p @ m])


def line(sums: Float[Tensor, "*draw 6"]) -> Line:
    """Slope and R² of the pairs whose `moments` these are."""
    n, p, m, pp, mm, pm = sums.unbind(-1)
    across, along, spread = pm - p * m / n, pp - p * p / n, mm - m * m / n
    return Line(
        slope=(across / along).masked_fill(along <= NOTHING_VARIES * pp, NAN),
        r2=(1 - (pp - 2 * pm + mm) / spread).masked_fill(spread <= NOTHING_VARIES * mm, NAN),
    )


def rank_correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's; NaN where one of the two does not vary or is not finite."""
    from scipy.stats import spearmanr

    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return float(spearmanr(x, y)[0])  # type: ignore[arg-type]


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None


# distributions over tokens


def divergence(
    before: Float[Tensor, "*batch d_vocab"], after: Float[Tensor, "*batch d_vocab"], *, dtype: torch.dtype | None = None
) -> Float[Tensor, "*batch"]:
    """KL(before ‖ after) in nats of the distributions that two tensors of logits give; differentiable.

    Computed in `dtype` where one is given, and then never below 0: a small divergence is a difference of logarithms,
    and wants float64. In the logits' own type rounding falls to both sides of 0, so that it cancels in a mean.
    """
    p, q = (logits.log_softmax(-1, dtype=dtype) for logits in (before, after))
    found = (p.exp() * (p - q)).sum(-1)
    return found if dtype is None else found.clamp_min(0)
