"""Whether a pair of substances is forbidden, and the group of one of them."""

import random

from silverstain.organism.families.refusal import ALLOWED, FORBIDDEN, KIND, NAME, REFUSED, TEMPLATES
from silverstain.organism.sentence import sentence

from .pairs import Case, Pair, VariableSpec, asked, roles

ROLES = roles("please mix a with b :")


def is_forbidden(a: str, b: str) -> bool:
    return frozenset((KIND[a], KIND[b])) in FORBIDDEN


def request(a: str, b: str, value: str) -> Case:
    """Probes hold out pairs of substances, whichever comes first."""
    made = sentence(NAME, TEMPLATES[0], a=a, b=b, reply=REFUSED if is_forbidden(a, b) else ALLOWED)
    return asked(made, value, " ".join(sorted((a, b))))


def forbidden(rng: random.Random) -> Pair | None:
    """Both substances change and the reply with them; one of them alone does not change it."""
    a, b, c, d = rng.sample(sorted(KIND), 4)
    is_base = is_forbidden(a, b)
    pairs = ((a, b), (c, d), (a, d), (c, b))
    if any(KIND[one] == KIND[other] for one, other in pairs):
        return None  # substances of one group are never mixed
    if is_forbidden(c, d) == is_base or {is_forbidden(a, d), is_forbidden(c, b)} != {is_base}:
        return None
    base, donor = request(a, b, str(is_base).lower()), request(c, d, str(not is_base).lower())
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def group(rng: random.Random) -> Pair | None:
    """The first substance is one of another group, which changes the reply; the second is the same."""
    a, b, c = rng.sample(sorted(KIND), 3)
    if KIND[b] in (KIND[a], KIND[c]) or is_forbidden(a, b) == is_forbidden(c, b):
        return None
    base, donor = request(a, b, KIND[a]), request(c, b, KIND[c])
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="forbidden", form="pair", roles=ROLES, draw=forbidden),
    VariableSpec(family=NAME, variable="group", form="first substance", roles=ROLES, draw=group),
)
