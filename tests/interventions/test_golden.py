"""The same interventions as circuit-tracer's, on identical weights."""

import json
from pathlib import Path

import pytest
import torch
from tests.golden.cases import ALL, cases

from silverstain.bases import open_dictionary
from silverstain.interventions import Edit, Readouts, intervene, regime_of, sweep
from silverstain.models import load_model
from silverstain.storage import read_tensors

REGIMES = {"free": ("iterative", None), "attn_frozen": ("iterative", "frozen"), "direct": ("direct", None)}
"""Our mode, and the attention where it is not the mode's own."""


@pytest.mark.parametrize("case", cases(*ALL))
@pytest.mark.parametrize("name", ["double_one", "ablate_two", "switch_on_dead"])
@pytest.mark.parametrize("mode", REGIMES)
def test_logits_and_features_under_edits_equal_circuit_tracers(case: Path, name: str, mode: str):
    model = load_model(case / "model")
    dictionary = open_dictionary(case / "transcoder")
    tensors, _ = read_tensors(case / "intervention.safetensors")
    graph, _ = read_tensors(case / "graph.safetensors")
    sets = json.loads((case / "intervention.json").read_text())["interventions"]
    edits = [
        Edit(op="set", features=((layer, feature),), positions=(position,), value=value)
        for layer, position, feature, value in sets[name]
    ]
    named, attention = REGIMES[mode]
    regime = regime_of(named, n_layers=model.n_layers, attention=attention)
    result = intervene(
        model, dictionary, graph["input_tokens"], edits,
        base=regime.base, attention=regime.attention, held_layers=regime.held_layers, norms=regime.norms,
    )  # fmt: skip
    torch.testing.assert_close(result.edited_logits, tensors[f"{name}.{mode}.logits"], atol=1e-4, rtol=1e-4)
    assert (result.edited_logits - result.baseline_logits).abs().max() > 1e-2

    index, value = tensors[f"{name}.{mode}.activations.index"], tensors[f"{name}.{mode}.activations.value"]
    columns = index.T if index.shape[0] != 3 else index
    late = columns[1] >= model.n_real
    places = tuple(map(tuple, columns[:, late].T.tolist()))
    swept = sweep(model, dictionary, graph["input_tokens"], [edits], regime=regime, readouts=Readouts(features=places))
    torch.testing.assert_close(swept.activations.after[0], value[late], atol=1e-4, rtol=1e-4)
