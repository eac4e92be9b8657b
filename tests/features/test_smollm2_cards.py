"""The cards of SmolLM2-135M's neurons that come as a package: found by hash and name, small, without a passage."""

from collections import Counter
from pathlib import Path

import pytest

from silverstain.cli import main
from silverstain.features import CardTable
from silverstain.features.card_files import FOLDER, GROUP, cards_by_hash, named_cards
from silverstain.installed import installed_folder

NAME = "smollm2-135m-neurons"
pytestmark = pytest.mark.skipif(
    installed_folder(GROUP, NAME, FOLDER) is None,
    reason="the package is not installed: pip install packages/silverstain-smollm2-cards",
)


@pytest.fixture(scope="module")
def cards() -> CardTable:
    return CardTable.load(named_cards(NAME))


def test_every_neuron_has_a_card_and_the_file_is_small(cards: CardTable):
    assert named_cards(NAME).stat().st_size < 25e6
    assert (cards.n_layers, cards.n_features, len(cards)) == (30, 1536, 30 * 1536)
    assert cards.is_signed


def test_no_passage_of_the_text_and_no_path_of_a_machine_is_in_it(cards: CardTable):
    assert not any(cards.table["examples"].to_pylist())
    assert cards.meta["text"] == "@training"


def test_they_are_found_by_the_hash_of_the_neurons(cards: CardTable, tmp_path: Path):
    found = cards_by_hash(str(cards.meta["dictionary_hash"]), tmp_path)
    assert found is not None
    assert found.table.equals(cards.table)


def test_they_are_of_the_model_that_goes_by_this_name(cards: CardTable, smollm2):
    from silverstain.bases import NeuronBasis

    cards.check_fits(NeuronBasis(smollm2))


def test_labels_by_contexts_are_better_than_a_guess_on_text_held_out(cards: CardTable):
    firsts = [some[0] for some in cards.table["labels"].to_pylist() if some]
    kinds = Counter(label["kind"] for label in firsts)
    scores = [label["score"] for label in firsts if label["kind"] == "context" and label["score"] is not None]
    assert kinds["context"] > 30_000
    assert sum(scores) / len(scores) > 0.7 > 0.55 > cards.meta["random_label_detection"]


def test_they_are_searched_by_their_name(capsys: pytest.CaptureFixture[str]):
    assert main(["features", "search", NAME, "months", "--limit", "3"]) == 0
    assert "months" in capsys.readouterr().out.lower()
    assert main(["features", "search", "nobodys-neurons", "months"]) == 2
    assert "there is no file nobodys-neurons" in capsys.readouterr().err
