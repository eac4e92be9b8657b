"""What a graph claims, with what was predicted and what was measured.

Effects are of taking the source away (strength 0), on a feature or group as a share of its activation, on a target in
logits. Other strengths scale the source: −1 turns it round, −2 twice, 2 gives it once more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from silverstain.errors import UsageError
from silverstain.notation import name_of_id
from silverstain.printable import printable

ATTENTION_SHARE = 0.25
"""Attention decides where the effect with attention live differs from that with it frozen by more than this share."""
FACTOR = 2.0
"""A claim is confirmed where measured and predicted effect agree in sign and within this factor."""
LONGEST = 300
"""Characters of a claim in a line."""
VERDICTS = ("confirmed", "refuted", "attention decides", "untested")


@dataclass(frozen=True, kw_only=True)
class Dose:
    """The effect of scaling a source."""

    strength: float
    predicted: float
    measured: float
    """With attention live."""
    frozen: float
    """Measured with attention frozen."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Claim:
    """One source, one target, and the effect of the one on the other; printed, with nodes as commands call them."""

    kind: str
    """node → logit, node → node, group → group or group → logit."""
    source: str
    """Node id, or label of a group."""
    target: str
    distance: int
    """Layers between the source (its lowest member) and the target (its lowest member)."""
    indirect: float
    """Share of the predicted effect that goes through other features: |total − direct| / (|direct| + |total − direct|).
    """
    predicted: float
    """By the local replacement model with live norms: thresholds respected, attention and errors frozen."""
    by_edges: float
    """Summed over the graph's paths: everything frozen, no thresholds."""
    by_thresholds: float
    """By the local replacement model with frozen norms, as the graph has them."""
    measured: float
    """In the real model, attention and norms live."""
    frozen: float
    """In the real model, attention frozen and norms live."""
    interval: tuple[float, float]
    """Where the effect of one more random move of the same size lies, 95 %."""
    control: float
    """Mean |effect| of the random moves."""
    shuffled: float
    """What the same prediction gives with decoder rows exchanged among features."""
    doses: tuple[Dose, ...] = ()
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Scores that the prediction must beat, by name."""
    verdict: str = "untested"

    @property
    def is_indirect(self) -> bool:
        """Whether most of the effect goes through other features."""
        return self.indirect > 0.5

    @property
    def source_name(self) -> str:
        """The source in the notation (L0.F1521@9), a group by its label."""
        return _name(self.kind.partition(" → ")[0], self.source)

    @property
    def target_name(self) -> str:
        """The same of the target; an answer by its name."""
        return _name(self.kind.partition(" → ")[2], self.target)

    def __str__(self) -> str:
        """L0.F1521@9 → austin: predicted -0.27, measured -0.18, untested"""
        unit = "" if self.kind.endswith("logit") else " ×"
        effects = f"predicted {self.predicted:+.2f}{unit}, measured {self.measured:+.2f}{unit}"
        return printable(f"{self.source_name} → {self.target_name}: {effects}, {self.verdict}", LONGEST)

    def __repr__(self) -> str:
        return f"Claim({self})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Claim":
        """Read what `to_json` wrote; UsageError for another form."""
        try:
            doses = tuple(Dose(**dose) for dose in data["doses"])
            low, high = data["interval"]
            return cls(**{**data, "doses": doses, "interval": (low, high)})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a claim ({error}); verify the graph again") from error


def _name(kind: str, called: str) -> str:
    return name_of_id(called) if kind == "node" else called


def verdict(predicted: float, measured: float, frozen: float, interval: tuple[float, float]) -> str:
    """What the measurement says of the prediction, by rules fixed in advance.

    untested: neither lies outside what random moves do, or a number is not finite. attention decides: live and frozen
    attention differ by more than ATTENTION_SHARE of the larger effect, and by more than random moves scatter.
    confirmed: the measured effect lies outside, has the predicted sign, and is within FACTOR. refuted: the rest.
    """
    low, high = interval
    if not all(map(math.isfinite, (predicted, measured, frozen, low, high))):
        return "untested"
    is_seen, is_expected = not low <= measured <= high, not low <= predicted <= high
    if not is_seen and not is_expected:
        return "untested"
    by_attention = abs(measured - frozen)
    if by_attention > ATTENTION_SHARE * max(abs(measured), abs(frozen)) and by_attention > (high - low) / 2:
        return "attention decides"
    agrees = predicted * measured > 0 and 1 / FACTOR <= measured / predicted <= FACTOR
    return "confirmed" if is_seen and agrees else "refuted"


def strongest(claims: Sequence[Claim], n: int) -> list[Claim]:
    """The claims with the largest measured effects, those of groups first."""
    return sorted(claims, key=lambda claim: (not claim.kind.startswith("group"), -abs(claim.measured)))[:n]


def counted(claims: Sequence[Claim]) -> dict[str, int]:
    """How many claims got each verdict."""
    return {name: sum(claim.verdict == name for claim in claims) for name in VERDICTS}
