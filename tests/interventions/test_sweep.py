"""A sweep gives what each edit gives alone, and with everything held it gives the graph's edges."""

import re

import pytest
import torch

from silverstain.attribution import trace
from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions import (
    DirectionEdit,
    Edit,
    PatternEdit,
    Readouts,
    Regime,
    VectorEdit,
    editing,
    intervene,
    regime_of,
    sweep,
)
from silverstain.interventions.intervene import divergence
from silverstain.models import attention_through, record

from ..attribution.conftest import PROMPT, tiny_dictionary, tiny_model  # noqa: TID252 - no package to be named
from .test_intervene import slow_deltas


def edits_of_every_kind(model) -> list[list]:
    vector = tuple(torch.randn(model.d_model, generator=torch.Generator().manual_seed(2)).tolist())
    return [
        [Edit(op="add", features=((2, 6),), positions=(4,), value=2.0)],
        [Edit(op="add", features=((0, 3), (1, 4)), value=0.7)],
        [],
        [VectorEdit(op="ablate", layer=1, positions=(3,))],
        [VectorEdit(op="ablate", positions=(2,))],
        [DirectionEdit(op="ablate", layer=1, direction=vector)],
        [PatternEdit(op="ablate", heads=((2, 1),), positions=(5,))],
        [Edit(op="set", features=((1, 7),), positions=(-1,), value=3.0)],
    ]


REGIMES = {
    "added": Regime(),
    "iterative": Regime(base="current", attention="frozen"),
    "constrained": Regime(held_layers=(1,), attention="frozen"),
    "direct": Regime(held_layers=(0, 1, 2), attention="frozen", norms="frozen"),
}


@pytest.mark.parametrize("mode", REGIMES)
def test_a_sweep_gives_what_each_edit_gives_alone(model, dictionary, prompt, mode):
    regime, edits = REGIMES[mode], edits_of_every_kind(model)
    places = tuple((layer, position, f) for layer in range(3) for position in (2, 5) for f in (0, 3, 7))
    tokens = (3, 11, 39)
    readouts = Readouts(tokens=tokens, features=places, groups=(places[:5], places[7:]), position=4)
    result = sweep(model, dictionary, prompt, edits, regime=regime, readouts=readouts, batch_size=3)
    held = {"attention": regime.attention, "base": regime.base, "norms": regime.norms}
    W_U = model.W_U - model.W_U.mean(0)
    for i, listed in enumerate(edits):
        done = intervene(model, dictionary, prompt, listed, held_layers=regime.held_layers, **held)
        with editing(model, dictionary, listed, held_layers=regime.held_layers, **held):
            run = record(model, prompt)
        pre = torch.stack([dictionary.pre_activations(a, run.mlp_inputs[a, p])[f] for a, p, f in places])
        act = torch.stack([dictionary.encode_layer(a, run.mlp_inputs[a, p])[f] for a, p, f in places])
        close(result.pre_activations.after[i], pre)
        close(result.activations.after[i], act)
        close(result.groups.after[i], torch.stack([act[:5].sum(), act[7:].sum()]))
        close(result.logits.after[i], W_U[list(tokens)] @ run.final[4])
        close(result.probabilities.after[i], run.logits[4].softmax(-1)[list(tokens)])
        close(result.kl[i].float(), divergence(done.baseline_logits[4], done.edited_logits[4]).float())
        assert int(result.top[i]) == int(done.edited_logits[4].argmax())
    assert not result.pre_activations.change[2].any(), "no edit changes nothing, exactly"
    assert result.activations.change.any()
    assert result.clean_top == int(record(model, prompt).logits[4].argmax())


