"""What somebody said, who is asked about, and in which language the answer is to be."""

import dataclasses
import random

from silverstain.organism.composing import words
from silverstain.organism.families.words import NAME, antonym, cross_antonym
from silverstain.organism.variables.pairs import Case, Pair, VariableSpec, roles
from silverstain.organism.world import LANGUAGES, Concept, default_lexicon

SAID_ROLES = roles(
    "first-speaker says first-word , second-speaker says second-word , the opposite of what speaker says is"
)
SAID_IN_ROLES = roles(
    "first-speaker says first-word , second-speaker says second-word , the opposite of what speaker says in language is"
)


def said(
    speakers: tuple[str, str],
    concepts: tuple[Concept, Concept],
    who: int,
    language: int,
    target: int | None,
    value: str,
) -> Case:
    """The opposite of what one of two said, in the language spoken or in another."""
    lexicon = default_lexicon()
    concept = concepts[who]
    if target is None:
        made = antonym(lexicon, concept, language)
    else:
        made = cross_antonym(lexicon, concept, language, target)
    lines = [
        f"{words.SAYS[language].format(who=one, word=of.words[language])} ,"
        for one, of in zip(speakers, concepts, strict=True)
    ]
    place = made.words.index(concept.words[language])
    what = words.WHAT[language].format(who=speakers[who]).split()
    shown = (*" ".join(lines).split(), *made.words[:place], *what, *made.words[place + 1 : made.answer])
    return Case(words=shown, value=value, combination=LANGUAGES[language], answers=frozenset({made.words[made.answer]}))


def _drawn_concepts(rng: random.Random, n: int) -> list[Concept]:
    pairs = rng.sample(range(len(default_lexicon().concepts) // 2), n)
    return [default_lexicon().concepts[2 * pair + rng.randrange(2)] for pair in pairs]


def concept_said(rng: random.Random) -> Pair | None:
    """Something else was said by who is asked about: the first or the second, so that no place holds it. The donor's
    opposite is asked for in another language. What one of the places tells is tried on the other."""
    lexicon = default_lexicon()
    own, beside, other, beside_other = _drawn_concepts(rng, 4)
    target, donor_target = rng.sample((1, 2), 2)
    taught = [(own, 0), (own, target), (other, 0), (other, target), (other, donor_target)]
    if any((concept.index // 2, language) in lexicon.held_out for concept, language in taught):
        return None
    first, second = rng.sample(words.SPEAKERS, 2)
    who, donors_who = rng.randrange(2), rng.randrange(2)
    ours = (own, beside) if who == 0 else (beside, own)
    theirs = (other, beside_other) if donors_who == 0 else (beside_other, other)
    base = said((first, second), ours, who, 0, target, own.words[0])
    donor = said((first, second), theirs, donors_who, 0, donor_target, other.words[0])
    wanted = lexicon.concepts[other.opposite].words[target]
    if wanted in base.answers | donor.answers:
        return None
    pair = Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))
    return _grouped(pair, f"{own.words[0]} {who}", f"{other.words[0]} {donors_who}")


def language_asked_for(rng: random.Random) -> Pair | None:
    """The donor is asked for the opposite of something else."""
    lexicon = default_lexicon()
    own, beside, other, beside_other = _drawn_concepts(rng, 4)
    target, donor_target = rng.sample((1, 2), 2)
    taught = [(own, 0), (own, 1), (own, 2), (other, 0), (other, donor_target)]
    if any((concept.index // 2, language) in lexicon.held_out for concept, language in taught):
        return None
    first, second = rng.sample(words.SPEAKERS, 2)
    base = said((first, second), (own, beside), 0, 0, target, LANGUAGES[target])
    donor = said((first, second), (other, beside_other), 0, 0, donor_target, LANGUAGES[donor_target])
    wanted = lexicon.concepts[own.opposite].words[donor_target]
    pair = Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))
    return None if wanted in base.answers | donor.answers else _grouped(pair, own.words[0], other.words[0])


def who_is_asked_about(rng: random.Random) -> Pair | None:
    """Which of two speakers; in the donor both said something else."""
    lexicon = default_lexicon()
    ours, theirs = _drawn_concepts(rng, 2), _drawn_concepts(rng, 2)
    if any((concept.index // 2, 0) in lexicon.held_out for concept in (*ours, *theirs)):
        return None
    first, second = rng.sample(words.SPEAKERS, 2)
    who = rng.randrange(2)
    base = said((first, second), (ours[0], ours[1]), who, 0, None, ("first", "second")[who])
    donor = said((first, second), (theirs[0], theirs[1]), 1 - who, 0, None, ("first", "second")[1 - who])
    wanted = lexicon.concepts[ours[1 - who].opposite].words[0]
    pair = Pair(base=base, donor=donor, counterfactual=frozenset({wanted}))
    return None if wanted in base.answers | donor.answers else _grouped(pair, first + second, first + second)


def _grouped(pair: Pair, base: str, donor: str) -> Pair:
    """The pair with what probes hold out together."""
    return dataclasses.replace(
        pair,
        base=dataclasses.replace(pair.base, combination=base),
        donor=dataclasses.replace(pair.donor, combination=donor),
    )


SPECS = (
    VariableSpec(family=NAME, variable="concept", form="what somebody said", roles=SAID_IN_ROLES, draw=concept_said),
    VariableSpec(family=NAME, variable="language", form="asked for", roles=SAID_IN_ROLES, draw=language_asked_for),
    VariableSpec(family=NAME, variable="speaker", form="asked about", roles=SAID_ROLES, draw=who_is_asked_about),
)
