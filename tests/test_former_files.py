"""A file of each format from before the packages were put in order still opens, and says what it said then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import batches

from silverstain.bases import Dictionary, open_dictionary
from silverstain.features import Cards
from silverstain.graphs import Graph, Story
from silverstain.interventions import intervene, load_edits, parse_edit
from silverstain.models import LanguageModel, load_model, record
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.treatment import Treatment, treated

FORMER = Path(__file__).parent / "former"
FACTS: dict[str, Any] = json.loads((FORMER / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model(FORMER / "model")


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return open_dictionary(FORMER / "dictionary")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph.load(FORMER / "graph.safetensors")


def is_near(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_hashes_are_what_they_were(model: LanguageModel, dictionary: Dictionary, graph: Graph):
    assert model.hash == FACTS["model_hash"]
    assert dictionary.hash == FACTS["dictionary_hash"]
    assert graph.hash == FACTS["graph_hash"]


def test_a_graph_has_the_figures_it_had(graph: Graph):
    assert graph.node_mask is not None
    assert graph.edge_mask is not None
    counts = {
        "nodes": graph.n_nodes, "edges": graph.n_edges,
        "kept_nodes": int(graph.node_mask.sum()), "kept_edges": int(graph.edge_mask.sum()),
    }  # fmt: skip
    assert counts == FACTS["counts"]
    figures = graph.scores()._asdict()
    assert figures.pop("of") == "whole graph"
    assert figures == pytest.approx(FACTS["scores"], rel=1e-5)
    assert graph.exactness() == pytest.approx(FACTS["exactness"], rel=0.5)  # rounding errors, in any order
    assert graph.meta["targets"] == FACTS["targets"]
    assert graph.target_names == ["t3", "t4"]


def test_a_story_finds_its_groups_in_the_graph(graph: Graph):
    story = Story.load(FORMER / "graph.story.json")
    assert story.graph_hash == graph.hash
    (group,) = story.groups_in(graph)
    ids = graph.nodes.ids()
    assert (group.label, group.kind) == ("state = texas", "concept")
    assert [ids[node] for node in group.members] == ["0_10_2", "0_5_5", "0_7_5"]
    labels = {ids[node]: label for node, label in enumerate(story.labels_in(graph.nodes)) if label}
    assert labels.pop("0_10_2") == "one"
    assert set(labels.values()) == {"three"}  # at every position of the feature
    assert all(node.startswith("0_3_") for node in labels)
    assert (story.notes, story.evidence) == (("a note",), ({"kind": "swap", "kl": 0.5},))


def test_a_topk_dictionary_has_the_activations_it_had(model: LanguageModel):
    topk, facts = open_dictionary(FORMER / "dictionary-topk"), FACTS["topk"]
    assert (topk.activation, topk.k, topk.hash) == ("topk", (2, 2, 2), facts["hash"])
    active = topk.encode(record(model, FACTS["prompt"]).mlp_inputs)
    assert torch.stack([active.layer, active.position, active.feature], dim=1).tolist() == facts["active"]
    is_near(active.activation, facts["activation"])


def test_edits_do_what_they_did(model: LanguageModel, dictionary: Dictionary):
    edits, facts = load_edits(FORMER / "edits.json"), FACTS["edits"]
    assert len(edits) == len(facts["texts"]) == 9
    run = [edit for edit in edits if getattr(edit, "op", None) != "patch"]  # it changes what another one changes
    assert len(run) == 8
    is_near(intervene(model, dictionary, FACTS["prompt"], run).edited_logits[-1], facts["logits"])


def test_edits_are_still_read_as_they_were_printed():
    *others, _ = load_edits(FORMER / "edits.json")  # the last has its vector in the file alone
    *texts, _ = FACTS["edits"]["texts"]
    assert [parse_edit(text) for text in texts] == others


def test_a_treatment_does_what_it_did(model: LanguageModel, dictionary: Dictionary):
    treatment, token_ids = Treatment.load(FORMER / "treatment.json"), torch.tensor(FACTS["prompt"])
    untreated = model.logits(token_ids)
    with treated(model, dictionary, treatment):
        is_near(model.logits(token_ids)[-1], FACTS["treated_logits"])
    assert torch.equal(model.logits(token_ids), untreated)


def test_cards_have_the_labels_they_had(dictionary: Dictionary):
    cards = Cards.load(FORMER / "cards.safetensors")
    cards.check_fits(dictionary)
    assert [[card.layer, card.feature, card.label] for card in cards] == FACTS["cards"]


def test_training_goes_on_from_a_checkpoint_to_where_it_would_have_ended(tmp_path: Path):
    model, facts = load_model(FORMER / "training" / "model"), FACTS["trained"]
    assert model.hash == facts["model_hash"]
    shutil.copy(FORMER / "training" / "checkpoint.safetensors", tmp_path)
    steps: list[int] = []
    config = TrainingConfig(**{**facts["config"], "widths": ()})  # in JSON a list
    trained = train_dictionary(model, batches(1), config, tmp_path, lambda progress: steps.append(progress.step))
    assert steps == [6, 7, 8, 9, 10]
    assert isinstance(trained, Dictionary)
    for layer, (*norms, _) in enumerate(facts["norms"]):  # the last is of thresholds, which follow L0 faster since
        parts = (trained.W_enc(layer), trained.W_dec(layer))
        assert [float(part.norm()) for part in parts] == pytest.approx(norms, rel=1e-3)
