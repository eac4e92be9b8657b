"""Which state a town lies in, and what is asked about it."""

import random

from silverstain.organism.families.geography import NAME, ORDINAL, TWO_TOWNS, two_hop
from silverstain.organism.sentence import sentence
from silverstain.organism.world import RELATIONS, Town, default_geography

from .pairs import Case, Pair, VariableSpec, asked, roles

TWO_HOP_ROLES = roles("the relation of the state containing town is")
TWO_TOWNS_ROLES = roles("we drove from first-town to second-town ; the relation of the which one is")


def mixes(town: Town, other: Town) -> list[Town]:
    """Towns whose name has one piece of each: what an exchange of one piece's embedding may spell."""
    spelled = {(town.prefix, other.suffix), (other.prefix, town.suffix)}
    return [t for t in default_geography().towns if (t.prefix, t.suffix) in spelled]


def two_towns_of_different_states(rng: random.Random, relation: str) -> tuple[Town, Town] | None:
    """Two towns without a common piece, whose states differ in the fact asked for; nor does a mix give the second's."""
    base, donor = rng.sample(default_geography().towns, 2)
    fact = donor.state.fact(relation)
    shares_piece = base.prefix == donor.prefix or base.suffix == donor.suffix
    is_spelled = any(town.state.fact(relation) == fact for town in (base, *mixes(base, donor)))
    return None if shares_piece or is_spelled else (base, donor)


def state(rng: random.Random) -> Pair | None:
    relation = rng.choice(RELATIONS)
    towns = two_towns_of_different_states(rng, relation)
    if towns is None:
        return None
    base, donor = (asked(two_hop(town, relation), town.state.name, town.name) for town in towns)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def state_of_another_question(rng: random.Random) -> Pair | None:
    """The donor is asked another relation: what moves the answer is the state, never the donor's own answer."""
    relation, other = rng.sample(RELATIONS, 2)
    towns = two_towns_of_different_states(rng, relation)
    if towns is None:
        return None
    base = asked(two_hop(towns[0], relation), towns[0].state.name, towns[0].name)
    donor = asked(two_hop(towns[1], other), towns[1].state.name, towns[1].name)
    return Pair(base=base, donor=donor, counterfactual=frozenset({towns[1].state.fact(relation)}))


def relation(rng: random.Random) -> Pair | None:
    base_relation, donor_relation = rng.sample(RELATIONS, 2)
    town = rng.choice(default_geography().towns)
    base, donor = (asked(two_hop(town, r), r, town.name) for r in (base_relation, donor_relation))
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def with_two_towns(first: Town, second: Town, relation: str, which: str, *, value: str, combination: str) -> Case:
    answer = (first if which == "first" else second).state.fact(relation)
    made = sentence(
        NAME, TWO_TOWNS, first=first.name, second=second.name, relation=relation, which=ORDINAL[which], answer=answer
    )
    return asked(made, value, combination)


def state_of_the_first(rng: random.Random) -> Pair | None:
    relation = rng.choice(RELATIONS)
    towns = two_towns_of_different_states(rng, relation)
    if towns is None:
        return None
    second = rng.choice(default_geography().towns)
    base, donor = (
        with_two_towns(town, second, relation, "first", value=town.state.name, combination=town.name) for town in towns
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def which_town(rng: random.Random) -> Pair | None:
    relation = rng.choice(RELATIONS)
    towns = two_towns_of_different_states(rng, relation)
    if towns is None:
        return None
    order = rng.sample(("first", "second"), 2)
    base, donor = (with_two_towns(*towns, relation, w, value=w, combination=towns[0].name) for w in order)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(family=NAME, variable="state", form="two hops", roles=TWO_HOP_ROLES, draw=state),
    VariableSpec(
        family=NAME, variable="state", form="two hops, donor asked another relation", roles=TWO_HOP_ROLES,
        draw=state_of_another_question,
    ),
    VariableSpec(
        family=NAME, variable="state", form="earlier of two towns", roles=TWO_TOWNS_ROLES, draw=state_of_the_first
    ),
    VariableSpec(family=NAME, variable="relation", form="two hops", roles=TWO_HOP_ROLES, draw=relation),
    VariableSpec(family=NAME, variable="which town", form="two towns", roles=TWO_TOWNS_ROLES, draw=which_town),
)  # fmt: skip
