"""Graphs of neurons put to the test: their claims are linear, what is measured is not."""

import pytest
import torch

from silverstain.attribution import trace
from silverstain.bases import NeuronBasis
from silverstain.models import LanguageModel
from silverstain.verification import inhibited_features, verify
from silverstain.verification.arithmetic import direct_error
from silverstain.verification.endpoints import endpoints_of
from silverstain.verification.graph_run import GraphRun, graph_run
from silverstain.verification.linear import total_effects

from ..attribution.conftest import PROMPT, tiny_model  # noqa: TID252 - no package to be named
from ..zoo import ZOO  # noqa: TID252

NO_FEATURES = torch.zeros(0, dtype=torch.long)


def run_of(name: str, **settings) -> GraphRun:
    model = tiny_model(name)
    graph = trace(model, NeuronBasis(model), PROMPT, **{"targets": [3, 4], "max_features": 40, **settings})
    return graph_run(model, NeuronBasis(model), graph)


@pytest.mark.parametrize("norms", ["frozen", "linearised"])
@pytest.mark.parametrize("name", ZOO)
def test_an_edge_is_the_direct_effect_of_its_neuron(name: str, norms: str):
    run = run_of(name, norms=norms)
    sources, _ = endpoints_of(run.graph, [], 16)
    assert direct_error(run, sources) < 1e-6


@pytest.mark.parametrize("rule", ["half", "ray"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_oss"])
def test_with_all_neurons_predictions_by_frozen_norms_are_sums_over_the_graphs_paths(name: str, rule: str):
    run = run_of(name, max_features=10**6, neuron_rule=rule)
    assert isinstance(run.basis, NeuronBasis)
    assert run.basis.rule == rule
    sources = [int(node) for node in run.graph.nodes.activation.abs().topk(5).indices]
    edits = [run.scaled([node], 0.0) for node in sources]
    predicted = run.predicted(edits, run.readouts(NO_FEATURES), norms="frozen").targets.double()
    minus = [torch.full((1,), -1.0, dtype=torch.float64)] * len(sources)
    total, _ = total_effects(run.graph, [torch.tensor([node]) for node in sources], minus)
    torch.testing.assert_close(predicted, total[:, run.graph.nodes.span("logit")], rtol=1e-6, atol=1e-8)


def test_the_rest_of_a_layer_and_position_is_what_no_node_stands_for():
    run = run_of("gemma2")
    model: LanguageModel = run.model
    span, nodes = run.graph.nodes.span("feature"), run.graph.nodes
    recording = run.run.recording
    for layer in range(model.n_layers):
        neurons = run.basis.layer(layer)
        activations = neurons.activations(recording.mlp_inputs[layer])
        here = (nodes.layer[span] == layer).nonzero().flatten()
        activations[nodes.position[here], nodes.feature[here].long()] = 0
        norm = run.flow.write_norm(layer)
        assert norm is not None
        torch.testing.assert_close(run.errors[layer], norm.linear(activations @ neurons.W_out), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_a_graph_of_neurons_is_verified(name: str):
    run = run_of(name)
    found = verify(run.model, NeuronBasis(run.model), run.graph.prune(), max_sources=10, n_controls=3)
    assert found.claims
    assert found.direct_error < 1e-6
    assert all(claim.predicted == claim.predicted for claim in found.claims)  # no NaN
    assert inhibited_features(run.model, NeuronBasis(run.model), run.graph) == ()
