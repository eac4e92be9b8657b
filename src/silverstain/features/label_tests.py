"""Labels put to the test on contexts that they were not made from, without asking any model.

A label's rule is read as a prediction. Four tests, of which a guess has the figure in brackets:

    detection  is the feature active here? contexts where it is and others, drawn at random (0.5, balanced accuracy)
    contrast   the same against contexts whose token is one that the feature is active on, where it is not (0.5)
    fuzzing    the right token marked in a context of the feature, or a wrong one of the same context? (0.5)
    intruder   which of five contexts, four of the feature, is the other's? (0.2)
"""

from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from silverstain.brief import brief
from silverstain.features.rows import BEFORE
from silverstain.features.rules import Rule, TokenClasses, matches

FEWEST = 5
"""Contexts of either kind that a test needs."""


@brief
@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How a label did; None where there were too few contexts for a test."""

    detection: float | None
    contrast: float | None
    fuzzing: float | None
    intruder: float | None
    precision: float | None
    """Of all places at which the rule holds, the share at which the feature is active: at its own density, not at that
    of the test."""
    recall: float | None
    f1: float | None
    n_active: int
    n_others: int

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


@brief
@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Windows around places of the held-out rows: where a feature is active, others, and other tokens of the first."""

    active: Int[np.ndarray, "n width"]
    others: Int[np.ndarray, "m width"]
    moved: Int[np.ndarray, "k width"]
    """Windows of the same texts with another token marked, at which the feature is not active."""
    density: float
    """Share of all places at which it is active."""


def score_rule(rule: Rule, contexts: Contexts, classes: TokenClasses) -> LabelScores:
    """All four tests of one label."""
    n, m = len(contexts.active), len(contexts.others)
    held, other = matches(rule, contexts.active, classes), matches(rule, contexts.others, classes)
    moved = matches(rule, contexts.moved, classes)
    near = np.isin(contexts.others[:, BEFORE], contexts.active[:, BEFORE])
    is_enough = n >= FEWEST and m >= FEWEST
    hits, false = (float(held.mean()), float(other.mean())) if is_enough else (0.0, 0.0)
    precision = recall = f1 = None
    if is_enough:
        true, wrong = hits * contexts.density, false * (1 - contexts.density)
        precision, recall = (true / (true + wrong) if true else 0.0), hits
        f1 = 2 * precision * recall / (precision + recall) if true else 0.0
    return LabelScores(
        detection=_balanced(held, other),
        contrast=_balanced(held, other[near]),
        fuzzing=_balanced(held, moved),
        intruder=_intruder(hits, false) if is_enough else None,
        precision=precision,
        recall=recall,
        f1=f1,
        n_active=n,
        n_others=m,
    )


def _balanced(hits: Bool[np.ndarray, " n"], false: Bool[np.ndarray, " m"]) -> float | None:
    if len(hits) < FEWEST or len(false) < FEWEST:
        return None
    return float((hits.mean() + 1 - false.mean()) / 2)


def _intruder(hits: float, false: float) -> float:
    """The chance to point at the intruder, given how often the rule holds in contexts of the feature and in others: one
    of those where it does not hold is pointed at, or where it holds in all, any."""
    found = false * hits**4 / 5  # it holds in all five
    for n_missed in range(5):
        chance = comb(4, n_missed) * (1 - hits) ** n_missed * hits ** (4 - n_missed)
        found += (1 - false) * chance / (n_missed + 1)
    return found
