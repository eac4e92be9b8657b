"""Edits of neurons on every architecture: they reach what they name, and edges are what direct interventions do."""

import pytest
import torch

from silverstain.attribution import record_run, trace
from silverstain.bases import NeuronBasis, replaced_logits
from silverstain.errors import UsageError
from silverstain.interventions import Edit, Readouts, VectorEdit, editing, intervene, random_control, sweep
from silverstain.interventions.checking import check_active
from silverstain.models import LanguageModel, record

from ..attribution.conftest import PROMPT, tiny_model  # noqa: TID252 - no package to be named
from ..zoo import MLP_OUTPUTS, ZOO, build  # noqa: TID252

TOKENS = [4, 9]


def before_softcap(model: LanguageModel, logits: torch.Tensor) -> torch.Tensor:
    return logits if model.softcap is None else model.softcap * torch.atanh(logits / model.softcap)


@pytest.mark.parametrize("name", ZOO)
def test_an_edge_of_a_neuron_is_what_the_direct_intervention_does_to_the_logit(name: str):
    model = tiny_model(name)
    basis = NeuronBasis(model)
    graph = trace(model, basis, PROMPT, targets=TOKENS, max_features=40)
    nodes, edges = graph.nodes, torch.as_tensor(graph.matrix().toarray())
    into_logits = edges[-len(TOKENS) :, nodes.span("feature")]
    for source in into_logits.abs().sum(0).topk(3).indices.tolist():
        layer, position, feature = (int(c[source]) for c in (nodes.layer, nodes.position, nodes.feature))
        edit = Edit(op="ablate", features=((layer, feature),), positions=(position,))
        done = intervene(
            model, basis, PROMPT, [edit], attention="frozen", norms="frozen", held_layers=range(model.n_layers)
        )
        before, after = (before_softcap(model, x[-1]) for x in (done.baseline_logits, done.edited_logits))
        change = before - after
        torch.testing.assert_close(into_logits[:, source], (change - change.mean())[TOKENS], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "gpt_oss"])
def test_ablating_a_neuron_everywhere_is_a_zero_in_the_last_projection(name: str):
    model = tiny_model(name)
    edit = Edit(op="ablate", features=((1, 5),))
    done = intervene(model, NeuronBasis(model), PROMPT, [edit])
    hf = build(name).double()
    at = "language_model.layers.1." if name == "gemma3-images" else ".1."
    for parameter_name, parameter in hf.named_parameters():
        if parameter_name.endswith(MLP_OUTPUTS) and at in parameter_name:
            (parameter.data if name == "gpt2" else parameter.data.T)[5] = 0
    without = LanguageModel(hf, model.tokenizer, name=name)
    torch.testing.assert_close(done.edited_logits, record(without, PROMPT).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_the_model_replaced_by_its_neurons_is_the_model(name: str):
    model = tiny_model(name)
    tokens = torch.tensor([PROMPT])
    found = replaced_logits(model, NeuronBasis(model), tokens)
    torch.testing.assert_close(found[0], record(model, PROMPT).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_a_sweep_reads_what_neurons_become_not_what_their_rule_says(name: str):
    model = tiny_model(name)
    basis = NeuronBasis(model)
    edit = Edit(op="scale", features=((0, 3), (0, 7)), positions=(2,), value=-4.0)
    done = sweep(model, basis, PROMPT, [[edit]], readouts=Readouts(features=((1, 2, 4), (2, 6, 11))))
    with torch.no_grad():
        recorded = record_run(model, basis, PROMPT)
    for place, before, change in zip(
        ((1, 2, 4), (2, 6, 11)), done.activations.before, done.activations.change[0], strict=True
    ):
        layer, position, feature = place
        with editing(model, basis, [edit]):
            x = record(model, PROMPT).mlp_inputs[layer, position]
        after = basis.encode_layer(layer, x)[feature]
        clean = basis.encode_layer(layer, recorded.recording.mlp_inputs[layer, position])[feature]
        assert float(before) == pytest.approx(float(clean))
        assert float(change) == pytest.approx(float(after - clean), rel=1e-5, abs=1e-7)


def test_neurons_are_edited_at_the_first_position_too():
    model = tiny_model("llama")
    edit = Edit(op="ablate", features=((0, 3),), positions=(0,))
    done = intervene(model, NeuronBasis(model), PROMPT, [edit])
    assert (done.edited_logits - done.baseline_logits).abs().max() > 1e-6


def test_the_error_of_neurons_cannot_be_ablated():
    model = tiny_model("llama")
    with pytest.raises(UsageError, match=r"the neurons of tiny-llama leave none.*name those"):
        intervene(model, NeuronBasis(model), PROMPT, [VectorEdit(op="ablate", layer=1, positions=(2,))])


def test_a_control_moves_other_neurons_by_as_much():
    model = tiny_model("gemma2")
    run = record_run(model, NeuronBasis(model), PROMPT)
    edits = [Edit(op="ablate", features=((1, 3), (1, 9)), positions=(4,))]
    (control,) = random_control(run, edits, seed=1)
    assert set(control.features).isdisjoint({(1, 3), (1, 9)})
    assert len(control.features) == 2


def test_a_neuron_that_is_never_zero_may_be_scaled_anywhere():
    model = tiny_model("llama")
    run = record_run(model, NeuronBasis(model), PROMPT)
    check_active(run, [Edit(op="ablate", features=((1, 3),), positions=(0,))])
    with pytest.raises(UsageError, match="layers of 24 features"):
        check_active(run, [Edit(op="ablate", features=((1, 300),), positions=(0,))])
