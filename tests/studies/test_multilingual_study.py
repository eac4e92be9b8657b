"""Prompts of the study of languages: what is moved stands where it is said to, and there are enough of them."""

import random
import re

import pytest

from silverstain.organism.families.words import LANGUAGE_NAMES, antonym
from silverstain.organism.siblings import siblings
from silverstain.organism.world import LANGUAGES, default_lexicon
from silverstain.studies.multilingual import (
    BEHIND,
    LANGUAGE,
    OPERATION,
    WORD,
    case_of,
    language_of,
    operation_in,
    wording_of,
)
from silverstain.studies.protocol import Case


@pytest.mark.parametrize("world", ["general", "composing"])
@pytest.mark.parametrize("language", range(len(LANGUAGES)))
def test_the_word_is_where_it_is_said_to_be(world: str, language: int):
    pairs = operation_in(language, wording_of(siblings()[world])).draw(60, 0)
    words = {concept.words[0]: concept.words for concept in default_lexicon().concepts}
    for pair in pairs:
        first, end = pair.base.spans[WORD]
        assert pair.base.text[first:end] == words[pair.base.combination][language]
        assert pair.base.value != pair.donor.value
        assert not pair.counterfactual & pair.base.answers
        asked = said_at(pair.base, OPERATION)
        assert asked in ANTONYMS if pair.base.value == "antonym" else asked.startswith(("syn", "sin"))
        assert said_at(pair.base, BEHIND) == ("of" if language == 0 else "de")
        assert LANGUAGE not in pair.base.spans, "the question is in the language of its answer"


def test_a_language_that_is_asked_for_has_a_place():
    for pair in language_of().draw(60, 0):
        assert said_at(pair.base, OPERATION) in ANTONYMS
        spoken, named = pair.base.text.split()[0], said_at(pair.base, LANGUAGE)
        names = dict(zip(("the", "le", "lo"), LANGUAGE_NAMES, strict=True))[spoken]
        assert LANGUAGES[names.index(named)] == pair.base.value


ANTONYMS = ("opposite", "contraire", "contrario")


def said_at(case: Case, place: str) -> str:
    first, end = case.spans[place]
    return case.text[first:end]


def test_where_words_are_said_by_somebody_there_are_many_prompts_of_each():
    said, plain = (
        {pair.base.text for pair in operation_in(0, wording_of(siblings()[world])).draw(300, 0)}
        for world in ("composing", "general")
    )
    assert all(" says " in text for text in said)
    assert not any(" says " in text for text in plain)
    assert len(said) > 250 > 150 > len(plain)


def test_a_word_before_a_comma_is_found_and_part_of_another_is_not():
    family, rng = siblings()["composing"].families()["words"], random.Random(0)
    concept = default_lexicon().concepts[0]
    word = concept.words[0]
    made = family.said(rng, antonym(default_lexicon(), concept, 0))  # type: ignore[attr-defined]
    first, end = case_of(made, word, "x", "y").spans[WORD]
    assert re.fullmatch(r"\w+", made.prompt[first:end])
    assert made.prompt[end] in ", "
    with pytest.raises(AssertionError, match="'ho' is not in"):
        case_of(antonym(default_lexicon(), next(c for c in default_lexicon().concepts if c.words[0] == "hot"), 0),
                "ho", "x", "y")  # fmt: skip
