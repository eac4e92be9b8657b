"""Whether a question can be computed, the hint from which it is worked backwards, and the kind of a symptom."""

import functools
import random

from silverstain.organism.composing import causes, reasoning
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, asked, roles

functions = functools.cache(reasoning.functions)

HINTED_ROLES = roles("go direction amount from number hint hint-value ? step :")
CAUSE_ROLES = roles("patient with first-symptom and second-symptom ; next ask about")


def _question(rng: random.Random) -> reasoning.Question:
    return (*rng.choice(reasoning.FUNCTIONS), rng.randrange(10))


def _chain(question: reasoning.Question, hint: int, value: str) -> Case:
    family = reasoning.ReasoningFamily(functions=functions())
    made = family.chain(random.Random(0), question, hint)
    place = made.words.index("step") + 2
    direction, amount, number = question
    return Case(
        words=made.words[:place], value=value, combination=f"{direction} {amount} {number}",
        answers=frozenset({made.variables["step"]}),
    )  # fmt: skip


def made_uncomputable(rng: random.Random) -> Pair | None:
    """The step was computed; with the donor's part it is worked backwards from the base's own hint. The donor's hint is
    another."""
    question, other = _question(rng), _question(rng)
    hint, other_hint = rng.sample(range(10), 2)
    step = functions().step(question)
    if step is None or functions().step(other) is not None:
        return None
    wanted = str(functions().backwards(hint))
    if wanted == str(step) or str(functions().backwards(other_hint)) == wanted:
        return None
    return Pair(
        base=_chain(question, hint, "true"), donor=_chain(other, other_hint, "false"),
        counterfactual=frozenset({wanted}),
    )  # fmt: skip


def hint(rng: random.Random) -> Pair | None:
    """The hint from which a step is worked backwards; the donor's question cannot be computed either."""
    question, other = _question(rng), _question(rng)
    one, two = rng.sample(range(10), 2)
    if functions().step(question) is not None or functions().step(other) is not None:
        return None
    base, donor = _chain(question, one, str(one)), _chain(other, two, str(two))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def kind_of_a_symptom(rng: random.Random) -> Pair | None:
    """The hidden kind of the first symptom; the donor's second is of another kind."""
    known = causes.clinic()
    a, b, c, d = rng.sample(causes.SYMPTOMS, 4)
    wanted = causes.SIGNS[known.cause(c, b)]
    if known.kinds[a] == known.kinds[c] or known.kinds[b] == known.kinds[d]:
        return None
    base, donor = (
        asked(causes.two_symptoms(known, *pair), str(known.kinds[pair[0]]), pair[0]) for pair in ((a, b), (c, d))
    )
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))


SPECS = (
    VariableSpec(
        family=reasoning.NAME,
        variable="computable",
        form="made uncomputable",
        roles=HINTED_ROLES,
        draw=made_uncomputable,
    ),
    VariableSpec(family=reasoning.NAME, variable="hint", form="uncomputable", roles=HINTED_ROLES, draw=hint),
    VariableSpec(family=causes.NAME, variable="kind", form="first symptom", roles=CAUSE_ROLES, draw=kind_of_a_symptom),
)
