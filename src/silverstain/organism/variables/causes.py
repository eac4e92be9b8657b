"""The cause that two symptoms have in common, which is never named."""

import itertools
import random

from silverstain.organism.families.causes import NAME, SIGNS, TEMPLATES, clinic
from silverstain.organism.sentence import sentence

from .pairs import Case, Pair, VariableSpec, asked, roles

ROLES = roles("patient with a and b ; next ask about")


def visit(cause: int, a: str, b: str) -> Case:
    made = sentence(NAME, TEMPLATES[0], a=a, b=b, sign=SIGNS[cause])
    return asked(made, SIGNS[cause], " ".join(sorted((a, b))))


def cause(rng: random.Random) -> Pair | None:
    """Another cause with other symptoms; no symptom of the donor makes its cause together with one of the base."""
    one, other = rng.sample(range(len(SIGNS)), 2)
    own, others = (rng.sample(clinic().causes[c], 2) for c in (one, other))
    donors_cause = set(clinic().causes[other])
    if set(own) & set(others) or any({a, b} <= donors_cause for a, b in itertools.product(own, others)):
        return None
    base, donor = visit(one, *own), visit(other, *others)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (VariableSpec(family=NAME, variable="cause", form="two symptoms", roles=ROLES, draw=cause),)
