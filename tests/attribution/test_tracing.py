"""A traced graph adds up, says what removal would do, and loses nothing to a budget."""

import json
import re
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

from silverstain.attribution import freeze, trace
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.models import record

from ..zoo import ZOO  # noqa: TID252 - tests are no package that could be named
from .conftest import KINDS, SHAPES

SHARED_KINDS = ("per-layer-skip", "cross-layer")  # one of each way to write; all four where a claim is about exactness


def feature_nodes(graph: Graph) -> list[tuple[int, int, int]]:
    nodes, span = graph.nodes, graph.nodes.span("feature")
    return list(zip(*(c[span].tolist() for c in (nodes.layer, nodes.position, nodes.feature)), strict=True))


# conservation


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_edges_of_every_target_add_up_to_its_recorded_value(tiny, shape: str, dtype, bound: float):
    for kind in KINDS:
        graph = trace(tiny.model(shape, dtype), tiny.dictionary(kind, dtype), tiny.prompt)
        assert graph.nodes.count()["feature"] > 15
        assert graph.meta["exactness"]["max_relative_error"] == graph.exactness() < bound


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_edges_add_up_with_linearised_norms_too(tiny, shape: str, dtype, bound: float):
    kind = KINDS[SHAPES.index(shape) % len(KINDS)]
    graph = trace(tiny.model(shape, dtype), tiny.dictionary(kind, dtype), tiny.prompt, norms="linearised")
    assert graph.meta["settings"]["norms"] == "linearised"
    assert graph.exactness() < bound


@pytest.mark.parametrize("architecture", ZOO)
def test_huge_channels_do_not_spoil_the_sums(tiny, architecture: str):
    for kind, dtype, bound in (("per-layer-skip", torch.float32, 1e-5), ("cross-layer", torch.float64, 1e-10)):
        graph = trace(tiny.model(f"{architecture}-outlier", dtype), tiny.dictionary(kind, dtype), tiny.prompt)
        assert graph.exactness() < bound


def test_values_of_targets_come_from_the_recording(tiny, kind: str):
    model, dictionary = tiny.model("qwen3"), tiny.dictionary(kind)
    graph = trace(model, dictionary, tiny.prompt, targets=[4, 9])
    recording = record(model, tiny.prompt)
    for row, (layer, position, feature) in enumerate(feature_nodes(graph)):
        before = dictionary.pre_activations(layer, recording.mlp_inputs[layer, position])[feature]
        torch.testing.assert_close(graph.values_of_targets[row], before)
    logits = recording.logits[-1]
    torch.testing.assert_close(graph.values_of_targets[-2:], logits[[4, 9]] - logits.mean())


def test_errors_are_recorded_outputs_less_the_reconstruction(tiny, kind: str):
    """The error nodes of the last layer, read by a logit, against the dictionary's own reconstruction."""
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    graph = trace(model, dictionary, tiny.prompt, targets=[4])
    recording = record(model, tiny.prompt)
    active = dictionary.encode(recording.mlp_inputs)
    errors = recording.mlp_outputs - dictionary.reconstruct(active, recording.mlp_inputs)
    gradients = freeze(model, recording, dictionary).adjoint((model.W_U[4] - model.W_U.mean(0))[None], 3, 6)
    expected = (errors * gradients.mlp_outputs[:, 0]).sum(-1)
    nodes = graph.nodes
    found = torch.zeros_like(expected)
    sources, values = graph.incoming(graph.n_nodes - 1)
    is_error = nodes.is_kind("error")[sources]
    found[nodes.layer[sources[is_error]].long(), nodes.position[sources[is_error]].long()] = values[is_error]
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], rtol=1e-8, atol=1e-10)
    assert nodes.position[nodes.is_kind("error")].min() == 1


@pytest.mark.parametrize("n_real", [0, 2])
def test_leading_positions_write_through_bias_nodes(tiny, kind: str, n_real: int):
    graph = trace(tiny.model("llama", n_real=n_real), tiny.dictionary(kind), tiny.prompt)
    assert graph.exactness() < 1e-10
    assert graph.nodes.count()["bias"] == 1 + 3 + 3 * n_real
    assert graph.nodes.position[graph.nodes.is_kind("feature", "error")].min() == n_real


def test_a_prompt_of_only_leading_positions_has_no_features(tiny):
    graph = trace(tiny.model("llama", n_real=4), tiny.dictionary("cross-layer-skip"), tiny.prompt[:3])
    assert graph.nodes.count() | {"logit": 0} == {"feature": 0, "error": 0, "token": 3, "bias": 13, "logit": 0}
    assert graph.exactness() < 1e-10


# what an edge means


