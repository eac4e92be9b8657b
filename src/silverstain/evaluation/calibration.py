"""Calibration over many prompts: how changes are passed on by distance, and predicted beside measured effects.

Intervals are over prompts, since values of one prompt are not independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from silverstain.statistics import Estimate, estimates, line, mean_and_median, moments
from silverstain.verification.doses import Response
from silverstain.verification.perturbations import WAYS, Passing


@dataclass(frozen=True, kw_only=True)
class PassedOn:
    """How changes of one way were passed on over one distance."""

    way: str
    distance: int
    """How many replaced MLPs the change went through."""
    n: int
    cosine: Estimate
    median_cosine: Estimate
    error: Estimate
    """|predicted − measured|² / |measured|², mean."""
    median_error: Estimate


@dataclass(frozen=True, kw_only=True)
class DoseResponse:
    """Measured over predicted effects of one strength."""

    kind: str
    strength: float
    n: int
    slope: Estimate
    """See `statistics.Line`; of perfect predictions both are 1."""
    r2: Estimate


def passed_on_by_distance(found: Sequence[Sequence[Passing]], *, seed: int = 0) -> tuple[PassedOn, ...]:
    """From the changes of each prompt."""
    flat = [(prompt, one) for prompt, some in enumerate(found) for one in some]
    out: list[PassedOn] = []
    for way in WAYS:
        for distance in sorted({one.distance for _, one in flat if one.way == way}):
            owners, some = zip(
                *((p, one) for p, one in flat if (one.way, one.distance) == (way, distance)), strict=True
            )
            cosine, median_cosine = mean_and_median([one.cosine for one in some], owners, len(found), seed=seed)
            error, median_error = mean_and_median([one.error for one in some], owners, len(found), seed=seed)
            out.append(
                PassedOn(
                    way=way, distance=distance, n=len(some), cosine=cosine, median_cosine=median_cosine, error=error,
                    median_error=median_error,
                )
            )  # fmt: skip
    return tuple(out)


def calibrated(found: Sequence[Sequence[Response]], *, seed: int = 0) -> tuple[DoseResponse, ...]:
    """From the responses of each prompt: by kind of claim, and by strength as they were asked."""
    keys = dict.fromkeys((one.kind, one.strength) for some in found for one in some)
    out: list[DoseResponse] = []
    for kind, strength in sorted(keys, key=lambda key: key[0]):  # on answers first
        pairs = [
            [(one.predicted, one.measured) for one in some if (one.kind, one.strength) == (kind, strength)]
            for some in found
        ]
        columns = [torch.tensor(some, dtype=torch.float64).reshape(-1, 2).T for some in pairs]
        sums = torch.stack([moments(predicted, measured) for predicted, measured in columns])
        both = estimates(lambda times, sums=sums: line(times @ sums)._asdict(), len(found), seed=seed)
        out.append(
            DoseResponse(
                kind=kind, strength=strength, n=sum(map(len, pairs)), slope=both["slope"], r2=both["r2"]
            )
        )  # fmt: skip
    return tuple(out)
