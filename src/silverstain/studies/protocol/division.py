"""Development prompts and test prompts of a variable: no combination (town, name, pair of digits) is in both."""

from collections.abc import Sequence
from dataclasses import dataclass

from silverstain.organism.probing import folds_of

from .values import Case, Pair, Variable

N_FOLDS = 4
"""Combinations are dealt into so many folds; one is for the test. Three are developed on because a state has but four
towns: what they have in common is not known from two."""
MOST_COMPARED = 200
"""Prompts that a group of units is to tell apart, at most."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """How many prompts, and which.

    Attributes:
        n: Pairs that are reported, at most.
        n_chosen_by: Pairs that places and strengths are chosen by.
        n_fitted: The development prompts among so many pairs give the means.
        n_drawn: Pairs that are drawn in all: one in four or fewer is a test pair, and many are drawn twice.
    """

    n: int = 100
    n_chosen_by: int = 48
    n_fitted: int = 1200
    n_drawn: int = 4000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Division:
    """The prompts of a variable.

    Attributes:
        fitted: Development prompts, bases and donors; where a variable `fits_on_donors`, donors alone.
        chosen_by: Development pairs that places, layers and strengths are chosen by.
        tested: Test pairs, of distinct bases.
        kept_back: Prompts of test combinations, those of `tested` first: bases alone may all have one value.
    """

    fitted: list[Case]
    chosen_by: list[Pair]
    tested: list[Pair]
    kept_back: list[Case]


def divided(variable: Variable, settings: TrialSettings) -> Division:
    """The pairs that are drawn, by the fold of their base; values that no development prompt has are left out."""
    pairs = list(variable.draw(max(settings.n_fitted, settings.n_drawn), settings.seed))
    bases, donors = [pair.base for pair in pairs], [pair.donor for pair in pairs]
    every = bases + donors
    folds = folds_of([c.value for c in every], [c.combination for c in every], settings.seed, n_folds=N_FOLDS).tolist()
    is_test = {case.combination: fold == N_FOLDS - 1 for case, fold in zip(every, folds, strict=True)}
    first, n = [] if variable.fits_on_donors else bases[: settings.n_fitted], settings.n_fitted
    fitted = distinct([case for case in (*first, *donors[:n]) if not is_test[case.combination]])
    known = {case.value for case in fitted}
    usable = [pair for pair in pairs if pair.base.value in known and pair.donor.value in known]
    tested = {pair.base.text: pair for pair in reversed(usable) if is_test[pair.base.combination]}
    chosen = list(tested.values())[::-1][: settings.n]
    kept_back = [case for case in every if is_test[case.combination] and case.value in known]
    return Division(
        fitted=fitted,
        chosen_by=[pair for pair in usable if not is_test[pair.base.combination]][: settings.n_chosen_by],
        tested=chosen,
        kept_back=distinct([*(pair.base for pair in chosen), *kept_back])[:MOST_COMPARED],
    )


def distinct(cases: Sequence[Case]) -> list[Case]:
    """The first prompt of each text, in order."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(case.text, case)
    return list(found.values())
