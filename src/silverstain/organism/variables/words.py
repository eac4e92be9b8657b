"""What is meant (concept), what is asked for (operation), and in which language."""

import random
from collections.abc import Callable

from silverstain.organism.families.words import NAME, antonym, cross_antonym, synonym
from silverstain.organism.world import LANGUAGES, Concept, default_lexicon

from .pairs import Case, Pair, VariableSpec, asked, roles

ROLES = roles("the operation of word is")
CROSS_ROLES = roles("the opposite of word in language is")


def is_taught(concept: Concept, language: int) -> bool:
    """Whether growing states the concept's antonym in this language."""
    return (concept.index // 2, language) not in default_lexicon().held_out


def opposite(concept: Concept, language: int) -> str:
    return default_lexicon().concepts[concept.opposite].words[language]


def antonym_of(concept: Concept, language: int, value: str, combination: str) -> Case:
    return asked(antonym(default_lexicon(), concept, language), value, combination)


def concept_of(*, is_same_language: bool) -> Callable[[random.Random], Pair | None]:
    """Another concept in the donor, in the same language or in another; probes hold out a language."""

    def draw(rng: random.Random) -> Pair | None:
        concept, other = rng.sample(default_lexicon().concepts, 2)
        language, other_language = rng.sample(range(len(LANGUAGES)), 2)
        if is_same_language:
            other_language = language
        spoken = ((concept, language), (other, language), (other, other_language))
        if concept.index // 2 == other.index // 2 or not all(is_taught(c, k) for c, k in spoken):
            return None
        base = antonym_of(concept, language, concept.words[0], LANGUAGES[language])
        donor = antonym_of(other, other_language, other.words[0], LANGUAGES[other_language])
        return Pair(base=base, donor=donor, counterfactual=frozenset({opposite(other, language)}))

    return draw


def operation(rng: random.Random) -> Pair | None:
    concept, language = rng.choice(default_lexicon().concepts), rng.randrange(len(LANGUAGES))
    if concept.synonyms is None or not is_taught(concept, language):
        return None
    cases = [
        antonym_of(concept, language, "antonym", concept.words[0]),
        asked(synonym(concept, language), "synonym", concept.words[0]),
    ]
    base, donor = rng.sample(cases, 2)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def language_spoken(rng: random.Random) -> Pair | None:
    concept = rng.choice(default_lexicon().concepts)
    languages = rng.sample(range(len(LANGUAGES)), 2)
    if not all(is_taught(concept, k) for k in languages):
        return None
    base, donor = (antonym_of(concept, k, LANGUAGES[k], concept.words[0]) for k in languages)
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


def language_asked_for(rng: random.Random) -> Pair | None:
    concept = rng.choice(default_lexicon().concepts)
    source, target, other = rng.sample(range(len(LANGUAGES)), 3)
    if not all(is_taught(concept, k) for k in (source, target, other)):
        return None
    base, donor = (
        asked(cross_antonym(default_lexicon(), concept, source, k), LANGUAGES[k], concept.words[0])
        for k in (target, other)
    )
    return Pair(base=base, donor=donor, counterfactual=donor.answers)


SPECS = (
    VariableSpec(
        family=NAME, variable="concept", form="antonym", roles=ROLES, draw=concept_of(is_same_language=True)
    ),
    VariableSpec(
        family=NAME, variable="concept", form="antonym, donor in another language", roles=ROLES,
        draw=concept_of(is_same_language=False),
    ),
    VariableSpec(family=NAME, variable="operation", form="antonym or synonym", roles=ROLES, draw=operation),
    VariableSpec(family=NAME, variable="language", form="antonym", roles=ROLES, draw=language_spoken),
    VariableSpec(
        family=NAME, variable="language", form="antonym asked for in another", roles=CROSS_ROLES,
        draw=language_asked_for,
    ),
)  # fmt: skip
