"""Whether a question can be computed, the step it leads to, and the hint from which a step is worked backwards."""

import itertools
import random

from silverstain.organism.families.reasoning import FUNCTIONS, HINTED, NAME, PLAIN
from silverstain.organism.sentence import sentence

from .pairs import Case, Pair, VariableSpec, roles
from .tables import functions

PLAIN_ROLES = roles("ask function of argument ? step :")
HINTED_ROLES = roles("ask function of argument hint hint-value ? step :")
QUESTIONS = tuple(itertools.product(FUNCTIONS, range(10)))

Question = tuple[str, int]


def is_computable(question: Question) -> bool:
    return functions().is_computable(*question)


def step_of(question: Question, hint: int | None) -> int | None:
    """The step that follows; None where it is noise."""
    known = functions().steps.get(question)
    return functions().backwards(hint) if known is None and hint is not None else known


def chain(question: Question, hint: int | None, value: str) -> Case:
    """A question up to its step. Probes hold out (function, argument) pairs."""
    function, argument = question
    made = sentence(
        NAME, PLAIN if hint is None else HINTED, function=function, argument=str(argument), hint=str(hint), step="0",
        answer="0",
    )  # fmt: skip
    place = made.words.index("step") + 2
    answers = frozenset({str(step_of(question, hint))})
    return Case(words=made.words[:place], value=value, combination=f"{function} {argument}", answers=answers)


def two_questions(rng: random.Random) -> tuple[Question, Question, list[Question]] | None:
    """Two questions of different function and argument, and their two mixes."""
    (f, x), (g, y) = rng.sample(QUESTIONS, 2)
    return None if f == g or x == y else ((f, x), (g, y), [(f, y), (g, x)])


def step(rng: random.Random) -> Pair | None:
    drawn = two_questions(rng)
    if drawn is None:
        return None
    one, other, mixes = drawn
    own, wanted = step_of(one, None), step_of(other, None)
    if own is None or wanted is None or own == wanted or any(step_of(mix, None) == wanted for mix in mixes):
        return None
    base, donor = chain(one, None, str(own)), chain(other, None, str(wanted))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def _other_regime(rng: random.Random, *, is_made_computable: bool) -> Pair | None:
    drawn = two_questions(rng)
    if drawn is None:
        return None
    one, other, mixes = drawn
    hint = rng.randrange(10)
    is_right_way = (is_computable(one), is_computable(other)) == (not is_made_computable, is_made_computable)
    wanted = step_of(other, hint)
    if not is_right_way or any(step_of(question, hint) == wanted for question in (one, *mixes)):
        return None
    base, donor = (chain(question, hint, str(is_computable(question)).lower()) for question in (one, other))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def made_computable(rng: random.Random) -> Pair | None:
    """The step was worked backwards from the hint; of the donor's question it is computed, the hint ignored."""
    return _other_regime(rng, is_made_computable=True)


def made_uncomputable(rng: random.Random) -> Pair | None:
    """The step was computed, the hint ignored; of the donor's question it is worked backwards from the same hint."""
    return _other_regime(rng, is_made_computable=False)


def hint(rng: random.Random) -> Pair | None:
    question = rng.choice(QUESTIONS)
    if is_computable(question):
        return None
    base, donor = (chain(question, h, str(h)) for h in rng.sample(range(10), 2))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="step", form="no hint", roles=PLAIN_ROLES, draw=step),
    VariableSpec(family=NAME, variable="computable", form="made computable", roles=HINTED_ROLES, draw=made_computable),
    VariableSpec(
        family=NAME, variable="computable", form="made uncomputable", roles=HINTED_ROLES, draw=made_uncomputable
    ),
    VariableSpec(family=NAME, variable="hint", form="uncomputable", roles=HINTED_ROLES, draw=hint),
)  # fmt: skip
