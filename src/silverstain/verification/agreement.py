"""How well predictions agree with measurements over many claims."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from silverstain.brief import brief
from silverstain.statistics import finite, line, moments, rank_correlation
from silverstain.verification.claims import Claim

FEWEST = 8
"""A correlation over fewer claims says nothing and is not given."""
PREDICTIONS: Mapping[str, Callable[[Claim], float]] = {
    "norms live": lambda claim: claim.predicted,
    "thresholds": lambda claim: claim.by_thresholds,
    "edges": lambda claim: claim.by_edges,
    "shuffled decoder": lambda claim: claim.shuffled,
}


@brief
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


def agreement(claims: Sequence[Claim]) -> Agreement:
    """Compare what was predicted with what was measured at strength 0."""
    nan = float("nan")
    kept = [claim for claim in claims if np.isfinite(claim.measured) and np.isfinite(claim.predicted)]
    if len(kept) < FEWEST:
        return Agreement(n=len(kept), spearman=nan, signed_spearman=nan, slope=nan, r2=nan, control=nan,
                         control_bias=nan)  # fmt: skip
    measured = np.array([claim.measured for claim in kept])
    predicted = np.array([claim.predicted for claim in kept])
    scores = {name: [of(claim) for claim in kept] for name, of in PREDICTIONS.items()}
    scores |= {name: [claim.baselines.get(name, nan) for claim in kept] for name in kept[0].baselines}
    fitted = line(moments(torch.from_numpy(predicted), torch.from_numpy(measured)))
    size = np.abs(measured).mean()
    middle = np.array([sum(claim.interval) / 2 for claim in kept])
    return Agreement(
        n=len(kept),
        spearman=rank_correlation(np.abs(predicted), np.abs(measured)),
        signed_spearman=rank_correlation(predicted, measured),
        slope=float(fitted.slope),
        r2=float(fitted.r2),
        control=float(np.mean([claim.control for claim in kept]) / size),
        control_bias=float(abs((middle * np.sign(measured)).mean()) / size),
        by={name: rank_correlation(np.abs(some), np.abs(measured)) for name, some in scores.items()},
    )


def divided(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """The claims by kind, and of each kind those that are direct, mostly indirect, and so many layers apart."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        way = "mostly indirect" if claim.is_indirect else "mostly direct"
        for part in ("", f", {way}", f", {claim.distance} layers apart"):
            found.setdefault(claim.kind + part, []).append(claim)
    return dict(sorted(found.items()))
