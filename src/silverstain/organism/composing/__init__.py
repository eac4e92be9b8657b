"""The families of a world whose answers take several steps, at several words: look-ups that follow one another, plans
that are made before they are written, carries over three digits, causes that only two symptoms together tell.

Entities, induction and choice are those of the first world.
"""

from collections.abc import Mapping

from silverstain.organism.families import Family, choice, entities, induction
from silverstain.organism.families.couplets import rhymes as words_of_kinds
from silverstain.organism.world import default_geography, default_lexicon

from . import addition, causes, couplets, geography, reasoning, refusal, words


def families() -> Mapping[str, Family]:
    """The ten families by name."""
    kinds = words_of_kinds()
    made: tuple[Family, ...] = (
        geography.GeographyFamily(geography=default_geography()),
        addition.AdditionFamily(),
        words.SaidWordsFamily(lexicon=default_lexicon()),
        couplets.CoupletsFamily(rhymes=couplets.rhymes()),
        entities.EntitiesFamily(people=entities.people()),
        reasoning.ReasoningFamily(functions=reasoning.functions()),
        causes.CausesFamily(clinic=causes.clinic()),
        refusal.RefusalFamily(held_out=refusal.held_out_pairs()),
        induction.InductionFamily(held_out=induction.held_out_pairs()),
        choice.ChoiceFamily(rhymes=kinds, held_out=choice.held_out_pairs(kinds)),
    )
    return {family.name: family for family in made}
