"""Whether a run still goes anywhere: a loss that is no number, or stays far above the best, ends it."""

import math
from dataclasses import dataclass
from typing import Any

from silverstain.training.reconstruction import StepReport

FAR = 10.0
"""How many times the best a figure must be to count as far above it."""
HOPELESS = 4.0
"""And how large at least: an NMSE of 1 is that of the mean output, and small losses rise tenfold without harm."""
PATIENCE = 25
"""Steps in a row after which it is no passing thing."""


@dataclass
class Stability:
    """The best figures of the phase so far, and for how many steps they have been far off."""

    best_nmse: float = math.inf
    best_kl: float = math.inf
    steps_far_off: int = 0

    @property
    def is_calm(self) -> bool:
        """Whether the state is worth keeping: a checkpoint of a run that is going wrong would replace a good one."""
        return self.steps_far_off == 0

    def has_diverged(self, report: StepReport) -> bool:
        """Take note of a step; True if the run is not worth going on with."""
        kl = report.kl or 0.0
        if not all(map(math.isfinite, (report.loss, report.nmse, kl))):
            return True
        is_far = _is_far(report.nmse, self.best_nmse) or _is_far(kl, self.best_kl)
        self.steps_far_off = self.steps_far_off + 1 if is_far else 0
        self.best_nmse = min(self.best_nmse, report.nmse)
        if report.kl is not None:
            self.best_kl = min(self.best_kl, kl)
        return self.steps_far_off >= PATIENCE

    def to_json(self) -> dict[str, Any]:
        # JSON has no infinity
        finite = {"best_nmse": self.best_nmse, "best_kl": self.best_kl}
        return {
            "steps_far_off": self.steps_far_off,
            **{name: value for name, value in finite.items() if math.isfinite(value)},
        }


def _is_far(value: float, best: float) -> bool:
    return math.isfinite(best) and value > max(FAR * best, HOPELESS)
