"""Figures with their 95 % intervals, where prompts are what is drawn: values of one prompt are not independent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.statistics import Interval, intervals, once

Figures = Callable[[Float[Tensor, "draw prompt"]], dict[str, Tensor]]
"""From how often each prompt is drawn to figures, each [draw]."""


class Estimate(NamedTuple):
    """A figure, and where it would lie in 95 % of samples like this one."""

    value: float
    interval: Interval


def estimates(figures: Figures, n_prompts: int, *, seed: int = 0) -> dict[str, Estimate]:
    """Each figure of all prompts, and its bootstrap interval over them."""
    values, ends = figures(once(n_prompts)), intervals(figures, n_prompts, seed=seed)
    return {
        name: Estimate(float(value[0]), (float(ends[name][0]), float(ends[name][1]))) for name, value in values.items()
    }


def mean_and_median(values: Sequence[float], prompt_of: Sequence[int], n_prompts: int, *, seed: int) -> list[Estimate]:
    """Of values that each belong to a prompt."""
    column = torch.tensor(values, dtype=torch.float64)
    owner = torch.tensor(prompt_of, dtype=torch.long)

    def figures(times: Float[Tensor, "draw prompt"]) -> dict[str, Tensor]:
        weights = times[:, owner]
        return {"mean": weights @ column / weights.sum(1), "median": weighted_median(column, weights)}

    found = estimates(figures, n_prompts, seed=seed)
    return [found["mean"], found["median"]]


def weighted_median(values: Float[Tensor, " value"], weights: Float[Tensor, "draw value"]) -> Float[Tensor, " draw"]:
    """For each draw the middle of the values, each counted as often as it was drawn; NaN where none was.

    As the median of a list is: with an even count the mean of the two in the middle.
    """
    order = values.argsort()
    passed = weights[:, order].cumsum(1)
    total = passed[:, -1:]
    lower, upper = (_first(passed, bar) for bar in (total / 2 - 0.25, total / 2 + 0.25))  # counts are whole numbers
    middle = (values[order][lower] + values[order][upper]) / 2
    return middle.masked_fill(total[:, 0] == 0, float("nan"))


def _first(passed: Float[Tensor, "draw value"], bar: Float[Tensor, "draw 1"]) -> Int[Tensor, " draw"]:
    """Where the sums first reach the bar."""
    return torch.searchsorted(passed, bar).clamp_max(passed.shape[1] - 1)[:, 0]
