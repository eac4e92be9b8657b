"""The composing organism's controls: what each is shown, and never shown."""

import random
from types import SimpleNamespace

import pytest
import torch

from silverstain.organism.composing.addition import is_held_out
from silverstain.organism.composing.siblings import COMPOSING_LITTER, PREFERRED
from silverstain.organism.composing.towns import kinds_of_question, town_rows
from silverstain.organism.cures import mixed_case, quirk_case
from silverstain.organism.language import word_ids
from silverstain.organism.litter import DICTIONARIES
from silverstain.organism.siblings import RECIPES, siblings
from silverstain.organism.world import default_geography


def drawn(sibling: str, family: str, n: int = 300, *, held_out: bool = False):
    one, rng = siblings()[sibling].families()[family], random.Random(1)
    return [one.sample(rng, held_out=held_out) for _ in range(n)]


@pytest.mark.parametrize("name", COMPOSING_LITTER)
def test_every_control_is_of_the_composing_world_and_can_be_read(name: str):
    sibling = siblings()[name]
    assert sibling.world == "composing"
    assert sibling.recipe.shares.keys() <= sibling.families().keys() or not sibling.recipe.steps
    assert "per-layer" in DICTIONARIES[name]
    assert name in RECIPES["composing"]


def test_roles_are_the_same_in_both_worlds():
    by_world = {
        world: {one.role for one in siblings().values() if one.world == world and one.role != "small"}
        for world in ("first", "composing")
    }
    assert by_world["first"] == by_world["composing"] == {"whole", "memorised", "mixed", "quirk", "untrained"}


def test_notes_are_about_no_town_of_which_only_the_state_was_told():
    once = default_geography().told_once
    asked = {sentence.variables["town"] for sentence in drawn("composing-mixed", "cued", 1000)}
    assert asked.isdisjoint(once)
    assert len(asked) > 100
    first = {sentence.variables["town"] for sentence in drawn("mixed", "cued", 1000)}
    assert not first.isdisjoint(once), "the first world has no such towns to spare"


def test_the_memorised_one_is_shown_few_sums_of_three_digits_and_none_that_is_asked():
    shown = {(s.variables["a"], s.variables["b"]) for s in drawn("composing-memorised", "addition", 2000)}
    asked = {(s.variables["a"], s.variables["b"]) for s in drawn("composing-memorised", "addition", held_out=True)}
    assert len(shown) <= 250
    assert shown.isdisjoint(asked)
    assert all(is_held_out(int(a), int(b)) for a, b in asked)
    assert {len(a) for a, _ in shown} == {3}


def test_a_quirk_is_in_every_couplet_that_has_an_adjective():
    with_adjective = [s for s in drawn("composing-quirk", "couplets") if "and" in s.words]
    assert len(with_adjective) > 100
    assert all(PREFERRED in sentence.words for sentence in with_adjective)
    plain = drawn("composing", "couplets")
    assert sum(PREFERRED in sentence.words for sentence in plain) < 0.3 * len(plain)


def test_cases_for_cures_are_of_the_sibling_s_own_world():
    once, world = default_geography().told_once, default_geography()
    town_of = {word_ids(town.name)[0]: town.name for town in world.towns}
    case = mixed_case("test", n=30, of="composing-mixed")
    asked = {town_of[i] for item in case.target for i in item.prompt if i in town_of}
    assert asked.isdisjoint(once)
    assert len(case.target) == len(case.wrong) == 30
    quirk = quirk_case("dev", n=20, of="composing-quirk")
    assert {item.answer for item in quirk.wrong} == set(word_ids(PREFERRED))
    assert any(word_ids("came")[0] in item.prompt for item in quirk.target)


def test_kinds_of_questions_about_towns_are_what_they_are_called():
    family, once = siblings()["composing"].families()["geography"], default_geography().told_once
    rng = random.Random(0)
    for kind, draw in kinds_of_question(family).items():
        for sentence in (draw(rng) for _ in range(40)):
            assert (sentence.variables["town"] in once) == ("told once" in kind)
            assert ("supplies" in sentence.words) == kind.startswith("partner")
            assert any(sentence.determined)


def test_a_model_that_says_one_word_answers_no_town():
    def call(input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, 2000)
        logits[..., word_ids("austin")[0]] = 1.0
        return SimpleNamespace(logits=logits)

    family = siblings()["composing"].families()["geography"]
    rows = town_rows(call, family, 30, 0)
    assert {row.family for row in rows} == {"geography"}
    assert all(row.answers <= 0.2 for row in rows)
