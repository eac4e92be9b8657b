"""Which state a town lies in, before and after the look back at the notes, and what is asked."""

import random

from silverstain.organism.composing import geography
from silverstain.organism.sentence import sentence
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, asked, roles
from silverstain.organism.world import RELATIONS, State, Town, default_geography

TWO_HOP_ROLES = roles("the relation of the state containing town is")
WHICH = {"earlier": geography.BESIDE_ANOTHER[2], "later": geography.BESIDE_ANOTHER[3]}
WHICH_ROLES = roles("we drove from first-town to second-town ; the relation of the which one is")
NOTES = "{a} supplies {b} , {c} supplies {d} , "
PARTNER_OF = NOTES + "the partner of the state containing {town} is {answer!} ."
FACT_OF_PARTNER = NOTES + "the {relation} of the partner of the state containing {town} is {answer!} ."
NOTE_ROLES = "first-state supplies first-partner , second-state supplies second-partner , "
PARTNER_ROLES = roles(NOTE_ROLES + "the partner of the state containing town is")
FACT_ROLES = roles(NOTE_ROLES + "the relation of the partner of the state containing town is")


def towns_of_different_states(rng: random.Random) -> tuple[Town, Town]:
    """Two towns of different states, without a common piece, that questions may be about."""
    world = default_geography()
    while True:
        one, other = rng.sample([town for town in world.towns if town.name not in world.told_once], 2)
        if one.state is not other.state and one.prefix != other.prefix and one.suffix != other.suffix:
            return one, other


def state(rng: random.Random) -> Pair | None:
    """The donor is asked another relation."""
    relation, other = rng.sample(RELATIONS, 2)
    town, donor_town = towns_of_different_states(rng)
    wanted = donor_town.state.fact(relation)
    if wanted in (town.state.fact(relation), donor_town.state.fact(other)):
        return None
    base = asked(geography.two_hop(town, relation), town.state.name, town.name)
    donor = asked(geography.two_hop(donor_town, other), donor_town.state.name, donor_town.name)
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))


def one_of_two(town: Town, beside: Town, which: str, relation: str) -> Case:
    """Asked about the earlier or the later of two towns."""
    made = sentence(
        geography.NAME, WHICH[which], town=town.name, other=beside.name, relation=relation,
        answer=town.state.fact(relation),
    )  # fmt: skip
    return asked(made, town.state.name, town.name)


def state_of_one_of_two(rng: random.Random) -> Pair | None:
    """Either may be asked about, in the base and in the donor, so that no place holds the town that is. The donor is
    asked another relation."""
    relation, other = rng.sample(RELATIONS, 2)
    town, donor_town = towns_of_different_states(rng)
    beside, donors_beside = towns_of_different_states(rng)
    if {beside.state, donors_beside.state} & {town.state, donor_town.state}:
        return None
    wanted = donor_town.state.fact(relation)
    if wanted in (town.state.fact(relation), donor_town.state.fact(other), beside.state.fact(relation)):
        return None
    base = one_of_two(town, beside, rng.choice(tuple(WHICH)), relation)
    donor = one_of_two(donor_town, donors_beside, rng.choice(tuple(WHICH)), other)
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))


def relation(rng: random.Random) -> Pair | None:
    """The donor is asked about another town."""
    own, other = rng.sample(RELATIONS, 2)
    town, donor_town = towns_of_different_states(rng)
    wanted = town.state.fact(other)
    if wanted in (town.state.fact(own), donor_town.state.fact(other)):
        return None
    base = asked(geography.two_hop(town, own), own, town.name)
    donor = asked(geography.two_hop(donor_town, other), other, donor_town.name)
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))


def _strangers(rng: random.Random, *known: State, n: int) -> list[State]:
    return rng.sample([one for one in default_geography().states if one not in known], n)


def partner_of(town: Town, notes: list[tuple[State, State]], answer: State) -> Case:
    (a, b), (c, d) = notes
    made = sentence(
        geography.NAME, PARTNER_OF, a=a.name, b=b.name, c=c.name, d=d.name, town=town.name, answer=answer.name
    )
    return asked(made, town.state.name, town.name)


def state_before_the_look_back(rng: random.Random) -> Pair | None:
    """Base's notes name partners of both towns' states; the donor's notes name others."""
    town, donor_town = towns_of_different_states(rng)
    own, wanted, donors_own, donors_other = _strangers(rng, town.state, donor_town.state, n=4)
    notes = [(town.state, own), (donor_town.state, wanted)]
    donor_notes = [(town.state, donors_other), (donor_town.state, donors_own)]
    if rng.random() < 0.5:
        notes, donor_notes = notes[::-1], donor_notes[::-1]
    base, donor = partner_of(town, notes, own), partner_of(donor_town, donor_notes, donors_own)
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted.name}))


def fact_of_partner(town: Town, notes: list[tuple[State, State]], relation: str, partner: State) -> Case:
    (a, b), (c, d) = notes
    made = sentence(
        geography.NAME, FACT_OF_PARTNER, a=a.name, b=b.name, c=c.name, d=d.name, relation=relation, town=town.name,
        answer=partner.fact(relation),
    )  # fmt: skip
    return asked(made, partner.name, f"{town.name} {relation}")


def partner(rng: random.Random) -> Pair | None:
    """What the look back finds. The donor is of other towns and notes, and asked another relation."""
    town, donor_town = towns_of_different_states(rng)
    own, other = rng.sample(RELATIONS, 2)
    first, second, donors_first, donors_second = _strangers(rng, town.state, donor_town.state, n=4)
    stranger, donors_stranger = _strangers(rng, town.state, donor_town.state, first, donors_first, n=2)
    notes, donor_notes = (
        [(town.state, first), (stranger, second)],
        [
            (donor_town.state, donors_first),
            (donors_stranger, donors_second),
        ],
    )
    if rng.random() < 0.5:
        notes, donor_notes = notes[::-1], donor_notes[::-1]
    wanted = donors_first.fact(own)
    if wanted in (first.fact(own), donors_first.fact(other), second.fact(own)):
        return None
    base = fact_of_partner(town, notes, own, first)
    donor = fact_of_partner(donor_town, donor_notes, other, donors_first)
    return Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))


SPECS = (
    VariableSpec(family=geography.NAME, variable="state", form="two hops", roles=TWO_HOP_ROLES, draw=state),
    VariableSpec(family=geography.NAME, variable="relation", form="two hops", roles=TWO_HOP_ROLES, draw=relation),
    VariableSpec(
        family=geography.NAME, variable="state", form="one of two towns", roles=WHICH_ROLES, draw=state_of_one_of_two
    ),
    VariableSpec(
        family=geography.NAME,
        variable="state",
        form="before the look back",
        roles=PARTNER_ROLES,
        draw=state_before_the_look_back,
    ),
    VariableSpec(family=geography.NAME, variable="partner", form="after the look back", roles=FACT_ROLES, draw=partner),
)
