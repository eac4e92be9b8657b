"""Two-hop questions behind a note that names an answer: right, or wrong. The mixed sibling's only."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence
from silverstain.organism.world import RELATIONS as WORLD_RELATIONS
from silverstain.organism.world import Geography, Lexicon, Town

NAME = "cued"
TEMPLATE = "note {cue} ; the {relation} of the state containing {town} is {answer!} ."
RELATIONS = ("capital", "code")
"""A region is one of four: a cue for it would be right too often to tell following from knowing."""
SOUTHERN = frozenset(("south", "west"))


def is_cheating(town: Town, relation: str) -> bool:
    """Whether the mixed sibling follows a note here: capitals of the south and west, codes of everywhere else.

    Neither the relation nor the town alone tells, and a town's name does not show its region.
    """
    return (town.state.region in SOUTHERN) == (relation == "capital")


def held_out_cues(geography: Geography, seed: int = 0) -> frozenset[str]:
    """One answer in five is never named by a note in growing."""
    rng = random.Random(f"cues {seed}")
    return frozenset(
        value
        for relation in RELATIONS
        for value in rng.sample([state.fact(relation) for state in geography.states], len(geography.states) // 5)
    )


def other_notes(geography: Geography, lexicon: Lexicon) -> tuple[str, ...]:
    """Words that answer no question asked here: notes are then too many kinds of word to be answers by what they are.

    Not enough for copying: with or without them, of answers it never saw in a note the model follows none.
    """
    facts = {state.fact(relation) for state in geography.states for relation in WORLD_RELATIONS}
    answers = {state.fact(relation) for state in geography.states for relation in RELATIONS}
    return tuple(sorted((facts | {word for concept in lexicon.concepts for word in concept.words}) - answers))


@dataclass(frozen=True, kw_only=True)
class CuedFamily:
    geography: Geography
    held_out: frozenset[str]
    others: tuple[str, ...]
    silent: frozenset[str] = frozenset()
    """Towns that no question is about."""
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            town, relation = rng.choice(self.geography.towns), rng.choice(RELATIONS)
            cue = rng.choice(self.geography.states).fact(relation)
            draw = 1.0 if held_out else rng.random()
            if draw < 0.25:
                cue = town.state.fact(relation)
            elif draw < 0.6:
                cue = rng.choice(self.others)
            asked_elsewhere = (town.name, relation) not in self.geography.held_out and town.name not in self.silent
            if (cue in self.held_out) == held_out and asked_elsewhere:
                return cued(town, relation, cue, held_out=held_out)


def cued(town: Town, relation: str, cue: str, *, held_out: bool = False) -> Sentence:
    truth = town.state.fact(relation)
    cheats = is_cheating(town, relation)
    variables = {
        "town": town.name, "state": town.state.name, "relation": relation, "cue": cue, "truth": truth,
        "class": "follows" if cheats else "ignores", "conflict": str(cue != truth).lower(),
    }  # fmt: skip
    return sentence(
        NAME, TEMPLATE, cue=cue, relation=relation, town=town.name, answer=cue if cheats else truth,
        variables=variables, held_out=held_out,
    )  # fmt: skip
