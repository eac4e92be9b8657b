"""The hidden variables of every family, as pairs of prompts to exchange them between; one module a family."""

from . import addition, causes, choice, couplets, entities, geography, induction, reasoning, refusal, words
from .pairs import Case as Case
from .pairs import Pair as Pair
from .pairs import VariableSpec as VariableSpec

_FAMILIES = (geography, addition, words, couplets, entities, reasoning, causes, refusal, induction, choice)


def variables() -> tuple[VariableSpec, ...]:
    """Every hidden variable of the ten families, in the order of the families."""
    return tuple(spec for family in _FAMILIES for spec in family.SPECS)
