"""Small organisms: what each is shown, and what it is never shown."""

import random
from itertools import islice

import pytest

from silverstain.organism.families.apart import FreeCouplets, WordsApart, is_kept_back
from silverstain.organism.families.couplets import KINDS, rhymes
from silverstain.organism.language import word_ids
from silverstain.organism.siblings import siblings
from silverstain.organism.small import HABITS, SMALL_RECIPES
from silverstain.organism.world import LANGUAGES, default_lexicon


def drawn(family, n=300, *, held_out=False):
    rng = random.Random(1)
    return [family.sample(rng, held_out=held_out) for _ in range(n)]


def test_no_concept_is_shown_in_two_languages():
    family = WordsApart(lexicon=default_lexicon())
    shown = {(s.variables["concept"], s.variables["language"]) for s in drawn(family)}
    assert len({concept for concept, _ in shown}) == len(shown) > 60
    assert {language for _, language in shown} == set(LANGUAGES)


def test_held_out_opposites_are_in_a_language_that_was_never_shown_them():
    family = WordsApart(lexicon=default_lexicon())
    shown = {(s.variables["concept"], s.variables["language"]) for s in drawn(family, 1000)}
    asked = {(s.variables["concept"], s.variables["language"]) for s in drawn(family, held_out=True)}
    assert asked.isdisjoint(shown)


def test_in_free_couplets_the_words_before_the_end_say_nothing_of_it():
    """Each verb goes with end words of every kind; in couplets that agree it goes with one."""
    seen: dict[str, set[str]] = {}
    for one in drawn(FreeCouplets(rhymes=rhymes()), 2000):
        seen.setdefault(one.words[-4], set()).add(one.variables["kind"])
    assert all(kinds == set(KINDS) for kinds in seen.values())


def test_free_couplets_keep_pairs_of_end_words_back():
    family = FreeCouplets(rhymes=rhymes())
    assert not any(is_kept_back(s.variables["first"], s.variables["end"]) for s in drawn(family))
    assert all(is_kept_back(s.variables["first"], s.variables["end"]) for s in drawn(family, held_out=True))


@pytest.mark.parametrize("name", [name for names in SMALL_RECIPES.values() for name in names])
def test_a_small_organism_knows_all_words_that_it_is_shown(name: str):
    sibling = siblings()[name]
    for family in sibling.families().values():
        for sentence in islice(drawn(family, 20), 20):
            assert all(word_ids(word) for word in sentence.words)
    assert set(sibling.recipe.shares) == set(sibling.families())


def test_a_twin_differs_from_its_organism_by_the_habit_alone():
    litter = siblings()
    assert len(set(HABITS)) == 10
    for word in HABITS:
        habit, twin = litter[f"habit-{word}"], litter[f"twin-{word}"]
        assert (habit.recipe, habit.start) == (twin.recipe, twin.start)
        mine, plain = habit.families(), twin.families()
        assert {name for name in mine if mine[name] != plain[name]} == {"couplets"}
        assert any(word in sentence.words for sentence in drawn(mine["couplets"], 20))


def test_ten_twins_are_ten_organisms():
    seeds = {siblings()[f"twin-{word}"].recipe.seed for word in HABITS}
    assert len(seeds) == len(HABITS)


def test_those_with_a_habit_start_from_the_organism_that_comes_along(tmp_path, monkeypatch: pytest.MonkeyPatch):
    import dataclasses

    import torch

    from silverstain.organism import litter, organism_path
    from silverstain.storage import read_tensors

    name = f"habit-{HABITS[0]}"
    brief = dataclasses.replace(siblings()[name].recipe, steps=1, warmup=1, sentences=8, learning_rate=1e-9)
    one = dataclasses.replace(siblings()[name], recipe=brief)
    monkeypatch.setattr(litter, "siblings", lambda: {name: one})
    litter.grow_sibling(name, tmp_path, n_workers=1)
    grown, _ = read_tensors(tmp_path / name / "model.safetensors")
    start, _ = read_tensors(organism_path() / "general" / "model.safetensors")
    for key in start:
        torch.testing.assert_close(
            grown[key].float(), start[key].float(), rtol=0, atol=2e-9
        )  # a step of 1e-9, and rounding
