"""Two-hop facts: a town lies in a state, the state has a capital, a code, a region, a bird, a flower."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence
from silverstain.organism.world import RELATIONS, Geography, State, Town

NAME = "geography"
TWO_HOP = (
    "the {relation} of the state containing {town} is {answer!} .",
    "{town} belongs to a state with the {relation} {answer!} .",
)
BESIDE_ANOTHER = (
    "{town} , unlike {other} , belongs to a state with the {relation} {answer!} .",
    "{town} and {other} : the {relation} of the earlier one is {answer!} .",
    "not for {other} but {town} : the {relation} is {answer!} .",
)
TWO_TOWNS = "we drove from {first} to {second} ; the {relation} of the {which} one is {answer!} ."


@dataclass(frozen=True, kw_only=True)
class GeographyFamily:
    geography: Geography
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            return self._two_hop(rng, held_out=True)
        draw = rng.random()
        if draw < 0.2:
            return in_state(rng.choice(self.geography.towns))
        if draw < 0.3:
            return state_fact(rng.choice(self.geography.states), rng.choice(RELATIONS))
        if draw < 0.5:
            return self._two_hop(rng, held_out=False)
        return self._two_towns(rng) if draw < 0.75 else self._beside_another(rng)

    def _town(self, rng: random.Random, relation: str, *, held_out: bool) -> Town:
        while True:
            town = rng.choice(self.geography.towns)
            if ((town.name, relation) in self.geography.held_out) == held_out:
                return town

    def _two_hop(self, rng: random.Random, *, held_out: bool) -> Sentence:
        relation = rng.choice(RELATIONS)
        town = self._town(rng, relation, held_out=held_out)
        return two_hop(town, relation, template=0 if rng.random() < 0.7 else 1, held_out=held_out)

    def _two_towns(self, rng: random.Random) -> Sentence:
        """Two towns at once: which pieces belong together cannot be told from the pieces alone.

        Measured on geography by itself after 750 steps: held-out answers 96 % with half of the two-hop sentences naming
        a second town, 93 % with a quarter.
        """
        relation = rng.choice(RELATIONS)
        town = self._town(rng, relation, held_out=False)
        other = rng.choice(self.geography.towns)
        which = rng.choice(("first", "second"))
        first, second = (town, other) if which == "first" else (other, town)
        return sentence(
            NAME, TWO_TOWNS, first=first.name, second=second.name, relation=relation, which=ORDINAL[which],
            answer=town.state.fact(relation),
            variables=_variables(town, relation) | {"form": "two towns", "which": which},
        )  # fmt: skip

    def _beside_another(self, rng: random.Random) -> Sentence:
        relation = rng.choice(RELATIONS)
        town, other = self._town(rng, relation, held_out=False), rng.choice(self.geography.towns)
        return sentence(
            NAME, rng.choice(BESIDE_ANOTHER), town=town.name, other=other.name, relation=relation,
            answer=town.state.fact(relation), variables=_variables(town, relation) | {"form": "beside another"},
        )  # fmt: skip


ORDINAL = {"first": "earlier", "second": "later"}
"""Words of their own: `first` and `last` are concepts of the lexicon."""


def in_state(town: Town) -> Sentence:
    variables = {"town": town.name, "state": town.state.name, "form": "in state"}
    return sentence(NAME, "{town} lies in {answer!} .", town=town.name, answer=town.state.name, variables=variables)


def state_fact(state: State, relation: str) -> Sentence:
    variables = {"state": state.name, "relation": relation, "form": "one hop"}
    return sentence(
        NAME, "the {relation} of {state} is {answer!} .", relation=relation, state=state.name,
        answer=state.fact(relation), variables=variables,
    )  # fmt: skip


def two_hop(town: Town, relation: str, *, template: int = 0, held_out: bool = False) -> Sentence:
    return sentence(
        NAME, TWO_HOP[template], relation=relation, town=town.name, answer=town.state.fact(relation),
        variables=_variables(town, relation) | {"form": "two hops"}, held_out=held_out,
    )  # fmt: skip


def _variables(town: Town, relation: str) -> dict[str, str]:
    return {
        "town": town.name,
        "state": town.state.name,
        "relation": relation,
        "answer": town.state.fact(relation),
    }
