"""The prompts of pretrained studies: each pair differs in one thing, and halves share nothing that is asked about."""

from collections.abc import Iterable

import pytest

from silverstain.studies.pretrained import families, nouns, reference
from silverstain.studies.pretrained.facts import CAPITALS, CITIES, CURRENCIES, LANGUAGES
from silverstain.studies.pretrained.pairs import HALVES, PromptPair, halves

FAMILIES = families()
FEWER = {"article-from-clue": 84, "currency": 80, "pronoun-of-kin": 48}
"""Families with fewer pairs in a half."""


def words_apart(pair: PromptPair) -> int:
    """In how many words the prompts of a pair differ; -1 where they have different numbers of words."""
    one, other = pair.base.prompt.split(" "), pair.contrast.prompt.split(" ")
    return sum(a != b for a, b in zip(one, other, strict=True)) if len(one) == len(other) else -1


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "article-from-clue"])
def test_the_prompts_of_a_pair_differ_in_one_word(name: str):
    for half in HALVES:
        assert {words_apart(pair) for pair in FAMILIES[name].draw(half, 60)} == {1}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_half_has_a_hundred_pairs_of_different_answers_that_are_all_choices(name: str):
    family = FAMILIES[name]
    for half in HALVES:
        pairs = family.draw(half, 100)
        assert len(pairs) >= FEWER.get(name, 100)
        for pair in pairs:
            assert not set(pair.base.answers) & set(pair.contrast.answers)
            assert {*pair.base.answers, *pair.contrast.answers} <= set(family.choices)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_prompt_is_in_both_halves(name: str):
    found = [{s.prompt for pair in FAMILIES[name].pairs(half) for s in (pair.base, pair.contrast)} for half in HALVES]
    assert found[0].isdisjoint(found[1])


@pytest.mark.parametrize("name", ["capital", "currency", "language", "capital-of-city", "language-of-city"])
def test_the_halves_of_facts_share_no_country_and_no_city(name: str):
    def asked_about(pairs: Iterable[PromptPair]) -> set[str]:
        (variable,) = {key for pair in pairs for key in pair.variables if key != "template"}
        return {one for pair in pairs for one in pair.variables[variable].split(" | ")}

    development, test = (asked_about(FAMILIES[name].pairs(half)) for half in HALVES)
    assert development.isdisjoint(test)
    assert development | test <= {*CAPITALS, *CURRENCIES, *LANGUAGES, *CITIES}


@pytest.mark.parametrize(
    ("name", "variable"),
    [("pronoun", "name"), ("reflexive", "name"), ("pronoun-of-kin", "name"), ("reflexive-number", "noun"),
     ("tense", "subject"), ("question-mark", "subject"), ("agreement-across-clause", "noun"),
     ("noun-number", "determiner"), ("relative-pronoun", "noun"), ("closing-bracket", "variable"),
     ("closing-bracket", "inside")],
)  # fmt: skip
def test_the_halves_of_grammar_share_no_name_and_no_noun(name: str, variable: str):
    development, test = (
        {one for pair in FAMILIES[name].pairs(half) for one in pair.variables[variable].split(" | ")} for half in HALVES
    )
    assert development
    assert development.isdisjoint(test)


@pytest.mark.parametrize("name", ["pronoun", "reflexive", "pronoun-of-kin"])
def test_hers_and_his_are_answered_by_the_name(name: str):
    women = {*reference.WOMEN, *reference.KIN.values()}
    for pair in FAMILIES[name].pairs("test"):
        for side, named in zip((pair.base, pair.contrast), pair.variables["name"].split(" | "), strict=True):
            assert f" {named} " in f" {side.prompt} "
            assert side.answers[0] in ((" she", " herself") if named in women else (" he", " himself"))


def test_nouns_are_of_the_number_that_the_word_before_says():
    for pair in FAMILIES["noun-number"].draw("test", 50):
        for side, word in zip((pair.base, pair.contrast), pair.variables["determiner"].split(" | "), strict=True):
            assert f" {word} " in side.prompt
            assert (" books" in side.answers) == (word in nouns.OF_SEVERAL) != (" book" in side.answers)


def test_people_are_referred_to_by_who_and_things_by_which():
    for pair in FAMILIES["relative-pronoun"].draw("test", 50):
        for side, noun in zip((pair.base, pair.contrast), pair.variables["noun"].split(" | "), strict=True):
            assert f" {noun}," in side.prompt
            assert side.answers == ((" who",) if noun in nouns.PEOPLE else (" which",))


def test_a_list_is_closed_by_what_opened_it():
    for pair in FAMILIES["closing-bracket"].draw("test", 50):
        for side in (pair.base, pair.contrast):
            opened = next(one for one in "[({" if one in side.prompt)
            assert side.answers == ({"[": "]", "(": ")", "{": "}"}[opened],)


def test_the_prompts_are_the_same_whenever_they_are_drawn():
    first, again = (families()["agreement"].draw("test", 5, seed=3) for _ in range(2))
    assert first == again != families()["agreement"].draw("test", 5, seed=4)


def test_later_years_ask_for_what_only_one_of_the_two_years_allows():
    for pair in FAMILIES["later-year"].draw("test", 50):
        early, late = (int(text) for text in pair.variables["tens"].split(" | "))
        answers = {pair.base.answers, pair.contrast.answers}
        assert answers == {tuple(map(str, range(early, late))), tuple(map(str, range(late, 10)))}


def test_halves_are_half():
    found = halves(range(10), "any")
    assert [len(found[half]) for half in HALVES] == [5, 5]
    assert sorted((*found["development"], *found["test"])) == list(range(10))
