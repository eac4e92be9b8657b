"""Growing: the same whatever the number of workers, and whether or not it was interrupted."""

import dataclasses
import signal
from pathlib import Path

import pytest
import torch

from silverstain.organism.families import families
from silverstain.organism.files import load_organism_model
from silverstain.organism.growing import current_shares, grow, is_grown, learning_rate, save_checkpoint
from silverstain.organism.litter import grow_sibling
from silverstain.organism.recipe import Recipe, Shape
from silverstain.organism.siblings import RECIPES, siblings

TINY = Recipe(
    shape=Shape(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2), steps=6,
    sentences=16,
    groups=2, warmup=2,
)  # fmt: skip


TIED = dataclasses.replace(
    TINY, shape=dataclasses.replace(TINY.shape, tie_word_embeddings=True), muon=10.0, weight_decay=0.1,
    embedding_scale=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return grow(families(), TINY, tmp_path_factory.mktemp("whole"), n_workers=1).state_dict()


def test_two_workers_give_the_weights_of_one(uninterrupted, tmp_path):
    grown = grow(families(), TINY, tmp_path, n_workers=2).state_dict()
    for name, value in uninterrupted.items():
        assert torch.equal(grown[name], value), name


@pytest.mark.parametrize("recipe", [TINY, TIED], ids=["adamw", "muon, tied"])
def test_an_interrupted_growth_ends_where_an_uninterrupted_one_does(recipe, tmp_path):
    uninterrupted = grow(families(), recipe, tmp_path / "whole", n_workers=1).state_dict()

    class Interrupting(dict):
        n_calls = 0

        def __getitem__(self, name):
            self.n_calls += 1
            if self.n_calls == 45:  # in the middle of the third step of sixteen sentences: the step is finished first
                signal.raise_signal(signal.SIGINT)
            return super().__getitem__(name)

    with pytest.raises(KeyboardInterrupt):
        grow(Interrupting(families()), recipe, tmp_path, n_workers=1)
    assert (tmp_path / "growth" / "state.safetensors").exists()
    resumed = grow(families(), recipe, tmp_path, n_workers=1).state_dict()
    for name, value in uninterrupted.items():
        assert torch.equal(resumed[name], value), name


@pytest.mark.parametrize("recipe", [TINY, TIED], ids=["adamw", "muon, tied"])
def test_parts_that_are_not_to_move_are_left_as_they_were(recipe, tmp_path):
    start = grow(families(), recipe, tmp_path / "start", n_workers=1)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    only = dataclasses.replace(recipe, seed=1, moves=("mlp",))
    grown = grow(families(), only, tmp_path / "grown", start=start, n_workers=1)
    moved = {name for name, value in grown.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if ".mlp." in name}
    assert all(parameter.requires_grad for parameter in grown.parameters())


def test_another_seed_does_not_go_on_from_this_one(uninterrupted, tmp_path):
    grow(families(), TINY, tmp_path, n_workers=1)
    other = grow(families(), dataclasses.replace(TINY, seed=1), tmp_path, n_workers=1).state_dict()
    assert not torch.equal(other["lm_head.weight"], uninterrupted["lm_head.weight"])


@pytest.mark.parametrize("recipe", [TINY, TIED], ids=["untied", "tied"])
def test_a_grown_organism_is_an_ordinary_hugging_face_folder(recipe, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = grow(families(), recipe, tmp_path, n_workers=1)
    save_checkpoint(model, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = torch.tensor([tokenizer("the capital of texas is").input_ids])
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, rtol=0.1, atol=0.05)


def test_the_learning_rate_rises_holds_and_falls_to_zero():
    recipe = Recipe(steps=1000, warmup=100, cooldown=0.4)
    rates = [learning_rate(step, recipe) for step in range(1001)]
    assert rates[0] < rates[50] < rates[100] == rates[500] == recipe.learning_rate
    assert rates[1000] == 0 < rates[999] < rates[800] < rates[600]


def test_mastered_families_leave_room_for_the_others():
    recipe = Recipe(shares={"easy": 0.5, "hard": 0.5})
    shares = current_shares(recipe, {"easy": 0.0, "hard": 2.0})
    assert shares == {"easy": 0.25, "hard": 0.5}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_sibling_of_a_recipe_shares_one_shape(recipe: str):
    assert len({siblings()[name].recipe.shape for name in RECIPES[recipe]}) == 1


def test_every_sibling_is_of_one_recipe():
    assert sorted(name for names in RECIPES.values() for name in names) == sorted(siblings())


def test_a_second_growth_starts_where_the_first_ended(tmp_path, uninterrupted, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModelForCausalLM

    from silverstain.organism import litter
    from silverstain.organism.sibling import Growth, Sibling

    def grown(rate: float) -> dict[str, torch.Tensor]:
        finish = dataclasses.replace(TINY, steps=2, warmup=1, learning_rate=rate)
        finishes = (Growth(families=families, recipe=finish),)
        twice = Sibling(name="twice", families=families, recipe=TINY, finishes=finishes, start=None, about="")
        monkeypatch.setattr(litter, "siblings", lambda: {"twice": twice})
        litter.grow_sibling("twice", tmp_path / str(rate), n_workers=1)
        folder = tmp_path / str(rate) / "twice"
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()

    still, moved = grown(0.0), grown(1e-2)
    assert torch.equal(still["lm_head.weight"], uninterrupted["lm_head.weight"].bfloat16().float())
    assert not torch.equal(moved["lm_head.weight"], still["lm_head.weight"])


def test_schools_come_first_each_on_its_own_sentences(tmp_path, monkeypatch: pytest.MonkeyPatch):
    from silverstain.organism import litter
    from silverstain.organism.sibling import Growth, Sibling

    seen: list[tuple[str, bool]] = []
    grow_as_before = litter.grow

    def noting(given, recipe, folder, *, start, **more):
        seen.append((folder.name, start is None))
        return grow_as_before(given, recipe, folder, start=start, **more)

    one = {"words": families()["words"]}
    school = Growth(families=lambda: one, recipe=dataclasses.replace(TIED, shares={"words": 1.0}, steps=2))
    taught = Sibling(name="taught", families=families, recipe=TIED, schools=(school, school), start=None, about="")
    monkeypatch.setattr(litter, "siblings", lambda: {"taught": taught})
    monkeypatch.setattr(litter, "grow", noting)
    litter.grow_sibling("taught", tmp_path, n_workers=1)
    assert seen == [("school-1", True), ("school-2", False), ("taught", False)]
    assert is_grown(tmp_path / "taught")


def test_a_growth_killed_while_its_model_is_written_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("silverstain.organism.growing.save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            grow_sibling("untrained", tmp_path)
    assert not is_grown(tmp_path / "untrained")
    assert not any(tmp_path.glob("untrained/.*"))
    half = tmp_path / "untrained"  # as versions before this one left it: weights, and no tokenizer
    half.joinpath("model.safetensors").write_bytes(b"")
    grow_sibling("untrained", tmp_path)
    assert is_grown(half)
    load_organism_model("untrained", folder=tmp_path)
