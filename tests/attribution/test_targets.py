"""Whatever is asked for, its edges add up, and are what removal would do."""

import json
import re
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import torch

from silverstain.attribution import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
    trace,
)
from silverstain.errors import UsageError
from silverstain.graphs import Graph, graph_json, target_weights
from silverstain.models import record

from ..zoo import SIZES, ZOO  # noqa: TID252 - tests are no package that could be named
from .conftest import KINDS

N_LAYERS, WIDTH = SIZES["num_hidden_layers"], SIZES["hidden_size"]


def direction(seed: int, layer: int | None = None, position: int | None = None) -> DirectionTarget:
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return DirectionTarget(name=f"direction {seed}", vector=vector, layer=layer, position=position)


def every_kind() -> list[TargetRequest]:
    """Each kind, at several layers and positions, in one graph."""
    return [
        TokenTarget(token="w4"),
        TokenTarget(token=4, position=3),
        DifferenceTarget(token="w9", minus="w4"),
        DifferenceTarget(token=30, minus=2, position=-3),
        direction(5),
        direction(6, layer=1, position=5),
        direction(7, layer=0, position=2),
        FeatureTarget(layer=2, feature=3),
        FeatureTarget(layer=1, feature=11, position=4),
    ]


def features_of(graph: Graph) -> list[tuple[int, int, int]]:
    nodes, span = graph.nodes, graph.nodes.span("feature")
    return list(zip(*(c[span].tolist() for c in (nodes.layer, nodes.position, nodes.feature)), strict=True))


# exact


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("architecture", ZOO)
def test_edges_of_targets_of_every_kind_add_up(tiny, architecture: str, dtype, bound: float):
    for kind in ("per-layer-skip", "cross-layer"):
        graph = trace(tiny.model(architecture, dtype), tiny.dictionary(kind, dtype), tiny.prompt, targets=every_kind())
        assert graph.exactness() < bound


