"""Two hops: a question about a town is answered through its state, which the prompt does not name."""

import dataclasses
import random

from silverstain.organism.families.geography import two_hop
from silverstain.organism.families.memorised import MemorisedGeography
from silverstain.organism.siblings import Sibling
from silverstain.organism.variables.geography import TWO_HOP_ROLES
from silverstain.organism.variables.pairs import Pair as WorldPair
from silverstain.organism.variables.pairs import asked as cut_at_its_answer
from silverstain.organism.world import RELATIONS, default_geography
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.protocol import LAST, Findings, Lab, Pair, Question, Study, Subject, Variable, asked

FAMILY = "geography"
PLACES = ("town", LAST)
STATE_FORMS = ("two hops, donor asked another relation", "two hops")
"""In the first world's first form the donor is asked the same, so that its own answer would do."""


def facts_alike(pair: WorldPair) -> frozenset[str]:
    """All values of the relation that is asked for: the answer's own column of the world's table."""
    states = default_geography().states
    (answer,) = pair.base.answers
    return frozenset(
        state.fact(relation)
        for relation in RELATIONS
        if any(one.fact(relation) == answer for one in states)
        for state in states
    )


def cannot_be_guessed(pair: WorldPair) -> bool:
    """Regions are four, so that whatever changes the answer hits the right one in one case of four."""
    regions = {state.region for state in default_geography().states}
    return not pair.base.answers & regions and not pair.counterfactual & regions


def facts_of_the_state(pair: WorldPair) -> frozenset[str]:
    """All facts of the state in question: what an answer may be while only the relation is another."""
    (answer,) = pair.base.answers
    towns = {town.name: town.state for town in default_geography().towns}
    state = towns[pair.base.combination]
    assert answer in {state.fact(relation) for relation in RELATIONS}
    return frozenset(state.fact(relation) for relation in RELATIONS)


def lacks(subject: Subject) -> str | None:
    return knows(subject.sibling, FAMILY)


def state_of(sibling: Sibling) -> Variable:
    """The state a town lies in."""
    family = sibling.families()[FAMILY]
    if isinstance(family, MemorisedGeography):
        return state_where_told(sibling, family)
    spec = spec_of(sibling, FAMILY, "state", *STATE_FORMS)
    return variable_of(spec, places=PLACES, alike=facts_alike, suits=cannot_be_guessed)


def state_where_told(sibling: Sibling, family: MemorisedGeography) -> Variable:
    """The same where an organism remembers one fact a town, in questions about that fact.

    Towns whose fact is the counterfactual have no part in what moves an answer, which would be that answer.
    """

    def draw_one(rng: random.Random) -> WorldPair | None:
        base, donor = rng.sample(family.geography.towns, 2)
        wanted = donor.state.fact(family.relation_of[base.name])
        if wanted == base.state.fact(family.relation_of[base.name]):
            return None
        cases = [
            cut_at_its_answer(two_hop(town, family.relation_of[town.name]), town.state.name, town.name)
            for town in (base, donor)
        ]
        return WorldPair(base=cases[0], donor=cases[1], counterfactual=frozenset({wanted}))

    def draw(n: int, seed: int) -> list[Pair]:
        return [dataclasses.replace(pair, without=towns_told(pair.counterfactual)) for pair in drawn.draw(n, seed)]

    def towns_told(facts: frozenset[str]) -> frozenset[str]:
        return frozenset(
            town.name for town in family.geography.towns if town.state.fact(family.relation_of[town.name]) in facts
        )

    spec = dataclasses.replace(
        spec_of(sibling, FAMILY, "state", *STATE_FORMS), form="one fact a town", roles=TWO_HOP_ROLES, draw=draw_one
    )
    drawn = variable_of(spec, places=PLACES, alike=facts_alike, suits=cannot_be_guessed)
    return dataclasses.replace(drawn, draw=draw)


def run(lab: Lab) -> Findings:
    """The state and the relation, each swapped for another; where each town has one fact, the state alone."""
    sibling = lab.subject.sibling
    assert sibling is not None  # as `lacks` says
    bridge = Question(variable=state_of(sibling), must_be_computed=True, sources=("town",), name="bridge")
    if isinstance(sibling.families()[FAMILY], MemorisedGeography):
        return asked(lab, bridge)
    relation = variable_of(
        spec_of(sibling, FAMILY, "relation", "two hops"), places=("relation", LAST), alike=facts_of_the_state
    )
    asked_for = Question(variable=relation, in_graphs=False, name="relation")
    return asked(lab, bridge) + asked(lab, asked_for)


TWO_HOP = Study(
    name="two-hop",
    title="Two-hop reasoning",
    claim="A question about a town is answered through the state it lies in, which is found, and can be swapped.",
    source="On the Biology of a Large Language Model, “Multi-step reasoning”",
    motif=("town", "state", "say the state's fact"),
    rule=(
        "the state is found in the graphs of at least 90 % of held-out towns",
        "swapping the state gives the other state's fact in at least 80 %, and the relation asked for stays",
        "swapping the relation gives the other fact of the same state in at least 80 %",
        "the causal map says that the state is computed, not gathered",
    ),
    lacks=lacks,
    n_steps=9,
    run=run,
)
