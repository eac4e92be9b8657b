"""The table of `silverstain faithfulness`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from silverstain.cli import output
from silverstain.cli.evaluation_table import NONE, title

if TYPE_CHECKING:
    from silverstain.evaluation.calibration import DoseResponse, PassedOn
    from silverstain.evaluation.faithfulness import FaithfulnessReport, UnseenEdits
    from silverstain.loading import ReplacementModel
    from silverstain.organism.hop_skips import HopSkips
    from silverstain.statistics import Estimate

CHANGES = {"feature": "what a feature writes", "random": "in a random direction", "encoder": "along an encoder"}
"""From the smallest errors to the largest."""
DISTANCES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
"""Distances that are shown; a deep model has too many for a table."""
EFFECTS = {"node → logit": "on the answer", "node → node": "on other features"}


def tell_faithfulness(
    loaded: "ReplacementModel", found: "FaithfulnessReport", hops: "HopSkips | None", notes: "Sequence[str]"
) -> None:
    """Print everything."""
    about = title(loaded.trained, loaded.model.name)
    output.data(f"{about}\n{found.n_prompts} prompts traced; in brackets 95 % intervals\n")
    if found.passed_on:
        output.data(output.table(passed_on_rows(found.passed_on), right=(1, 2)) + "\n")
    output.data(output.table(dose_rows(found.doses), right=(1, 2)))
    rows = edit_rows(found.edits, found.foreign_edits) + hop_rows(hops)
    if rows:
        output.data("\n" + output.table([["both models edited alike", "n", "", ""], *rows], right=(1, 2)))
    for note in notes:
        output.talk(f"note: {note}")
    output.talk("\nWhat each figure is: docs/verification.md. --json prints all of them.")


def passed_on_rows(found: "Sequence[PassedOn]") -> list[list[str]]:
    """A line for each kind of change and distance."""
    rows = [["a change passed on", "MLPs", "n", "cosine, mean", "median", "error, mean", "median"]]
    said = ""
    for one in sorted(found, key=lambda one: list(CHANGES).index(one.way)):
        if one.distance in DISTANCES:
            name = CHANGES[one.way]
            figures = (one.cosine, one.median_cosine, one.error, one.median_error)
            rows.append(["" if name == said else name, str(one.distance), f"{one.n:,}", *map(_estimate, figures)])
            said = name
    return rows


def dose_rows(found: "Sequence[DoseResponse]") -> list[list[str]]:
    """A line for each strength."""
    rows = [["measured over predicted effect", "dose", "n", "slope", "R²"]]
    said = ""
    for one in found:
        name = EFFECTS[one.kind]
        dose = f"× {one.strength:g}".replace("-", "−")
        rows.append(["" if name == said else name, dose, f"{one.n:,}", _estimate(one.slope), _estimate(one.r2)])
        said = name
    return rows


def edit_rows(edits: "UnseenEdits | None", foreign: "UnseenEdits | None") -> list[list[str]]:
    """Whether the replaced model says what the model says under edits."""
    rows: list[list[str]] = []
    sources = "prompt of the family" if foreign is not None else "prompt"
    for label, found in ((f"features of another {sources}", edits), ("features of a foreign prompt", foreign)):
        if found is not None:
            rows.append([f"same answer, {label}", str(found.n), *_share(found.agreement, found.interval)])
            rows.append(["… where the edit changes it", str(found.n_changed),
                         *_share(found.agreement_changed, found.interval_changed)])  # fmt: skip
    return rows


def hop_rows(hops: "HopSkips | None") -> list[list[str]]:
    """How many graphs skip the hop through the state."""
    if hops is None:
        return []
    return [["graphs that skip the hop through the state", str(hops.n_matters), *_share(hops.rate, hops.interval)]]


def _share(value: float | None, interval: tuple[float, float] | None) -> list[str]:
    return [NONE if value is None else output.percent(value), output.interval(interval, output.percent)]


def _estimate(one: "Estimate") -> str:
    if one.value != one.value:  # NaN: nothing varies
        return NONE
    return f"{_number(one.value)} {output.interval(one.interval, _number)}"


def _number(value: float) -> str:
    """Two decimals; as many digits as a table has room for."""
    return f"{value:.2f}".replace("-", "−") if abs(value) < 1000 else f"{value:.1e}".replace("-", "−")
