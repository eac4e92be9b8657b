"""Parity with circuit-tracer 0.5.0 on identical weights (design: what is exact, 7)."""

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from tests.golden.cases import ALL, GEMMA2, GPT2, LLAMA, cases
from torch import Tensor

from silverstain.attribution import edges_into, feature_targets, freeze, joined, logit_targets, sources_of, trace
from silverstain.bases import Dictionary, open_dictionary
from silverstain.graphs import Graph, NodeLayout
from silverstain.models import LanguageModel, load_model, record


class Golden(NamedTuple):
    model: LanguageModel
    dictionary: Dictionary
    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    graph: Graph


@cache
def opened(case: Path) -> Golden:
    model, dictionary = load_model(case / "model"), open_dictionary(case / "transcoder")
    tensors, meta = load_file(case / "graph.safetensors"), json.loads((case / "meta.json").read_text())
    graph = trace(model, dictionary, meta["prompt"], targets=tensors["logit_token_ids"].tolist())
    return Golden(model, dictionary, tensors, meta, graph)


@pytest.fixture(params=cases(*ALL))
def golden(request: pytest.FixtureRequest) -> Golden:
    return opened(request.param)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def theirs(golden: Golden, what: str) -> list[int]:
    """Their indices of nodes that both graphs have, in our order."""
    features, layers, positions = (golden.meta[key] for key in ("n_active", "n_layers", "n_pos"))
    tokens = features + layers * positions
    return {
        "feature": list(range(features)),
        "error": [features + layer * positions + p for layer in range(layers) for p in range(1, positions)],
        "token": list(range(tokens, tokens + positions)),
        "logit": list(range(tokens + positions, golden.meta["nodes"])),
    }[what]


def both(golden: Golden, source: str) -> tuple[Tensor, Tensor]:
    """Our and their edges from one kind of source into all targets."""
    ours = torch.as_tensor(golden.graph.matrix().toarray())[golden.graph.row_nodes]
    rows = [*theirs(golden, "feature"), *theirs(golden, "logit")]
    return ours[:, golden.graph.nodes.span(source)], golden.tensors["adjacency"][rows][:, theirs(golden, source)]


def test_the_same_features_are_active_and_the_same_tokens_likely(golden: Golden):
    nodes, span = golden.graph.nodes, golden.graph.nodes.span("feature")
    columns = torch.stack([nodes.layer[span], nodes.position[span], nodes.feature[span]], dim=1)
    assert torch.equal(columns.long(), golden.tensors["active_features"])
    torch.testing.assert_close(nodes.activation[span], golden.tensors["activation_values"], rtol=1e-4, atol=1e-4)
    probabilities = nodes.activation[nodes.span("logit")]
    torch.testing.assert_close(probabilities, golden.tensors["logit_probabilities"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("source", ["feature", "error"])
def test_edges_are_circuit_tracers(golden: Golden, source: str):
    found, expected = both(golden, source)
    assert relative(found, expected) < 1e-4


def test_graphs_are_exact(golden: Golden):
    assert golden.graph.exactness() < 1e-5


@pytest.mark.parametrize("case", cases(*GEMMA2))
def test_token_edges_are_circuit_tracers_without_a_skip(case: Path):
    found, expected = both(opened(case), "token")  # the embedding scaled, in both
    assert relative(found, expected) < 1e-4


@pytest.mark.parametrize("case", cases(*GPT2))
def test_token_edges_of_gpt2_carry_the_position_embedding_too(case: Path):
    """It leaves learned positions out of its token nodes; without them ours are the same."""
    golden = opened(case)
    found, expected = both(golden, "token")
    assert relative(found, expected) > 1e-2

    model, dictionary = golden.model, golden.dictionary
    recording = record(model, golden.meta["prompt"])
    words = dataclasses.replace(recording, embedding=model.W_E[recording.token_ids])
    active = dictionary.encode(recording.mlp_inputs)
    layout = NodeLayout(n_features=len(active), n_layers=model.n_layers, n_positions=recording.n_positions, n_logits=5)
    sources = sources_of(words, dictionary, active, torch.arange(len(active)), layout)
    ids = golden.tensors["logit_token_ids"].tolist()
    logits = logit_targets(model, ids, [recording.n_positions - 1] * len(ids))
    targets = joined(feature_targets(recording, dictionary, active), logits)
    rows = edges_into(freeze(model, recording, dictionary), sources, targets)
    dense = torch.sparse_csr_tensor(
        rows.indptr, rows.columns.long(), rows.values, (len(rows), sources.n_columns), check_invariants=True
    ).to_dense()
    positions = torch.arange(recording.n_positions)
    assert relative(dense[:, layout.token(positions)], expected) < 1e-4


@pytest.mark.parametrize("case", cases(*LLAMA))
def test_token_edges_are_circuit_tracers_but_for_the_skip_at_the_first_token(case: Path):
    """It lets the linear skip pass at the first token although it drops the features and errors there; we keep the
    real MLP of that position as a constant. Let it pass there too, and that column is the same as well."""
    golden = opened(case)
    found, expected = both(golden, "token")
    assert relative(found[:, 1:], expected[:, 1:]) < 1e-4
    assert relative(found[:, 0], expected[:, 0]) > 1e-2

    model, dictionary = golden.model, golden.dictionary
    recording = record(model, golden.meta["prompt"])
    active = dictionary.encode(recording.mlp_inputs)
    layout = NodeLayout(n_features=len(active), n_layers=model.n_layers, n_positions=recording.n_positions, n_logits=5)
    flow = dataclasses.replace(freeze(model, recording, dictionary), n_real=0)
    sources = sources_of(recording, dictionary, active, torch.arange(len(active)), layout)
    ids = golden.tensors["logit_token_ids"].tolist()
    logits = logit_targets(model, ids, [recording.n_positions - 1] * len(ids))
    rows = edges_into(flow, sources, joined(feature_targets(recording, dictionary, active), logits))
    row = torch.arange(len(rows)).repeat_interleave(rows.indptr.diff())
    into = rows.columns == layout.token(0)
    column = torch.zeros(len(rows)).index_put_((row[into],), rows.values[into])
    assert relative(column, expected[:, 0]) < 1e-4
