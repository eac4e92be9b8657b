"""How far a drawing may be believed: a graph's scores in words."""

import math
from dataclasses import dataclass
from typing import Literal

from silverstain.graphs.scores import KEPT, Scores

POOR, GOOD = 0.5, 0.8
"""Replacement scores: below the one a drawing is not the model's circuit, from the other on it is most of it."""
MUCH_LEFT_OUT = 0.1
"""Share of the influence on units that are not drawn, from which on a drawing does not show most of what was found."""

NO_EDGES = "no edges: nothing can be said"
"""Of a graph whose file has no links: its scores are 0, and mean nothing."""

Level = Literal["good", "partial", "poor", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """A line to stand under a drawing, and how good the news is."""

    level: Level
    line: str

    def __str__(self) -> str:
        return self.line


def trust_in(scores: Scores, *, left_out: float = 0.0, has_edges: bool = True, is_rest: bool = False) -> Trust:
    """What the scores say of a drawing that leaves out this share of the influence.

    A score that is not known (None or not a number: a file of another tool may not say) is not made up, and a high
    one of the part of a graph that a file kept is not taken for one of the whole. `is_rest` where
    nodes of kind error are all else of their layer and position: nothing is replaced there, and no dictionary errs.
    """
    if not has_edges:
        return Trust(level="unknown", line=NO_EDGES)
    if is_rest:
        return _trust_beside_rest(scores, left_out)
    replacement, completeness = _known(scores.replacement), _known(scores.completeness)
    if replacement is None:
        return Trust(
            level="unknown",
            line="Replacement not known: how much of the influence passes through error nodes, this graph does not say",
        )
    if scores.of == KEPT and replacement >= POOR:
        kept = f"Replacement {_short(replacement)} of what the file kept: files keep few error nodes, so how much of"
        return Trust(level="unknown", line=f"{kept} the whole graph's influence passes through them is not known")
    said = f"Replacement {_short(replacement)}"
    through_errors = f"{100 * (1 - replacement):.0f} % of the influence passes through error nodes"
    if replacement < POOR:
        return Trust(level="poor", line=f"{said}: this is not the model's circuit: {through_errors}")
    if completeness is not None:
        said += f", completeness {_short(completeness)}"
    if replacement < GOOD:
        return Trust(level="partial", line=f"{said}: this is a part of the model's circuit: {through_errors}")
    if left_out >= MUCH_LEFT_OUT:
        found = "most of the answer's influence is explained, but a good part of it by units that are not drawn here"
        return Trust(level="partial", line=f"{said}: {found}")
    return Trust(level="good", line=f"{said}: most of the answer's influence runs through what is drawn here")


def _trust_beside_rest(scores: Scores, left_out: float) -> Trust:
    shown = _known(scores.replacement)
    if shown is None or (scores.of == KEPT and shown >= POOR):
        line = "How much of the influence passes through nodes that are shown, this graph does not say"
        return Trust(level="unknown", line=line)
    said = f"{math.floor(100 * shown)} % of the influence passes through nodes that are shown"
    if shown < POOR:
        return Trust(level="poor", line=f"{said}: this is a small part of the model's circuit")
    if shown < GOOD:
        return Trust(level="partial", line=f"{said}: this is a part of the model's circuit")
    if left_out >= MUCH_LEFT_OUT:
        return Trust(level="partial", line=f"{said}, but a good part of it through units that are not drawn here")
    return Trust(level="good", line=said)


def _known(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None


def _short(score: float) -> str:
    """.93, and 1.00 only for what is 1: a score of .998 is .99."""
    return "1.00" if score >= 1 else f"{math.floor(100 * score) / 100:.2f}".removeprefix("0")
