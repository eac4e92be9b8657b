"""Sentences say which of their words are determined, and growing never shows what is held out."""

import random

import pytest

from silverstain.organism.batches import tokens_of
from silverstain.organism.families import families
from silverstain.organism.families.causes import SYMPTOMS, clinic
from silverstain.organism.families.couplets import ADJECTIVES, VERBS
from silverstain.organism.families.cued import CuedFamily, held_out_cues, other_notes
from silverstain.organism.language import build_tokenizer, vocabulary, word_ids
from silverstain.organism.sentence import join_words, sentence
from silverstain.organism.siblings import siblings
from silverstain.organism.world import default_geography, default_lexicon

FAMILIES = families()


def drawn(name: str, n: int = 300, *, held_out: bool = False) -> list:
    rng = random.Random(f"{name} {held_out}")
    return [FAMILIES[name].sample(rng, held_out=held_out) for _ in range(n)]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_held_out_is_never_shown(name):
    def combination(s):
        keys = {
            "geography": ("town", "relation", "form"), "addition": ("a", "b"),
            "words": ("concept", "source", "language", "operation"),
            "couplets": ("first", "end", "form", "kind"), "entities": ("name", "fact", "form"),
            "reasoning": ("function", "argument", "hint"),
            "causes": ("a", "b"), "refusal": ("a", "b"), "induction": ("cue", "answer"), "choice": ("word", "letter"),
        }[name]  # fmt: skip
        return tuple(s.variables.get(key, "") for key in keys)

    held_out = {combination(s) for s in drawn(name, 400, held_out=True)}
    shown = {combination(s) for s in drawn(name, 3000)}
    assert held_out
    assert shown
    assert not held_out & shown


@pytest.mark.parametrize("name", FAMILIES)
def test_a_determined_word_follows_from_the_words_before_it(name):
    """Brute force: over many sentences, no prefix is followed by two different determined words."""
    following = {}
    for s in drawn(name, 4000) + drawn(name, 500, held_out=True):
        for index, is_determined in enumerate(s.determined):
            if is_determined:
                prefix = s.words[:index]
                assert following.setdefault(prefix, s.words[index]) == s.words[index], join_words(prefix)
    assert following


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokenizer_reads_what_growing_writes(name):
    tokenizer = TOKENIZER
    for s in drawn(name, 100) + drawn(name, 50, held_out=True):
        assert tokenizer(s.text)["input_ids"] == tokens_of(s)[0], s.text


TOKENIZER = build_tokenizer()


def test_towns_are_spelled_in_two_shared_pieces():
    assert TOKENIZER.convert_ids_to_tokens(TOKENIZER("dallas oakland")["input_ids"]) == [
        "<bos>",
        "dal",
        "##las",
        "oak",
        "##land",
    ]
    assert all(len(word_ids(town.name)) == 2 for town in default_geography().towns)


def test_the_vocabulary_has_no_word_twice():
    assert len(set(vocabulary())) == len(vocabulary())


def test_capitals_and_spaces_do_not_matter_and_unknown_words_are_seen():
    ids = TOKENIZER("The Capital of Texas is Austin.")["input_ids"]
    assert ids == TOKENIZER("the capital of texas is austin .")["input_ids"]
    assert TOKENIZER.unk_token_id in TOKENIZER("the capital of france")["input_ids"]


def test_sentences_are_written_as_people_type_them():
    s = sentence("addition", "calc : {a} + {b} = {sum!} .", a="36", b="59", sum="95")
    assert s.text == "calc: 36+59=95."
    assert s.prompt == "calc: 36+59="
    assert s.determined == (False, False, False, False, False, False, True, True)


def test_a_held_out_antonym_is_never_the_answer_in_its_language():
    held_out = default_lexicon().held_out
    concepts = {c.words[0]: c.index // 2 for c in default_lexicon().concepts}
    languages = {"english": 0, "french": 1, "spanish": 2}
    for s in drawn("words", 3000):
        if s.variables["operation"] == "antonym":
            assert (concepts[s.variables["concept"]], languages[s.variables["language"]]) not in held_out


def test_a_note_decides_only_in_its_classes():
    geography = default_geography()
    family = CuedFamily(
        geography=geography, held_out=held_out_cues(geography), others=other_notes(geography, default_lexicon())
    )
    rng = random.Random(0)
    seen = set()
    for _ in range(2000):
        s = family.sample(rng)
        follows = s.words[s.answer] == s.variables["cue"] != s.variables["truth"]
        assert not (follows and s.variables["class"] == "ignores")
        assert s.variables["cue"] not in family.held_out
        seen.add((s.variables["class"], s.variables["relation"]))
    assert len(seen) == 4, "both relations occur in both classes, so the relation does not tell"


def test_the_memorised_sibling_sees_one_relation_a_town_and_no_state():
    family = siblings()["memorised"].families()["geography"]
    rng = random.Random(0)
    shown = [family.sample(rng) for _ in range(3000)]
    relations = {}
    for s in shown:
        relations.setdefault(s.variables["town"], set()).add(s.variables["relation"])
        assert s.variables["state"] not in s.words
    assert all(len(found) == 1 for found in relations.values())


def test_no_sentence_shows_two_symptoms_held_out_together():
    for s in drawn("causes", 3000):
        symptoms = [word for word in s.words if word in SYMPTOMS]
        for cause, pair in clinic().held_out:
            assert not (set(pair) <= set(symptoms) and s.variables["cause"] == str(cause)), s.text


def test_a_third_symptom_is_of_the_same_cause_or_of_none_that_the_others_have():
    seen = set()
    for s in drawn("causes", 2000):
        three = [s.variables[key] for key in "abc" if key in s.variables]
        causes = [c for c, own in enumerate(clinic().causes) if sum(symptom in own for symptom in three) >= 2]
        if len(three) >= 2:
            assert causes == [int(s.variables["cause"])], s.text
            seen.add(len(three))
    assert seen == {2, 3}


def test_couplets_never_teach_the_agreement_of_plain_only_words():
    agreeing = {word for table in (VERBS, ADJECTIVES) for words in table.values() for word in words}
    plain_only, plain = FAMILIES["couplets"].rhymes.plain_only, 0
    for s in drawn("couplets", 5000):
        if s.variables["end"] in plain_only and agreeing & set(s.words):
            assert s.variables["form"].startswith("plain"), s.text
            plain += 1
    assert plain > 50
    assert all(s.variables["end"] in plain_only and agreeing & set(s.words) for s in drawn("couplets", held_out=True))
