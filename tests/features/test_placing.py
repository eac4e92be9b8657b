"""A first reading of neurons: groups by place, by what is read and said; every name by measurement."""

import re
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silverstain.attribution import trace
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import contrast
from silverstain.bases import NeuronBasis
from silverstain.errors import UsageError
from silverstain.features import neuron_tokens, read_graph
from silverstain.features.bands import FIT, MOST_BANDS, _spread, bands
from silverstain.features.neuron_tokens import first_layers, word_shares
from silverstain.features.output import BY_CHANCE, direct_effects
from silverstain.features.placing import ALWAYS_ON
from silverstain.features.prompt_words import PromptWords
from silverstain.features.reading import direct_shares
from silverstain.features.saying import SPEAKS_MOSTLY, WRITES, answers_of, compared_tokens, spoken
from silverstain.graphs import Graph, circuit_of
from silverstain.graphs.lettering import columns_of
from silverstain.models import LanguageModel

from ..attribution.conftest import PROMPT, tiny_model  # noqa: TID252 - no package to be named

OTHER = [*PROMPT[:3], 31, *PROMPT[4:]]
NAMES = ["llama", "gpt2", "gemma2"]


def graph_of(kind: str, name: str) -> Graph:
    model = tiny_model(name)
    basis = NeuronBasis(model)
    if kind == "contrast":
        return contrast(model, basis, PROMPT, OTHER, targets=[DifferenceTarget(token=3, minus=9)], max_features=60)
    return trace(model, basis, PROMPT, max_features=60)


