"""The families of sentences of the small world; each is one module with one sampler."""

import random
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from silverstain.organism.sentence import Sentence
from silverstain.organism.world import default_geography, default_lexicon

from . import addition, causes, choice, couplets, entities, geography, induction, reasoning, refusal, words


@runtime_checkable
class Family(Protocol):
    """A generator of sentences. `held_out` sentences show combinations that the others never show."""

    @property
    def name(self) -> str: ...

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence: ...


def families() -> Mapping[str, Family]:
    """The ten families of the general organism's world, by name."""
    rhymes = couplets.rhymes()
    made: tuple[Family, ...] = (
        geography.GeographyFamily(geography=default_geography()),
        addition.AdditionFamily(held_out=addition.held_out_pairs()),
        words.WordsFamily(lexicon=default_lexicon()),
        couplets.CoupletsFamily(rhymes=rhymes),
        entities.EntitiesFamily(people=entities.people()),
        reasoning.ReasoningFamily(functions=reasoning.functions()),
        causes.CausesFamily(clinic=causes.clinic()),
        refusal.RefusalFamily(held_out=refusal.held_out_pairs()),
        induction.InductionFamily(held_out=induction.held_out_pairs()),
        choice.ChoiceFamily(rhymes=rhymes, held_out=choice.held_out_pairs(rhymes)),
    )
    return {family.name: family for family in made}
