"""The hidden variables of the composing world, as pairs of prompts to exchange them between.

Wherever there can be one, the donor is asked something else, so that its own answer is not the counterfactual.
"""

from silverstain.organism.variables import VariableSpec
from silverstain.organism.variables import variables as first_variables

from . import addition, couplets, geography, regimes, words

KEPT = ("entities", "refusal", "induction", "choice")
"""Families that are those of the first world, with their variables."""


def variables() -> tuple[VariableSpec, ...]:
    """Every hidden variable, in the order of the families."""
    own = (spec for module in (geography, addition, words, couplets, regimes) for spec in module.SPECS)
    return (*own, *(spec for spec in first_variables() if spec.family in KEPT))
