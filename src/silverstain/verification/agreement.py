"""How well predictions agree with measurements over many claims."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from silverstain.verification.claims import Claim

FEWEST = 8
"""A correlation over fewer claims says nothing and is not given."""
PREDICTIONS: Mapping[str, Callable[[Claim], float]] = {
    "norms live": lambda claim: claim.predicted,
    "thresholds": lambda claim: claim.by_thresholds,
    "edges": lambda claim: claim.by_edges,
    "shuffled decoder": lambda claim: claim.shuffled,
}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Predicted against measured effects of one set of claims; NaN where there are too few."""

    n: int
    spearman: float
    """Rank correlation of |predicted| and |measured|."""
    signed_spearman: float
    slope: float
    """Of measured on predicted, by least squares."""
    r2: float
    """1 − Σ(measured − predicted)² / Σ(measured − mean)²: of the predictions as they are, nothing fitted."""
    control: float
    """Mean |effect| of random moves / mean |measured|."""
    control_bias: float
    """|mean effect of random moves along the measured sign| / mean |measured|; NaN where it was not kept."""
    by: Mapping[str, float] = field(default_factory=dict)
    """Spearman of each prediction and baseline with |measured|."""

    @property
    def best_baseline(self) -> tuple[str, float]:
        """The baseline that agrees best with the measurements, and its rank correlation."""
        baselines = {name: value for name, value in self.by.items() if name not in PREDICTIONS}
        return max(baselines.items(), key=lambda item: item[1])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; what could not be computed is null."""
        numbers = {name: finite(value) for name, value in vars(self).items() if name != "by"}
        return {**numbers, "by": {name: finite(value) for name, value in self.by.items()}}


def finite(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if np.isfinite(value) else None


def agreement(claims: Sequence[Claim]) -> Agreement:
    """Compare what was predicted with what was measured at strength 0."""
    nan = float("nan")
    kept = [claim for claim in claims if np.isfinite(claim.measured) and np.isfinite(claim.predicted)]
    if len(kept) < FEWEST:
        return Agreement(n=len(kept), spearman=nan, signed_spearman=nan, slope=nan, r2=nan, control=nan,
                         control_bias=nan)  # fmt: skip
    measured = np.array([claim.measured for claim in kept])
    predicted = np.array([claim.predicted for claim in kept])
    by = {name: ranks_agree([of(claim) for claim in kept], measured) for name, of in PREDICTIONS.items()}
    by |= {
        name: ranks_agree([claim.baselines.get(name, nan) for claim in kept], measured) for name in kept[0].baselines
    }
    size = np.abs(measured).mean()
    middle = np.array([sum(claim.interval) / 2 for claim in kept])
    return Agreement(
        n=len(kept),
        spearman=ranks_agree(predicted, measured),
        signed_spearman=ranks_agree(predicted, measured, signed=True),
        slope=slope(predicted, measured),
        r2=explained(predicted, measured),
        control=float(np.mean([claim.control for claim in kept]) / size),
        control_bias=float(abs((middle * np.sign(measured)).mean()) / size),
        by=by,
    )


def ranks_agree(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, *, signed: bool = False) -> float:
    """Spearman's correlation, of sizes unless signed; NaN where one of the two does not vary."""
    from scipy.stats import spearmanr

    x, y = (np.asarray(values, dtype=float) for values in (a, b))
    x, y = (x, y) if signed else (np.abs(x), np.abs(y))
    if np.ptp(x) == 0 or np.ptp(y) == 0 or not np.isfinite(x).all():
        return float("nan")
    return float(spearmanr(x, y)[0])  # type: ignore[arg-type]


def slope(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Of the line through measured over predicted."""
    around = predicted - predicted.mean()
    spread = float((around**2).sum())
    return float((around * measured).sum() / spread) if spread > 0 else float("nan")


def explained(predicted: np.ndarray, measured: np.ndarray) -> float:
    """The share of the measured variance that the predictions explain as they are."""
    spread = float(((measured - measured.mean()) ** 2).sum())
    return 1 - float(((measured - predicted) ** 2).sum()) / spread if spread > 0 else float("nan")


def divided(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims by kind, and of each kind those that are direct, mostly indirect, and so many layers apart."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        way = "mostly indirect" if claim.is_indirect else "mostly direct"
        for part in ("", f", {way}", f", {claim.distance} layers apart"):
            found.setdefault(claim.kind + part, []).append(claim)
    return dict(sorted(found.items()))
