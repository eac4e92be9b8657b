"""A first reading names what has support: by a concept, else by what it writes, else not at all."""

from dataclasses import replace

import pytest
import torch

import silverstain
from silverstain.features import read_graph, written_tokens
from silverstain.features.labels import is_supported
from silverstain.features.output import direct_effects
from silverstain.features.reading import SPEAKS, direct_shares

PROMPT = "the capital of the state containing dallas is"


@pytest.fixture(scope="module")
def loaded():
    return silverstain.load("organism")


@pytest.fixture(scope="module")
def graph(loaded):
    return loaded.trace(PROMPT).prune()


@pytest.mark.parametrize(
    ("kind", "precision", "recall", "examples", "supported"),
    [
        ("value", 1.0, 1.0, 72, True),
        ("value", 0.59, 1.0, 8, False),
        ("next", 0.67, 1.0, 5, False),
        ("value", 1.0, 1.0, 4, False),
        ("next class", 1.0, 0.1, 400, False),
        ("mixed", 1.0, 1.0, 400, False),
    ],
)
def test_a_label_needs_precision_recall_and_examples(kind, precision, recall, examples, supported):
    assert is_supported(kind, precision=precision, recall=recall, examples=examples) is supported


def test_every_name_of_a_reading_is_supported_or_what_the_feature_writes(loaded, graph):
    story = loaded.read(graph)
    assert story.labels
    shares = dict(zip(graph.nodes.ids(), direct_shares(graph).tolist(), strict=True))
    for place, label in story.labels.items():
        layer, feature = map(int, place.split("_"))
        card = loaded.cards.card(layer, feature)
        if label.startswith("writes "):
            assert any(s >= SPEAKS for node, s in shares.items() if node.startswith(f"{place}_"))
            effects = direct_effects(loaded.model, loaded.dictionary, layer, torch.tensor([feature]))[0]
            named = loaded.model.token_strings([int(effects.argmax())])[0]
            assert label.split(", ")[0] == f"writes {named}"
        else:
            assert card is not None
            assert card.label == label
            assert is_supported(card.kind, precision=card.precision, recall=card.recall, examples=card.support)


def test_a_weak_label_names_neither_group_nor_feature(loaded, graph):
    weak = replace(loaded.cards, fit=loaded.cards.fit.clone().index_fill_(1, torch.tensor([0]), 0.59))
    story = read_graph(graph, loaded.model, loaded.dictionary, weak)
    assert {group.kind for group in story.groups} <= {"token", "logit"}
    assert all(label.startswith("writes ") for label in story.labels.values())
    assert all(weak.supported_label(*divmod(int(key), weak.n_features)) is None for key in weak.key[:50])


def test_a_model_without_cards_has_names_by_what_is_written(loaded, graph):
    story = replace(loaded, cards=None).read(graph)
    assert story.groups == ()
    assert story.labels["3_1501"].startswith("writes us-tx, austin")


def test_tokens_that_do_not_stand_out_name_nothing(loaded, monkeypatch):
    monkeypatch.setattr("silverstain.features.output.BY_CHANCE", 1e-12)
    assert written_tokens(loaded.model, loaded.dictionary, [(3, 1501)]) == {}


def test_direct_shares_are_of_all_influence(graph):
    shares = direct_shares(graph)
    last = graph.nodes.is_kind("feature") & (graph.nodes.layer == graph.n_layers - 1) & (graph.influence() > 0)
    assert torch.allclose(shares[last], torch.ones(int(last.sum()), dtype=shares.dtype))
    assert float(shares.max()) <= 1 + 1e-9
