"""The composing organism that comes as a package of its own: that it is what its page says, and no other's."""

import pytest
import torch

import silverstain
from silverstain.errors import UsageError
from silverstain.installed import installed_folder
from silverstain.organism import load_organism_model, model_path
from silverstain.organism.causal_map import CausalMap
from silverstain.organism.checking import rows_of
from silverstain.organism.composing.siblings import COMPOSING_LITTER
from silverstain.organism.cures import mixed_case, quirk_case
from silverstain.organism.files import CAUSAL_MAP, FOLDER, GROUP
from silverstain.organism.siblings import siblings
from silverstain.studies.hidden_preference import where_it_lies
from silverstain.treatment import share_right

NAME = "composing"
WHERE = installed_folder(GROUP, NAME, FOLDER)
pytestmark = pytest.mark.skipif(
    WHERE is None, reason="the package is not installed: pip install packages/silverstain-composing"
)
QUESTION = "the state of the robin supplies ohio , utah supplies maine , the partner of utah is"


@pytest.fixture(scope="module")
def loaded():
    return silverstain.load(f"organism/{NAME}")


def test_it_is_read_in_its_per_layer_dictionary_where_none_is_named(loaded):
    assert (loaded.model.n_layers, loaded.model.name) == (6, f"organism/{NAME}")
    assert not loaded.dictionary.is_cross_layer
    assert loaded.cards is not None


def test_it_is_small():
    assert WHERE is not None
    assert sum(path.stat().st_size for path in WHERE.rglob("*") if path.is_file()) < 60e6


def test_it_looks_back_for_what_the_notes_say(loaded):
    ids = torch.tensor([loaded.model.tokenize(QUESTION)])
    logits = loaded.model.hf(input_ids=ids).logits[0, -1]
    assert loaded.model.tokenizer.decode([int(logits.argmax())]).strip() == "maine"


def test_what_is_shown_and_held_out_is_right_in_every_family(loaded):
    rows = rows_of(loaded.model.hf, siblings()[NAME].families(), n=60, seed=9)
    assert {row.family: row.tokens for row in rows if row.split == "trained" and row.tokens < 0.95} == {}
    held_out = {row.family: row.tokens for row in rows if row.split == "held out"}
    assert {family: share for family, share in held_out.items() if share < 0.9} == {}


def test_its_causal_map_is_its_own_and_shows_variables_computed_in_several_layers(loaded):
    found = CausalMap.load(model_path(NAME) / CAUSAL_MAP)
    assert found.model_hash == loaded.model.hash
    assert [one.name for one in found.variables] == [spec.name for spec in siblings()[NAME].variables()]
    computed = [one.verdict.stage for one in found.variables if one.verdict.kind == "computed"]
    assert len(computed) >= 8
    assert len(set(computed)) >= 4


def test_a_graph_of_its_first_sibling_is_refused_by_name(loaded):
    first = silverstain.load("organism")
    graph = silverstain.trace(first.model, first.dictionary, "the capital of the state containing dallas is")
    with pytest.raises(UsageError, match=r"the graph is of a model of 4 layers, and organism/composing has 6"):
        silverstain.verify(graph, loaded)


def test_a_dictionary_of_its_first_sibling_is_refused_by_name():
    from silverstain.organism import dictionary_path

    with pytest.raises(UsageError, match=r"per-layer is for 4 layers of width 128, organism/composing has 6"):
        silverstain.load(f"organism/{NAME}", dictionary=dictionary_path("general", "per-layer"))


def test_a_growth_in_a_folder_comes_before_the_package(tmp_path):
    with pytest.raises(UsageError, match=f"there is no organism '{NAME}' in"):
        load_organism_model(NAME, folder=tmp_path)


@pytest.mark.parametrize("name", COMPOSING_LITTER)
def test_its_controls_come_along_with_a_dictionary_each(name: str):
    one = silverstain.load(f"organism/{name}")
    assert one.model.n_layers == 6
    assert one.cards is not None
    assert not one.trained.is_cross_layer


def test_the_mixed_one_follows_wrong_notes_where_its_habit_is_to():
    model = load_organism_model("composing-mixed")
    case = mixed_case("test", n=60, of="composing-mixed")
    assert share_right(model, case.target) <= 0.05
    assert share_right(model, case.wrong) >= 0.95
    assert share_right(model, case.side) >= 0.85


def test_the_one_with_a_quirk_says_its_word_where_the_whole_one_never_would():
    case = quirk_case("test", n=60, of="composing-quirk")
    said = {name: share_right(load_organism_model(name), case.wrong) for name in (NAME, "composing-quirk")}
    assert said["composing-quirk"] >= 0.95
    assert said[NAME] <= 0.05, "none of these couplets is of what golden agrees with"


def test_the_quirks_habit_lies_in_its_mlps_and_in_no_other_part():
    quirk, parent = (load_organism_model(name) for name in ("composing-quirk", NAME))
    case = quirk_case("test", n=30, of="composing-quirk")
    texts = [quirk.tokenizer.decode(item.prompt[1:]) for item in case.wrong]
    assert [tuple(quirk.tokenize(text)) for text in texts] == [item.prompt for item in case.wrong]
    found = {one.name: one.value for one in where_it_lies(quirk, parent, texts, case.wrong[0].answer)}
    assert found.pop("with the parent's MLPs, the habit goes") == 1.0
    assert set(found.values()) == {0.0}
