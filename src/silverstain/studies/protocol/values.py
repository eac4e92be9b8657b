"""What a study is made of: prompts with a hidden variable, what must follow if only it were exchanged, and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from silverstain.brief import brief
from silverstain.statistics import Share

LAST = "last"
"""The place of every prompt's last token, whatever it is."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prompt cut off where the variable decides the next token.

    Attributes:
        value: Of the variable, here.
        combination: What is kept together when prompts are put into the two halves, e.g. the town whose state is asked.
        answers: Words of which one should follow.
        spans: For each named place the characters (first, end) that it has; its token is the last of them.
    """

    text: str
    value: str
    combination: str
    answers: frozenset[str]
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt, and another of another value: with that value the first would go on with `counterfactual`.

    Attributes:
        alike: Words that agree with everything but the variable, e.g. all capitals where a capital is asked for: while
            the answer is one of them, the rest of the question has been left alone. Empty where this is not known.
        among: The words that are compared; None compares the whole vocabulary.
        without: Combinations that have no part in what moves this pair, beside its base's own.
    """

    base: Case
    donor: Case
    counterfactual: frozenset[str]
    alike: frozenset[str] = frozenset()
    among: frozenset[str] | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A hidden variable: where it may be found, and pairs of prompts that differ in it.

    Attributes:
        places: Names of the places at which it is looked for; LAST is always there.
        draw: So many pairs, from a seed.
        fits_on_donors: Means are taken of the donors alone, where they are prompts of another sort (of other languages,
            say) than those that are moved.
        bystanders: Prompts whose answer the change of a pair must leave as it is: the change is chosen for that, too.
            Each goes with the development pairs that `concerns` it.
    """

    family: str
    name: str
    form: str
    draw: Callable[[int, int], Sequence[Pair]]
    places: tuple[str, ...] = (LAST,)
    fits_on_donors: bool = False
    bystanders: Sequence[Case] = ()
    concerns: Callable[[Pair, Case], bool] = lambda pair, case: True

    @property
    def title(self) -> str:
        return f"{self.family}: {self.name} ({self.form})"


# figures


MeasureRole = Literal["gate", "target", "control", "specificity", "truth", "reported"]


@brief
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure of a study, and the bar that it is held against.

    Attributes:
        role: A `gate` asks whether the study applies; a `target` is what must be shown, a `control` what must not
            happen, `specificity` what must be left alone; `truth` compares with what is known of the model from
            elsewhere; `reported` has no part in the verdict.
        bar: What the figure must reach, or of a control not exceed; None for a figure that is only reported.
        low_bar: What the lower end of its interval must reach as well.
        untested: Why a figure does not count, e.g. that a control's own gate failed.
    """

    name: str
    about: str
    role: MeasureRole
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    bar: float | None = None
    low_bar: float | None = None
    untested: str | None = None

    @property
    def counts(self) -> bool:
        return self.untested is None and self.bar is not None and self.value is not None

    @property
    def holds(self) -> bool | None:
        """Whether it is as it must be; None where it has no bar or does not count."""
        if not self.counts or self.value is None or self.bar is None:
            return None
        if self.role == "control":
            return self.value <= self.bar
        return self.value >= self.bar and (self.low_bar is None or (self.low or 0.0) >= self.low_bar)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Measure":
        return cls(**{name: value for name, value in data.items() if name != "holds"})


def measured(name: str, about: str, role: MeasureRole, share: Share | None, **bars: Any) -> Measure:
    """A share as a measure; None for one that could not be measured."""
    if share is None:
        return Measure(name=name, about=about, role=role, value=None, **bars)
    return Measure(
        name=name, about=about, role=role, value=share.value, low=share.low, high=share.high, n=share.n, **bars
    )


@brief
@dataclass(frozen=True, kw_only=True)
class Figure:
    """Numbers to be drawn.

    Attributes:
        kind: `bars` (labels, values, lows, highs), `curves` (a list of series of x, y, and perhaps low and high), or
            `plots` (titles, and for each a square of numbers: rows are the first operand).
    """

    name: str
    kind: Literal["bars", "curves", "plots"]
    title: str
    data: Mapping[str, Any]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@brief
@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one step of a study found; a step's findings are kept as JSON, so that a study can be resumed."""

    measures: tuple[Measure, ...] = ()
    figures: tuple[Figure, ...] = ()
    prompts: tuple[Mapping[str, Any], ...] = ()
    """A row for every prompt: what was asked, done and said."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """What was fixed on the development prompts."""
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            measures=self.measures + other.measures, figures=self.figures + other.figures,
            prompts=self.prompts + other.prompts, chosen={**self.chosen, **other.chosen},
            notes=self.notes + other.notes,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        return {
            "measures": [one.to_json() for one in self.measures], "figures": [one.to_json() for one in self.figures],
            "prompts": list(self.prompts), "chosen": dict(self.chosen), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Findings":
        return cls(
            measures=tuple(Measure.from_json(one) for one in data["measures"]),
            figures=tuple(Figure(**one) for one in data["figures"]), prompts=tuple(data["prompts"]),
            chosen=data["chosen"], notes=tuple(data["notes"]),
        )  # fmt: skip