def close(got, wanted):
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("shape", ["llama", "gpt2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("kind", ["per-layer", "cross-layer-skip"])
def test_direct_edits_equal_the_graphs_edges(shape, kind):
    """Every feature, error and token node, on every feature and logit: the whole matrix."""
    model, dictionary = tiny_model(shape), tiny_dictionary(kind)
    graph = trace(model, dictionary, PROMPT, targets=[4, 9])
    nodes = graph.nodes
    columns = list(zip(nodes.kinds, nodes.layer.tolist(), nodes.position.tolist(), nodes.feature.tolist(), strict=True))
    edits, sources = [], []
    for node, (kind_of, layer, position, feature) in enumerate(columns):
        if kind_of == "feature":
            edits.append([Edit(op="ablate", features=((layer, feature),), positions=(position,))])
        elif kind_of in ("error", "token"):
            at = layer if kind_of == "error" else None
            edits.append([VectorEdit(op="ablate", layer=at, positions=(position,))])
        else:
            continue
        sources.append(node)
    span = nodes.span("feature")
    places = tuple(place[1:] for place in columns[span])
    regime = regime_of("direct", n_layers=model.n_layers)
    result = sweep(model, dictionary, PROMPT, edits, regime=regime, readouts=Readouts(tokens=(4, 9), features=places))
    edges = torch.as_tensor(graph.matrix().toarray())
    into_features, into_logits = edges[span][:, sources], edges[nodes.span("logit")][:, sources]
    for change, wanted in ((result.pre_activations.change, into_features), (result.logits.change, into_logits)):
        assert float((-change.T - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    assert {kind for kind, *_ in columns} >= {"feature", "error", "token"}


@pytest.mark.parametrize("held", [(0,), (1,), (0, 1), (1, 2), (0, 2)])
def test_constrained_over_part_of_the_layers_equals_brute_force(model, dictionary, prompt, held):
    """Inside the range: the clean output and the changes. Past it: the model itself, and what is written there."""
    edits = [
        Edit(op="add", features=((0, 3),), positions=(2,), value=2.0),
        Edit(op="set", features=((1, 7),), positions=(4,), value=1.5),
    ]
    clean, deltas = record(model, prompt), slow_deltas(model, dictionary, prompt, edits)

    def written(layer):
        def hook(_m, _a, out):
            return (clean.mlp_outputs[layer][None] if layer in held else out) + deltas[layer]

        return hook

    handles = [model.mlp(layer).register_forward_hook(written(layer)) for layer in range(model.n_layers)]
    with attention_through(model.hf, lambda layer, _: clean.patterns[layer][None]):
        wanted = record_final(model, prompt)
    for handle in handles:
        handle.remove()
    regime = regime_of("constrained", n_layers=model.n_layers, layers=held)
    tokens = tuple(range(model.d_vocab))
    found = sweep(model, dictionary, prompt, [edits], regime=regime, readouts=Readouts(tokens=tokens)).logits.after[0]
    close(found, (model.W_U - model.W_U.mean(0)) @ wanted)
    if dictionary.is_cross_layer:
        assert any(deltas[layer].any() for layer in range(max(held) + 1, model.n_layers)) or max(held) == 2


def record_final(model, ids):
    seen = []
    hook = model.final_norm.module.register_forward_hook(lambda _m, _a, out: seen.append(out[0, -1]))
    model.logits(torch.tensor(ids))
    hook.remove()
    return seen[0]


def test_iterative_edits_equal_layer_by_layer_brute_force(model, dictionary, prompt):
    """Each layer is read in a run in which the layers below are already edited."""
    wanted = {(0, 2, 3): 2.0, (1, 2, 7): 1.5, (2, 2, 5): 0.0, (2, 4, 6): 1.0}
    edits = [Edit(op="set", features=((a, f),), positions=(p,), value=v) for (a, p, f), v in wanted.items()]
    deltas = torch.zeros(model.n_layers, len(prompt), model.d_model)

    def run():
        handles = [
            model.mlp(i).register_forward_hook(lambda _m, _a, out, i=i: out + deltas[i]) for i in range(model.n_layers)
        ]
        try:
            return record(model, prompt)
        finally:
            for handle in handles:
                handle.remove()

    for layer in range(model.n_layers):
        inputs = run().mlp_inputs
        for (at, position, feature), value in wanted.items():
            if at == layer:
                a = dictionary.encode_layer(layer, inputs[layer, position])[feature]
                rows = dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
                for k, target in enumerate(dictionary.targets(layer)):
                    deltas[target, position] += (value - a) * rows[k]
    regime = regime_of("iterative", n_layers=model.n_layers)
    readouts = Readouts(tokens=tuple(range(model.d_vocab)))
    found = sweep(model, dictionary, prompt, [edits], regime=regime, readouts=readouts).logits.after[0]
    close(found, (model.W_U - model.W_U.mean(0)) @ run().final[-1])


def test_activations_of_features_that_compete_are_those_of_their_layer(model, dictionary, prompt):
    parts = {name: [getattr(dictionary, name)(i) for i in range(3)] for name in ("W_enc", "b_enc", "W_dec")}
    if not dictionary.is_cross_layer:
        parts["W_dec"] = [rows[:, 0] for rows in parts["W_dec"]]
    competing = Dictionary.from_tensors(**parts, b_dec=list(dictionary.b_dec), k=4)
    places = tuple((2, 4, feature) for feature in range(24))
    edits = [Edit(op="add", features=((0, 3), (0, 5)), positions=(3, 4), value=3.0)]
    result = sweep(model, competing, prompt, [edits], readouts=Readouts(features=places))
    with editing(model, competing, edits):
        wanted = competing.encode_layer(2, record(model, prompt).mlp_inputs[2, 4])
    close(result.activations.after[0], wanted)
    assert int((result.activations.after[0] > 1e-6).sum()) <= 4


def test_an_interrupted_sweep_goes_on_where_it_stopped(model, dictionary, prompt, tmp_path):
    edits, folder = edits_of_every_kind(model), tmp_path / "sweep"
    whole = sweep(model, dictionary, prompt, edits, readouts=Readouts(tokens=(3,)))

    def stop(done, _):
        if done >= 4:
            raise KeyboardInterrupt

    asked = {"readouts": Readouts(tokens=(3,)), "batch_size": 2, "resume": folder}
    with pytest.raises(KeyboardInterrupt):
        sweep(model, dictionary, prompt, edits, on_progress=stop, **asked)
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"], "nothing half-written lies about"
    told = []
    other = sweep(model, dictionary, prompt, edits, readouts=Readouts(tokens=(4,)), resume=folder)
    close(other.logits.change, sweep(model, dictionary, prompt, edits, readouts=Readouts(tokens=(4,))).logits.change)
    again = sweep(model, dictionary, prompt, edits, on_progress=lambda done, _: told.append(done), **asked)
    close(again.logits.change, whole.logits.change)
    close(again.kl, whole.kl)
    assert told == [6, 8], "what was done is not done again"
    assert not folder.exists()


def test_layers_below_the_first_edit_are_not_run_again(model, dictionary, prompt):
    calls = []
    handles = [model.attention(i).register_forward_hook(lambda _m, _a, _o, i=i: calls.append(i)) for i in range(3)]
    sweep(model, dictionary, prompt, [[Edit(op="ablate", features=((2, f),))] for f in range(5)])
    for handle in handles:
        handle.remove()
    assert calls == [0, 1, 2, 2], "the clean run, and one batch from layer 2 on"


@pytest.mark.parametrize(
    ("readouts", "words"),
    [
        (Readouts(features=((3, 2, 1),)), "The readout L3.F1 is not in this dictionary of 3 layers of 24 features"),
        (Readouts(features=((1, 0, 1),)), "features are at positions 1 to 5 of this prompt"),
        (Readouts(tokens=(40,)), "token 40 is not in the vocabulary"),
        (Readouts(position=6), "Position 6 is outside the prompt of 6 tokens"),
    ],
)
def test_readouts_that_are_not_there_are_refused(model, dictionary, prompt, readouts, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        sweep(model, dictionary, prompt, [[]], readouts=readouts)


def test_a_sweep_needs_edits_that_can_be_done(model, dictionary, prompt):
    with pytest.raises(UsageError, match="at least one list of edits"):
        sweep(model, dictionary, prompt, [])
    with pytest.raises(UsageError, match="at position 9"):
        sweep(model, dictionary, prompt, [[], [Edit(op="ablate", features=((0, 1),), positions=(9,))]])
