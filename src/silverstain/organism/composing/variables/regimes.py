"""Whether a question can be computed, the hint from which it is worked backwards, the kind of a symptom, the cause of
two, and whether a pair of substances is forbidden."""

import functools
import random

from silverstain.organism.composing import causes, reasoning, refusal
from silverstain.organism.families.refusal import KIND
from silverstain.organism.sentence import sentence
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, asked, roles
from silverstain.organism.variables.refusal import is_forbidden

functions = functools.cache(reasoning.functions)

HINTED_ROLES = roles("go direction amount from number hint hint-value ? step :")
CAUSE_ROLES = roles("patient with first-symptom and second-symptom ; next ask about")
ASKED_ROLES = roles("patient with first-symptom and second-symptom ; asked asked asked")
MIXED_ROLES = roles("asked asked a with b sign")


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


def cause(rng: random.Random) -> Pair | None:
    """The cause of two symptoms. Of one cause the sign is asked, of the other the remedy. One of the donor's symptoms
    alone does not make its cause."""
    known = causes.clinic()
    a, b, c, d = rng.sample(causes.SYMPTOMS, 4)
    own, other = known.cause(a, b), known.cause(c, d)
    if other in (own, known.cause(a, d), known.cause(c, b)):
        return None
    questions = [(causes.TEMPLATES[0], causes.SIGNS), (causes.TREATED[0], causes.REMEDIES)]
    (template, answers), (donors_template, _) = rng.sample(questions, 2)
    base = asked(causes.two_symptoms(known, a, b, template), str(own), " ".join(sorted((a, b))))
    donor = asked(causes.two_symptoms(known, c, d, donors_template), str(other), " ".join(sorted((c, d))))
    return Pair(base=base, donor=donor, counterfactual=frozenset({answers[other]}))


def forbidden(rng: random.Random) -> Pair | None:
    """Whether two substances may be mixed; one is requested to be, the other asked about. One of the donor's substances
    alone leaves it as it is."""
    a, b, c, d = rng.sample(sorted(KIND), 4)
    if any(KIND[one] == KIND[other] for one, other in ((a, b), (c, d), (a, d), (c, b))):
        return None
    is_base, is_donor = is_forbidden(a, b), is_forbidden(c, d)
    if is_donor == is_base or {is_forbidden(a, d), is_forbidden(c, b)} != {is_base}:
        return None
    template, donors_template = rng.sample((refusal.REQUESTS[0], refusal.QUESTIONS[0]), 2)
    base, donor = _mixed(a, b, template), _mixed(c, d, donors_template)
    return Pair(base=base, donor=donor, counterfactual=frozenset({refusal.reply(template, is_donor)}))


def _mixed(a: str, b: str, template: str) -> Case:
    is_not_allowed = is_forbidden(a, b)
    made = sentence(refusal.NAME, template, a=a, b=b, reply=refusal.reply(template, is_not_allowed))
    return asked(made, str(is_not_allowed).lower(), " ".join(sorted((a, b))))


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
    VariableSpec(family=causes.NAME, variable="cause", form="sign or remedy", roles=ASKED_ROLES, draw=cause),
    VariableSpec(
        family=refusal.NAME, variable="forbidden", form="request or question", roles=MIXED_ROLES, draw=forbidden
    ),
)