@pytest.mark.parametrize(("shape", "kind"), list(zip(SHAPES, cycle(KINDS), strict=False)))
def test_an_edge_with_linearised_norms_is_a_rate_of_change_with_norms_live(tiny, shape: str, kind: str):
    """A millionth of each source is taken out of the Hugging Face model; only attention and MLPs are frozen."""
    model, dictionary, share = tiny.model(shape), tiny.dictionary(kind), 1e-6
    graph = trace(model, dictionary, tiny.prompt, targets=[4, 9], norms="linearised")
    recording = record(model, tiny.prompt)
    frozen = tiny.frozen(model, recording, dictionary, norms_live=True)
    values = values_of(frozen, graph, recording, dictionary)
    edges = torch.as_tensor(graph.matrix().toarray())
    n_features = graph.nodes.count()["feature"]
    for source in range(0, n_features, max(1, n_features // 8)):
        writes = without(graph, recording, dictionary, source)
        rate = (values(-share * writes) - values(share * writes)) / (2 * share)
        scale = float(graph.values_of_targets.abs().max())
        torch.testing.assert_close(edges[graph.row_nodes, source], rate, rtol=1e-5, atol=1e-7 * scale)


def values_of(frozen, graph: Graph, recording, dictionary):
    """Of the graph's targets, as a function of what is added to every MLP output."""
    features = feature_nodes(graph)

    def values(writes: torch.Tensor) -> torch.Tensor:
        reads = frozen(torch.zeros_like(recording.embedding), writes)
        logits = reads.logits[-1]
        before = [dictionary.pre_activations(layer, reads.at(layer, p))[f] for layer, p, f in features]
        return torch.stack([*before, *(logits[[4, 9]] - logits.mean())])

    return values


def without(graph: Graph, recording, dictionary, source: int) -> torch.Tensor:
    """What takes a feature node's writes away, [layer pos d_model]."""
    layer, position, feature = feature_nodes(graph)[source]
    writes = torch.zeros_like(recording.mlp_outputs)
    rows = dictionary.decoder_rows(layer, torch.tensor([feature]))[0] * graph.nodes.activation[source]
    for target, row in zip(dictionary.targets(layer), rows, strict=True):
        writes[target, position] = -row
    return writes


@pytest.mark.parametrize(("shape", "kind"), list(zip(SHAPES, cycle(KINDS), strict=False)))
def test_an_edge_is_the_change_of_its_target_when_its_source_is_removed(tiny, shape: str, kind: str):
    """In the Hugging Face model with everything frozen by hooks, features are taken out by subtracting writes."""
    model, dictionary = tiny.model(shape), tiny.dictionary(kind)
    graph = trace(model, dictionary, tiny.prompt, targets=[4, 9])
    recording = record(model, tiny.prompt)
    frozen = tiny.frozen(model, recording, dictionary)
    edges = torch.as_tensor(graph.matrix().toarray())
    values, n_features = values_of(frozen, graph, recording, dictionary), graph.nodes.count()["feature"]

    clean = values(torch.zeros_like(recording.mlp_outputs))
    torch.testing.assert_close(clean, graph.values_of_targets, rtol=1e-9, atol=1e-9)
    for source in range(0, n_features, max(1, n_features // 8)):
        change = clean - values(without(graph, recording, dictionary, source))
        scale = float(graph.values_of_targets.abs().max())
        torch.testing.assert_close(edges[graph.row_nodes, source], change, rtol=1e-7, atol=1e-10 * scale)


def test_the_local_replacement_model_gives_the_models_logits(tiny, shape: str, kind: str):
    """Features recomputed layer by layer, plus errors, with attention and norms frozen: nothing else is needed."""
    model, dictionary = tiny.model(shape), tiny.dictionary(kind)
    recording = record(model, tiny.prompt)
    active = dictionary.encode(recording.mlp_inputs)
    errors = recording.mlp_outputs - dictionary.reconstruct(active, recording.mlp_inputs)
    flow = freeze(model, recording)
    stream = recording.embedding[None]
    pending = dictionary.b_dec[:, None].repeat(1, recording.n_positions, 1) + errors
    for layer in range(model.n_layers):
        bias = flow.attention_bias[layer]
        mid = stream + flow.attention(layer, stream) + (0 if bias is None else bias)
        mlp_input = flow.read(layer, stream if flow.is_parallel else mid, with_bias=True)[0]
        stream = mid
        written = dictionary.decode_layer(layer, dictionary.encode_layer(layer, mlp_input))
        for offset, target in enumerate(dictionary.targets(layer)):
            pending[target, 1:] += written[1:, offset]
        skip = dictionary.W_skip(layer)
        out = pending[layer] if skip is None else pending[layer] + mlp_input @ skip.T
        out[0] = recording.mlp_outputs[layer, 0]
        stream = stream + out
    final = flow.read(model.n_layers, stream, with_bias=True)[0]
    torch.testing.assert_close(final, recording.final, rtol=1e-8, atol=1e-8)


# budgets


@pytest.mark.parametrize("kind", SHARED_KINDS)
@pytest.mark.parametrize("budget", [0, 7, 30])
def test_a_budget_loses_no_mass(tiny, kind: str, budget: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.attribution.budget.SMALLEST_ROUND", 5)
    model, dictionary = tiny.model("qwen3"), tiny.dictionary(kind)
    graph = trace(model, dictionary, tiny.prompt, max_features=budget)
    assert graph.nodes.count()["feature"] == budget < graph.meta["active_features"]
    assert graph.exactness() < 1e-10


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_what_is_beyond_the_budget_is_in_the_error_nodes_it_writes_to(tiny, kind: str):
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    whole = trace(model, dictionary, tiny.prompt, targets=[4])
    small = trace(model, dictionary, tiny.prompt, targets=[4], max_features=10)
    kept = set(feature_nodes(small))
    recording = record(model, tiny.prompt)
    gradient = freeze(model, recording, dictionary).adjoint((model.W_U[4] - model.W_U.mean(0))[None], 3, 6)

    def into_logit(graph: Graph) -> dict[tuple[str, int, int], float]:
        sources, values = graph.incoming(graph.n_nodes - 1)
        nodes = graph.nodes
        columns = (nodes.layer[sources], nodes.position[sources], values)
        kinds = [nodes.kinds[i] for i in sources.tolist()]
        rows = zip(kinds, *(c.tolist() for c in columns), strict=True)
        return {(kind, layer, position): value for kind, layer, position, value in rows if kind == "error"}

    expected = into_logit(whole)
    for node, (layer, position, feature) in enumerate(feature_nodes(whole)):
        if (layer, position, feature) not in kept:
            rows = dictionary.decoder_rows(layer, torch.tensor([feature]))[0] * whole.nodes.activation[node]
            for target, row in zip(dictionary.targets(layer), rows, strict=True):
                moved = float(row @ gradient.mlp_outputs[target, 0, position])
                expected["error", target, position] = expected.get(("error", target, position), 0.0) + moved
    found = into_logit(small)
    for key, value in expected.items():
        assert found.get(key, 0.0) == pytest.approx(value, rel=1e-8, abs=1e-10), key


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_the_unexplained_share_falls_with_the_budget(tiny, kind: str):
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    whole = trace(model, dictionary, tiny.prompt)
    n = whole.meta["active_features"]
    shares = [
        trace(model, dictionary, tiny.prompt, max_features=m).meta["unexplained_influence"] for m in (0, n // 3, n)
    ]
    assert 1 > shares[0] > shares[1] > shares[2] == 0 == whole.meta["unexplained_influence"]


def test_expansion_stops_once_little_is_unexplained(tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.attribution.budget.SMALLEST_ROUND", 5)
    monkeypatch.setattr("silverstain.attribution.budget.ROUNDS", 100)
    model, dictionary = tiny.model("llama"), tiny.dictionary("cross-layer")
    graph = trace(model, dictionary, tiny.prompt, max_unexplained=0.2)
    assert 0 < graph.meta["unexplained_influence"] <= 0.2
    assert graph.nodes.count()["feature"] < graph.meta["active_features"]
    assert graph.exactness() < 1e-10


def test_the_budget_takes_the_features_that_matter(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    whole = trace(model, dictionary, tiny.prompt)
    small = trace(model, dictionary, tiny.prompt, max_features=20)
    influence = dict(zip(feature_nodes(whole), whole.nodes.influence.tolist(), strict=False))  # type: ignore[union-attr]
    kept = set(feature_nodes(small))
    best = sum(sorted(influence.values(), reverse=True)[:20])
    assert sum(influence[node] for node in kept) > 0.9 * best


# answers, position, meta


def test_default_targets_are_the_smallest_set_that_reaches_the_probability(tiny):
    model = tiny.model("llama")
    graph = trace(model, tiny.dictionary("per-layer"), tiny.prompt)
    probabilities = model.logits(torch.tensor(tiny.prompt))[-1].softmax(-1).sort(descending=True)
    count = len(graph.meta["targets"])
    assert [target["id"] for target in graph.meta["targets"]] == probabilities.indices[:count].tolist()
    assert count == 10 or probabilities.values[: count - 1].sum() < 0.95 <= probabilities.values[:count].sum()


def test_targets_may_be_named_by_text_or_id(tiny):
    graph = trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, targets=["w9", 4])
    assert [(target["token"], target["id"]) for target in graph.meta["targets"]] == [("w9", 9), ("w4", 4)]
    assert graph.nodes.token[graph.nodes.is_kind("logit")].tolist() == [9, 4]


def test_what_follows_the_position_changes_nothing(tiny):
    model, dictionary = tiny.model("qwen3"), tiny.dictionary("cross-layer")
    early = trace(model, dictionary, tiny.prompt, position=4)
    alone = trace(model, dictionary, tiny.prompt[:5])
    assert early.nodes.ids() == alone.nodes.ids()
    torch.testing.assert_close(early.values, alone.values)
    assert trace(model, dictionary, tiny.prompt, position=-3).meta["token_ids"] == tiny.prompt[:5]


def test_meta_says_what_was_traced_and_json_can_hold_it(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("cross-layer")
    meta: Any = trace(model, dictionary, "w11 w5", targets=["w4"], max_features=9).meta
    assert json.loads(json.dumps(meta)) == meta
    assert meta["prompt"] == "w11 w5"
    assert meta["tokens"] == model.token_strings(meta["token_ids"])
    assert meta["model"] == {"name": model.name, "hash": model.hash}
    assert meta["dictionary"] == {"name": dictionary.name, "hash": dictionary.hash}
    assert meta["settings"]["max_features"] == 9
    assert set(meta["seconds"]) == {"record", "attribute", "total"}
    assert set(meta["versions"]) == {"silverstain", "torch", "transformers"}


@pytest.mark.parametrize("budget", [None, 12])
def test_progress_reaches_the_number_of_targets(tiny, budget: int | None):
    told: list[tuple[int, int]] = []
    graph = trace(
        tiny.model("llama"), tiny.dictionary("cross-layer"), tiny.prompt, max_features=budget,
        on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    n_rows = len(graph.row_nodes) * (1 if budget is None else 2)  # a cross-layer budget finds its rows again
    assert told[-1] == (n_rows, n_rows)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_trace_leaves_the_model_as_it_was(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    before = model.logits(torch.tensor(tiny.prompt))
    first = trace(model, dictionary, tiny.prompt)
    assert torch.equal(model.logits(torch.tensor(tiny.prompt)), before)
    assert trace(model, dictionary, tiny.prompt).hash == first.hash


# what a person can do wrong


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": []}, "there are no tokens to run"),
        ({"prompt": [0, 10**30]}, "token ids are whole numbers from 0 to 47; one of these is not"),
        ({"prompt": [0, 99]}, "token id 99 is not in the vocabulary of tiny-llama"),
        ({"targets": [99]}, "target token id 99 is not in the vocabulary of tiny-llama; give ids from 0 to 47"),
        ({"targets": []}, "no target is named"),
        ({"targets": [3, "w3"]}, "the target 'w3' is named twice at position 6"),
        ({"position": 7}, "there is no position 7 in a prompt of 7 tokens; give one from -7 to 6"),
        ({"position": -8}, "there is no position -8"),
        ({"max_features": -1}, "max_features is -1"),
        ({"max_unexplained": 2.0}, "max_unexplained is 2.0"),
    ],
)
def test_a_wrong_request_is_a_usage_error(tiny, arguments: dict[str, Any], words: str):
    given = {"prompt": tiny.prompt} | arguments
    with pytest.raises(UsageError, match=re.escape(words)):
        trace(tiny.model("llama"), tiny.dictionary("per-layer"), **given)


def test_a_dictionary_of_another_model_is_a_usage_error(tiny):
    with pytest.raises(UsageError, match="was trained on another model"):
        trace(tiny.model("llama"), tiny.dictionary("per-layer", model_hash="0" * 16), tiny.prompt)


@pytest.mark.parametrize("weights", ["model.layers.1.mlp.down_proj.weight", "lm_head.weight"])
def test_a_model_that_computes_nan_is_a_usage_error(tiny, weights: str):
    model = tiny.model.__wrapped__("llama")
    model.hf.get_parameter(weights).data[0] = float("nan")
    with pytest.raises(UsageError, match="computes numbers on this prompt that are NaN or infinite"):
        trace(model, tiny.dictionary("per-layer"), tiny.prompt)


def test_a_bfloat16_model_is_traced_and_its_graph_comes_back(tiny, tmp_path: Path):
    graph = trace(tiny.model.__wrapped__("llama", torch.bfloat16), tiny.dictionary("cross-layer"), tiny.prompt)
    graph.save(tmp_path / "g.safetensors")
    again = Graph.load(tmp_path / "g.safetensors")
    assert again.hash == graph.hash
    assert torch.equal(again.values, graph.values.float())