@pytest.mark.parametrize("kind", ["contrast", "one run"])
@pytest.mark.parametrize("name", NAMES)
def test_every_unit_that_matters_is_in_one_group_with_a_short_name_of_its_own(kind: str, name: str):
    graph, model = graph_of(kind, name), tiny_model(name)
    story = read_graph(graph, model, NeuronBasis(model))
    groups = story.groups_in(graph)
    members = sorted(member for group in groups for member in group.members)
    assert members == (graph.nodes.is_unit & (graph.influence() > 0)).nonzero().flatten().tolist()
    labels = [group.label for group in groups]
    assert len(set(labels)) == len(labels)
    assert all(columns_of(label) <= 30 for label in labels)
    assert read_graph(graph, model, NeuronBasis(model)) == story
    assert read_graph(graph.prune(), model, NeuronBasis(model)).groups == story.groups
    drawn = circuit_of(graph, story)
    assert sum(node.kind not in ("token", "logit", "error") for node in drawn.nodes) <= 10
    names = [node.label for node in drawn.nodes if node.kind != "token"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", NAMES)
def test_labels_say_where_their_members_are(name: str):
    graph, model = graph_of("contrast", name), tiny_model(name)
    for group in read_graph(graph, model, NeuronBasis(model)).groups_in(graph):
        layers, places = ({int(c[m]) for m in group.members} for c in (graph.nodes.layer, graph.nodes.position))
        if group.kind == "place":
            (place,) = places
            assert PromptWords(graph.meta["tokens"]).names[place] in group.label
            span = re.search(r"\(L(\d+)(?:–(\d+))?\)", group.label)
            assert span is not None
            assert {int(span[1]), int(span[2] or span[1])} == {min(layers), max(layers)}
        elif group.kind == "attention":
            assert all(graph.nodes.kinds[member] == "attention" for member in group.members)


def test_neurons_that_are_always_on_are_a_group_of_their_own():
    graph, model = graph_of("one run", "llama"), tiny_model("llama")
    node = int(graph.influence().masked_fill(~graph.nodes.is_kind("feature"), -1).argmax())
    place = [int(graph.nodes.layer[node]), int(graph.nodes.feature[node])]
    story = read_graph(graph.with_meta({**graph.meta, "always_on": [place]}), model, NeuronBasis(model))
    (group,) = [group for group in story.groups_in(graph) if group.kind == ALWAYS_ON]
    assert group.label.startswith("always on (L")
    assert all([int(graph.nodes.layer[m]), int(graph.nodes.feature[m])] == place for m in group.members)


def planted(graph: Graph, token: int) -> Graph:
    """The graph with a target that is a token of our choice."""
    (target, *_) = graph.meta["targets"]
    return graph.with_meta({"targets": [{**target, "kind": "token", "id": token, "weight": 1.0}]})


@pytest.mark.parametrize("name", NAMES)
def test_a_group_that_says_a_token_writes_it_by_measurement(name: str):
    graph, model = graph_of("one run", name), tiny_model(name)
    basis, direct = NeuronBasis(model), direct_shares(graph)
    units, said = graph.nodes.is_kind("feature").nonzero().flatten().tolist(), 0
    for token in range(1, model.d_vocab):
        asked = planted(graph, token)
        (answer,) = answers_of(asked)
        effects = {}
        for unit in units:
            layer, feature = int(graph.nodes.layer[unit]), graph.nodes.feature[unit].long()[None]
            if int(graph.nodes.position[unit]) == answer.position and float(direct[unit]) >= SPEAKS_MOSTLY:
                effects[unit] = direct_effects(model, basis, layer, feature)[0] * graph.nodes.activation[unit]
        for one in spoken(asked, model, basis, units, direct):
            said += 1
            sign = 1 if one.group.label.startswith("say ") else -1
            others = compared_tokens(model.d_vocab, [token])
            least = {unit: WRITES * float(row[others].float().std()) for unit, row in effects.items()}
            chosen = {u for u, row in effects.items() if sign * float(row[token]) >= least[u] * (1 + 1e-6)}
            assert chosen == set(one.group.members)
            assert one.effect * sign > 0
            own = sum(abs(float(effects[u][token])) for u in chosen)
            rest = [sum(max(sign * float(r[o]), 0.0) for u, r in effects.items() if sign * float(r[o]) >= least[u])
                    for o in others]  # fmt: skip
            assert sum(mass < own for mass in rest) / len(rest) >= 1 - BY_CHANCE
    assert said > 0


@given(weights=st.lists(st.floats(0, 5).map(lambda x: round(x, 1)), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_bands_are_the_best_split_there_is(weights: list[float]):
    layers = [layer for layer, weight in enumerate(weights) if weight > 0]
    found = bands(weights)
    assert [layer for band in found for layer in band if weights[layer] > 0] == layers
    assert len(found) <= MOST_BANDS
    if len(found) > 1:
        parts = [[layer for layer in layers if layer in band] for band in found]
        best = min(
            sum(_spread(weights, part) for part in ([*layers[:cut]], [*layers[cut:]])) for cut in range(1, len(layers))
        )
        assert sum(_spread(weights, part) for part in parts) == pytest.approx(best, abs=1e-9)
        assert all(a.stop <= b.start for a, b in combinations(found, 2))
    assert 0 < FIT < 1


def test_words_are_whole_and_each_has_its_own_name():
    words = PromptWords(["The", " mayor", " of", " Xav", "ier", " of", " of", " ", "\x1b"])
    assert words.names == ["The", "mayor", "of", "Xavier", "2nd of", "3rd of", "' '", words.names[-1]]
    assert "\x1b" not in words.names[-1]
    assert [words.at(3), words.at(4), words.at(99), words.at(-1)] == [3, 3, -1, -1]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_neuron_writes_is_turned_where_it_goes_down(name: str):
    graph, model = graph_of("contrast", name), tiny_model(name)
    basis = NeuronBasis(model)
    for one in neuron_tokens(graph, model, basis, n=3):
        layer, feature = int(graph.nodes.layer[one.node]), graph.nodes.feature[one.node].long()[None]
        effects = direct_effects(model, basis, layer, feature)[0] * (-1 if one.activation < 0 else 1)
        assert one.promotes[0] == model.token_strings([int(effects.argmax())])[0]
        assert one.suppresses[0] == model.token_strings([int(effects.argmin())])[0]
        assert bool(one.driven_by) == (layer < first_layers(model))
        if one.driven_by:
            norm = model.norm("mlp", layer)
            assert norm is not None
            alone = basis.encode_layer(layer, norm(model.W_E))[:, int(feature)] * (-1 if one.activation < 0 else 1)
            assert one.driven_by[0] == model.token_strings([int(alone.argmax())])[0]
    shares = word_shares(graph)[graph.nodes.is_unit]
    assert float(shares.min()) >= 0
    assert float(shares.sum(1).max()) <= 1 + 1e-9
    assert bool((shares[:, [0, 1, 2]] == 0).all())  # what does not differ gives nothing to the difference


def test_what_is_no_neuron_is_refused():
    graph, model = graph_of("one run", "llama"), tiny_model("llama")
    with pytest.raises(UsageError, match="is no neuron; give indices of nodes of kind feature"):
        neuron_tokens(graph, model, NeuronBasis(model), [graph.n_nodes - 1])


def test_a_real_contrast_tells_its_story_in_ten_boxes(smollm2: LanguageModel):
    basis = NeuronBasis(smollm2)
    graph = contrast(smollm2, basis, "The capital of France is", "The capital of Spain is")
    story = read_graph(graph, smollm2, basis)
    labels = {group.label for group in story.groups}
    assert {"Spain, read (L0)", "attention: is ← Spain", "say Madrid"} <= labels
    assert any(label.startswith("is, from Spain (L") for label in labels)
    circuit = circuit_of(graph, story)
    units = {node.label: node for node in circuit.nodes if node.kind not in ("token", "logit", "error")}
    assert len(units) <= 10
    assert units["say Madrid"].sign == 1
    assert units["Spain, read (L0)"].sign == 1
    assert all(node.sign == -1 for label, node in units.items() if label in ("less Madrid", "say Paris"))
    assert circuit.left_out < 0.05


def test_answers_that_nobody_says_get_no_group(smollm2: LanguageModel):
    basis = NeuronBasis(smollm2)
    graph = contrast(smollm2, basis, "The capital of France is", "The capital of Spain is")
    direct, draw = direct_shares(graph), torch.Generator().manual_seed(0)
    units, named, n = graph.nodes.is_kind("feature").nonzero().flatten().tolist(), 0, 20
    (target,) = graph.meta["targets"]
    for _ in range(n):
        pair = torch.randint(smollm2.d_vocab, (2,), generator=draw).tolist()
        asked = graph.with_meta({"targets": [{**target, "ids": pair}]})
        named += len(spoken(asked, smollm2, basis, units, direct))
    assert named <= 0.15 * 4 * n  # 5 % of four groups each, and what 20 draws may add
