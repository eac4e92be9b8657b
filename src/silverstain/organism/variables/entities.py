"""Whether a name is known, and the fact that is told of it."""

import functools
import random

from silverstain.organism.families.entities import NAME, Person, question

from .pairs import Case, Pair, VariableSpec, asked, roles
from .tables import people

ROLES = roles("which sport does first-name last-name play ?")
ASKED_ROLES = roles("question : the fact of first-name last-name ?")


@functools.cache
def known() -> dict[tuple[str, str], Person]:
    return {(p.first, p.last): p for p in people().known}


@functools.cache
def not_refused() -> frozenset[tuple[str, str]]:
    """Names of which the world does not say that they are refused."""
    return frozenset((p.first, p.last) for p in people().known + people().familiar)


def sport_of(person: Person, *, value: str, status: str = "known") -> Case:
    return asked(question(person, "sport", 0, status=status), value, f"{person.first} {person.last}")


def mixed_names(person: Person, other: Person) -> set[tuple[str, str]]:
    return {(person.first, other.last), (other.first, person.last)}


def two_names(rng: random.Random, pool: tuple[Person, ...], other_pool: tuple[Person, ...]) -> list[Person] | None:
    """Two names that share no part."""
    one, other = rng.choice(pool), rng.choice(other_pool)
    return None if one.first == other.first or one.last == other.last else [one, other]


def made_known(rng: random.Random) -> Pair | None:
    """An unknown name becomes a known one. One part of the donor's name leaves it unknown."""
    names = two_names(rng, people().unknown, people().known)
    if names is None or mixed_names(*names) & not_refused():
        return None
    base, donor = sport_of(names[0], value="unknown", status="unknown"), sport_of(names[1], value="known")
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def made_unknown(rng: random.Random) -> Pair | None:
    """A known name becomes an unknown one. Refusal is the rule, so one part of the donor's name may be enough."""
    names = two_names(rng, people().known, people().unknown)
    if names is None:
        return None
    base, donor = sport_of(names[0], value="known"), sport_of(names[1], value="unknown", status="unknown")
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def fact(rng: random.Random) -> Pair | None:
    """A known name of another sport, which no mix of the two names has."""
    names = two_names(rng, people().known, people().known)
    if names is None or names[0].sport == names[1].sport:
        return None
    if any(name in known() and known()[name].sport == names[1].sport for name in mixed_names(*names)):
        return None
    base, donor = (sport_of(person, value=person.sport) for person in names)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def asked_fact(rng: random.Random) -> Pair | None:
    person = rng.choice(people().known)
    name = f"{person.first} {person.last}"
    base, donor = (asked(question(person, f, 2, status="known"), f, name) for f in rng.sample(("sport", "drink"), 2))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="status", form="unknown made known", roles=ROLES, draw=made_known),
    VariableSpec(family=NAME, variable="status", form="known made unknown", roles=ROLES, draw=made_unknown),
    VariableSpec(family=NAME, variable="fact", form="sport", roles=ROLES, draw=fact),
    VariableSpec(family=NAME, variable="asked fact", form="sport or drink", roles=ASKED_ROLES, draw=asked_fact),
)