@pytest.mark.parametrize("budget", [{"max_features": 15}, {"max_unexplained": 0.2}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_they_add_up_within_a_budget(tiny, kind: str, budget: dict[str, Any]):
    graph = trace(tiny.model("llama"), tiny.dictionary(kind), tiny.prompt, targets=every_kind(), **budget)
    assert graph.exactness() < 1e-10
    assert graph.nodes.count()["feature"] < graph.meta["active_features"]


@pytest.mark.parametrize(("architecture", "kind"), list(zip(ZOO, cycle(KINDS), strict=False)))
def test_an_edge_is_the_change_of_its_target_when_its_source_is_removed(tiny, architecture: str, kind: str):
    model, dictionary = tiny.model(architecture), tiny.dictionary(kind)
    graph = trace(model, dictionary, tiny.prompt, targets=every_kind())
    recording = record(model, tiny.prompt)
    frozen = tiny.frozen(model, recording, dictionary)
    roots = graph.nodes.is_kind("logit").nonzero().flatten()
    edges = torch.as_tensor(graph.matrix().toarray())[roots]

    def values(writes: torch.Tensor) -> torch.Tensor:
        reads = frozen(torch.zeros_like(recording.embedding), writes)
        centred = reads.logits - reads.logits.mean(-1, keepdim=True)
        vectors = {seed: direction(seed).vector for seed in (5, 6, 7)}
        return torch.stack(
            [
                centred[6, 4],
                centred[3, 4],
                reads.logits[6, 9] - reads.logits[6, 4],
                reads.logits[4, 30] - reads.logits[4, 2],
                reads.final[6] @ vectors[5],
                reads.mlp_inputs[1, 5] @ vectors[6],
                reads.mlp_inputs[0, 2] @ vectors[7],
                dictionary.pre_activations(2, reads.mlp_inputs[2, 6])[3],
                dictionary.pre_activations(1, reads.mlp_inputs[1, 4])[11],
            ]
        )

    clean = values(torch.zeros_like(recording.mlp_outputs))
    found = graph.values_of_targets[-len(roots) :]
    torch.testing.assert_close(found, clean, rtol=1e-9, atol=1e-9)
    features = features_of(graph)
    for source in range(0, len(features), max(1, len(features) // 10)):
        layer, position, feature = features[source]
        writes = torch.zeros_like(recording.mlp_outputs)
        rows = dictionary.decoder_rows(layer, torch.tensor([feature]))[0] * graph.nodes.activation[source]
        for target, row in zip(dictionary.targets(layer), rows, strict=True):
            writes[target, position] = -row
        scale = float(clean.abs().max())
        torch.testing.assert_close(edges[:, source], clean - values(writes), rtol=1e-7, atol=1e-10 * scale)


def test_a_difference_is_the_difference_of_the_two_tokens(tiny, kind: str):
    model, dictionary = tiny.model("gpt2"), tiny.dictionary(kind)
    both = trace(model, dictionary, tiny.prompt, targets=["w9", "w4"])
    one = trace(model, dictionary, tiny.prompt, targets=[DifferenceTarget(token="w9", minus="w4")])
    rows = torch.as_tensor(both.matrix().toarray())[-2:, :-2]
    torch.testing.assert_close(torch.as_tensor(one.matrix().toarray())[-1, :-1], rows[0] - rows[1])
    assert one.meta["targets"][0]["value"] == pytest.approx(
        float(both.values_of_targets[-2:] @ torch.tensor([1, -1.0]).double())
    )


def test_an_active_feature_as_a_target_has_the_edges_it_has_as_a_node(tiny, kind: str):
    model, dictionary = tiny.model("qwen3"), tiny.dictionary(kind)
    whole = trace(model, dictionary, tiny.prompt)
    node = next(n for n, (layer, *_) in enumerate(features_of(whole)) if layer == 2)
    layer, position, feature = features_of(whole)[node]
    target = FeatureTarget(layer=layer, feature=feature, position=position)
    graph = trace(model, dictionary, tiny.prompt, targets=[target])
    assert len(graph.meta["tokens"]) == position + 1  # what follows changes nothing
    ids = graph.nodes.ids()
    expected = {whole.nodes.ids()[s]: v for s, v in zip(*(c.tolist() for c in whole.incoming(node)), strict=True)}
    found = {ids[s]: v for s, v in zip(*(c.tolist() for c in graph.incoming(graph.n_nodes - 1)), strict=True)}
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert graph.meta["targets"][0]["activation"] == pytest.approx(float(whole.nodes.activation[node]))


def test_features_that_no_target_can_see_get_no_node(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("cross-layer")
    graph = trace(model, dictionary, tiny.prompt, targets=[FeatureTarget(layer=1, feature=3)])
    assert {layer for layer, *_ in features_of(graph)} == {0}
    assert graph.meta["active_features"] > len(features_of(graph))
    assert graph.n_layers == N_LAYERS


def test_an_inactive_feature_says_what_keeps_it_down(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    active = {(layer, feature) for layer, p, feature in features_of(trace(model, dictionary, tiny.prompt)) if p == 6}
    silent = next(f for f in range(dictionary.n_features) if (2, f) not in active)
    graph = trace(model, dictionary, tiny.prompt, targets=[FeatureTarget(layer=2, feature=silent)])
    said = graph.meta["targets"][0]
    assert said["activation"] == 0
    assert said["value"] <= float(dictionary.threshold(2)[silent])
    assert graph.exactness() < 1e-10


# what the graph says of them


def test_meta_and_nodes_say_kind_name_and_place(tiny):
    graph = trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, targets=every_kind())
    targets = graph.meta["targets"]
    assert [target["kind"] for target in targets] == (
        ["token"] * 2 + ["difference"] * 2 + ["direction"] * 3 + ["feature"] * 2
    )
    assert graph.target_names == [target["name"] for target in targets]
    assert graph.target_names[2] == "w9 − w4"
    assert graph.target_names[-1] == "L1.F11"
    assert [target["layer"] for target in targets] == [3, 3, 3, 3, 3, 1, 0, 2, 1]
    roots = graph.nodes.span("logit")
    assert (
        graph.nodes.position[roots].tolist()
        == [target["position"] for target in targets]
        == [6, 3, 6, 4, 6, 5, 2, 6, 4]
    )
    assert graph.nodes.token[roots].tolist() == [4, 4] + [-1] * 7
    assert graph.nodes.ids()[roots][:4] == ["4_4_6", "4_4_3", "4_direction2_6", "4_direction3_4"]
    assert len(set(graph.nodes.ids())) == graph.n_nodes
    assert json.loads(json.dumps(graph.meta)) == graph.meta


def test_a_graph_with_such_targets_is_scored_pruned_saved_and_exported(tiny, tmp_path):
    graph = trace(tiny.model("llama"), tiny.dictionary("cross-layer"), tiny.prompt, targets=every_kind()).prune()
    assert 0 < graph.scores().replacement < 1
    assert graph.node_mask is not None
    assert graph.node_mask[graph.nodes.is_kind("logit")].all()
    graph.save(tmp_path / "g.safetensors")
    assert Graph.load(tmp_path / "g.safetensors").hash == graph.hash
    nodes = graph_json(graph, slug="g")["nodes"]
    assert len({node["node_id"] for node in nodes}) == len(nodes)
    labels = [node["clerp"] for node in nodes if node["feature_type"] == "logit"]
    assert labels[2] == 'Output "w9 − w4" (p=1.000)'


def test_influence_starts_at_probabilities_of_tokens_and_at_one_for_the_others(tiny):
    asked = [TokenTarget(token=4), direction(5), replace(direction(6), weight=0.5)]
    graph = trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, targets=asked)
    probability = graph.meta["targets"][0]["probability"]
    weights = torch.tensor([probability, 1, 0.5], dtype=torch.float64)
    torch.testing.assert_close(target_weights(graph)[graph.nodes.is_kind("logit")], weights / weights.sum())


def test_the_mass_and_the_number_of_default_targets_are_arguments(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    ranked = model.logits(torch.tensor(tiny.prompt))[-1].softmax(-1).sort(descending=True)
    few = trace(model, dictionary, tiny.prompt, most_targets=3)
    assert [target["id"] for target in few.meta["targets"]] == ranked.indices[:3].tolist()
    half = trace(model, dictionary, tiny.prompt, probability=0.5, most_targets=48)
    count = len(half.meta["targets"])
    assert ranked.values[: count - 1].sum() < 0.5 <= ranked.values[:count].sum()


def test_only_what_is_read_is_run(tiny):
    asked = [TokenTarget(token=4, position=2), TokenTarget(token=5, position=-4)]
    graph = trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, targets=asked)
    assert graph.meta["token_ids"] == tiny.prompt[:4]
    assert graph.nodes.position[graph.nodes.span("logit")].tolist() == [2, 3]


# what a person can do wrong


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([TokenTarget(token=4, position=7)], "there is no position 7 in a prompt of 7 tokens; give one from -7 to 6"),
        ([TokenTarget(token=4), TokenTarget(token="w4", position=-1)], "the target 'w4' is named twice at position 6"),
        ([DifferenceTarget(token=4, minus="w4")], "the difference of 4 and 'w4' is of one token; name two"),
        ([DifferenceTarget(token=4, minus=99)], "target token id 99 is not in the vocabulary of tiny-llama"),
        ([FeatureTarget(layer=3, feature=0)], "L3.F0 is asked for in layer 3; give one from 0 to 2"),
        (
            [FeatureTarget(layer=1, feature=20)],
            "there is no feature 20 in layer 1 of tiny-per-layer; give one from 0 to 19",
        ),
        (
            [FeatureTarget(layer=1, feature=2, position=0)],
            "where the model keeps its real MLP and features mean nothing",
        ),
        (
            [DirectionTarget(name="d", vector=torch.ones(3))],
            "the direction 'd' has shape [3]; tiny-llama reads vectors of 16",
        ),
        ([DirectionTarget(name="d", vector=torch.zeros(16))], "the direction 'd' is zero or not finite"),
        ([DirectionTarget(name="d", vector=torch.ones(16), layer=-1)], "d is asked for in layer -1"),
        ([TokenTarget(token=4, weight=-1.0)], "the target 'w4' has weight -1.0; give a number from 0 on"),
        ([TokenTarget(token=4, weight=0.0)], "every target has weight 0"),
    ],
)
def test_a_target_that_is_not_there_is_a_usage_error(tiny, targets: list[TargetRequest], words: str):
    with pytest.raises(UsageError, match=re.escape(words)):
        trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, targets=targets)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"probability": 1.5}, "probability is 1.5"), ({"most_targets": 0}, "most_targets is 0")]
)
def test_a_default_that_chooses_nothing_is_a_usage_error(tiny, arguments: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=re.escape(words)):
        trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, **arguments)
