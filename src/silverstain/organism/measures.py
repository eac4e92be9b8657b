"""Shares with 95 % intervals."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A share between 0 and 1 with its 95 % interval, measured on `n` cases."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def share_of(n_hits: int, n: int) -> Measure:
    """`n_hits` of `n` with Wilson's interval."""
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(n_hits, n).proportion_ci(0.95, method="wilson")
    return Measure(value=n_hits / n, low=float(interval.low), high=float(interval.high), n=n)
