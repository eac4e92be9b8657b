"""95 % intervals by the bootstrap over sequences, from a seed.

Tokens of one sequence are not independent, so sequences are drawn, with replacement, as many as there are; every
figure is computed anew from each draw, and the interval holds the middle 95 % of them.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 1000
AT_ONCE = 100
LEVEL = 0.95
Interval = tuple[float, float]


def once(n: int) -> Float[Tensor, "draw sequence"]:
    """Each of n sequences counted once: the figure itself."""
    return torch.ones(1, n, dtype=torch.float64)


def drawn(n: int, n_draws: int, generator: torch.Generator) -> Float[Tensor, "draw sequence"]:
    """How often each of n sequences is drawn when n are drawn with replacement."""
    index = torch.randint(n, (n_draws, n), generator=generator)
    times = torch.zeros(n_draws, n, dtype=torch.float64)
    return times.scatter_add_(1, index, torch.ones(1, dtype=torch.float64).expand(n_draws, n))


def intervals(
    figures: Callable[[Float[Tensor, "draw sequence"]], dict[str, Tensor]], n: int, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Tensor]:
    """The lower and upper end of each figure, [2, …]; NaN where no draw has the figure."""
    generator = torch.Generator().manual_seed(seed)
    parts = [figures(drawn(n, AT_ONCE, generator)) for _ in range(-(-draws // AT_ONCE))]
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    return {name: torch.cat([part[name] for part in parts]).nanquantile(ends, dim=0) for name in parts[0]}


def interval_of_mean(values: list[float], *, seed: int = 0) -> Interval:
    """The interval of the mean of single values, one a graph, say."""
    column = torch.tensor(values, dtype=torch.float64)
    found = intervals(lambda times: {"mean": times @ column / times.sum(1)}, len(values), seed=seed)["mean"]
    return float(found[0]), float(found[1])
