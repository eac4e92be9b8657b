"""The real model asked again: with another shortcut, with other evidence, and with each one's units silenced.

None of this goes into the verdict.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from silverstain.brief import brief
from silverstain.interventions import Edit
from silverstain.loading import ReplacementModel
from silverstain.studies.audit.mechanism import Carrier, Verdict

Outcome = Literal["confirmed", "contradicted", "partly", "untested"]


@brief
@dataclass(frozen=True, kw_only=True)
class Checks:
    """What the model did when it was asked again."""

    shortcut_asked: int = 0
    """How many prompts had another text in place of the shortcut."""
    shortcut_changed: int = 0
    """After how many of them the first choice was another."""
    evidence_asked: int = 0
    """How many prompts had another text in place of the evidence, beside another shortcut."""
    evidence_changed: int = 0
    """After how many of them the first choice was another than with that shortcut alone."""
    probability: float = 0.0
    """Of the answer, as asked."""
    without_shortcut_units: float | None = None
    """The same with the units silenced that carry the shortcut; None where there is none."""
    without_evidence_units: float | None = None

    def follows_shortcut(self) -> bool | None:
        """Whether the first choice changed with the shortcut in at least half of the cases."""
        return None if not self.shortcut_asked else 2 * self.shortcut_changed >= self.shortcut_asked

    def follows_evidence(self) -> bool | None:
        return None if not self.evidence_asked else 2 * self.evidence_changed >= self.evidence_asked

    def outcome(self, verdict: Verdict) -> Outcome:
        """What the behaviour says of a verdict: a cheated answer changes with the shortcut, another does not. One that
        changes with neither the shortcut nor the evidence rests on something else, which is neither for nor against."""
        follows = self.follows_shortcut()
        if verdict == "undecided" or follows is None:
            return "untested"
        if not follows and self.follows_evidence() is False:
            return "partly"
        return "confirmed" if follows == (verdict == "cheated") else "contradicted"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def probability_without(loaded: ReplacementModel, ids: Sequence[int], answer: int, units: Sequence[Carrier]) -> float:
    """The answer's probability with units silenced where they carry the span, everything else computed anew."""
    edits = [Edit(op="ablate", features=((unit.layer, unit.feature),), positions=(unit.position,)) for unit in units]
    with loaded.intervene(edits) as model:
        return float(model.logits(torch.tensor([list(ids)]))[0, -1].softmax(-1)[answer])
