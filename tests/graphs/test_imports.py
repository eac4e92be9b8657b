"""Graphs of other tools: read as far as they say, and never run."""

import json
import os
import pickle
import random
import re
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import Graph, Group, Story, compare, graph_json, open_graph, story_groups


class LogitTarget(NamedTuple):
    token_str: str
    vocab_idx: int


@dataclass
class UnifiedConfig:
    n_layers: int
    model_name: str = "toy/model"
    dtype: Any = torch.float32


class HookedTransformerConfig:
    def __init__(self, n_layers: int) -> None:
        self.n_layers, self.device, self.tokenizer_name = n_layers, torch.device("cpu"), "toy"


THEIRS = {
    LogitTarget: "circuit_tracer.attribution.targets",
    UnifiedConfig: "circuit_tracer.utils.tl_nnsight_mapping",
    HookedTransformerConfig: "transformer_lens.HookedTransformerConfig",
}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch):
    """Makes files as circuit-tracer does, with classes that pickle under its names, and nothing of it installed."""
    for cls, module in THEIRS.items():
        monkeypatch.setattr(cls, "__module__", module)
        stub = ModuleType(module)
        setattr(stub, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, module, stub)
        parts = module.split(".")
        for i in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:i]), ModuleType(".".join(parts[:i])))

    def save(content: Any, path: Path, **options: Any) -> Path:
        torch.save(content, path, **options)
        with monkeypatch.context() as patched:  # the reader must not need them
            for module in THEIRS.values():
                patched.setitem(sys.modules, module, None)
        return path

    return save


def content_of(graph: Graph, *, n_positions: int = 4, n_layers: int = 3) -> dict[str, Any]:
    """A graph of ours in circuit-tracer's order: features, errors at every position, tokens, logits; no biases."""
    nodes = graph.nodes
    f, t, k = (nodes.count()[kind] for kind in ("feature", "token", "logit"))
    size = f + n_layers * n_positions + t + k
    ours, at = [], []
    for i, (kind, layer, position) in enumerate(
        zip(nodes.kinds, nodes.layer.tolist(), nodes.position.tolist(), strict=True)
    ):
        place = {
            "feature": i,
            "error": f + layer * n_positions + position,
            "token": f + n_layers * n_positions + position,
            "logit": size - graph.n_nodes + i,
        }.get(kind)
        if place is not None:
            ours.append(i)
            at.append(place)
    matrix = torch.zeros(size, size)
    dense = torch.from_numpy(graph.matrix().toarray()).float()
    matrix[torch.tensor(at)[:, None], torch.tensor(at)] = dense[ours][:, ours]
    span = nodes.span("feature")
    features = torch.stack([nodes.layer[span], nodes.position[span], nodes.feature[span]], dim=1).long()
    extra = torch.tensor([[0, 1, 0]])  # an active feature that was not selected
    return {
        "input_string": "a b c",
        "adjacency_matrix": matrix,
        "cfg": UnifiedConfig(n_layers),
        "active_features": torch.cat([extra, features]),
        "logit_targets": [LogitTarget(f" x{i}", 50 + i) for i in range(k)],
        "logit_probabilities": nodes.activation[nodes.span("logit")].float(),
        "vocab_size": 1000,
        "input_tokens": nodes.token[nodes.span("token")].long(),
        "selected_features": torch.arange(f) + 1,
        "activation_values": torch.cat([torch.zeros(1), nodes.activation[span].float()]),
        "scan": "toy/dictionary",
    }


def without_biases(graph: Graph) -> dict[tuple[str, str], float]:
    ids = graph.nodes.ids()
    edges = zip(graph.indices.tolist(), graph.targets.tolist(), graph.values.tolist(), strict=True)
    return {(ids[s], ids[t]): v for s, t, v in edges if not ids[s].startswith("bias")}


# .pt


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_a_graph_of_circuit_tracer_has_its_nodes_and_edges(make_graph, theirs, tmp_path: Path, seed: int):
    graph = make_graph(seed)
    found, story = open_graph(theirs(content_of(graph), tmp_path / "g.pt"))
    assert story == Story(graph_hash=found.hash)
    assert without_biases(found) == pytest.approx(without_biases(graph), rel=1e-6)
    agreement = compare(found, graph)
    for kind in ("feature", "token", "logit"):
        assert agreement.nodes[kind][1:] == (0, 0)
    assert agreement.nodes["error"][1] == 0  # none that we would not have: the first token's are left out
    assert agreement.activations.max_relative_difference == pytest.approx(0, abs=1e-6)
    assert found.target_names == [" x0", " x1"]
    assert (found.meta["prompt"], found.meta["token_ids"]) == ("a b c", [100, 101, 102, 103])
    assert found.meta["model"] == {"name": "toy/model"}
    assert found.values_of_targets.isnan().all()


@pytest.mark.parametrize("change", ["legacy ids", "legacy settings", "old container", "virtual target"])
def test_other_versions_of_the_file_are_read(make_graph, theirs, tmp_path: Path, change: str):
    content = content_of(make_graph(1))
    options = {}
    if change == "legacy ids":
        content["logit_targets"] = torch.tensor([50, 51])
    elif change == "legacy settings":
        content["cfg"] = HookedTransformerConfig(3)
    elif change == "old container":
        options["_use_new_zipfile_serialization"] = False
    else:
        content["logit_targets"][1] = LogitTarget("a − b", 1001)
    graph, _ = open_graph(theirs(content, tmp_path / "g.pt", **options))
    assert without_biases(graph) == pytest.approx(without_biases(make_graph(1)), rel=1e-6) or change == "virtual target"
    last = graph.meta["targets"][-1]
    assert last["kind"] == ("direction" if change == "virtual target" else "token")
    assert last["name"] == {"legacy ids": "#51", "virtual target": "a − b"}.get(change, " x1")
    assert graph.nodes.ids()[-1] == ("4_direction1_3" if change == "virtual target" else "4_51_3")


def test_features_may_stand_in_any_order(make_graph, theirs, tmp_path: Path):
    graph = make_graph(1)
    content = content_of(graph)
    n = len(content["selected_features"])
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    content["selected_features"] = content["selected_features"][order]
    adjacency = content["adjacency_matrix"]
    places = torch.cat([order, torch.arange(n, len(adjacency))])
    content["adjacency_matrix"] = adjacency[places][:, places]
    found, _ = open_graph(theirs(content, tmp_path / "g.pt"))
    assert without_biases(found) == pytest.approx(without_biases(graph), rel=1e-6)


class Payload:
    """Runs a command while it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("hidden", ["as the graph", "beside tensors", "in the settings"])
@pytest.mark.parametrize("how", [os.system, exec, eval, __import__, open])
def test_a_hostile_file_is_refused_and_never_run(make_graph, theirs, tmp_path: Path, old: bool, hidden: str, how: Any):
    proof = tmp_path / "proof"
    argument = {os.system: f"touch {proof}", __import__: "antigravity"}.get(how, f"open({str(proof)!r}, 'w')")
    payload = Payload(how, *((str(proof), "w") if how is open else (argument,)))
    content: Any = content_of(make_graph(1))
    if hidden == "as the graph":
        content = payload
    elif hidden == "beside tensors":
        content["extra"] = payload
    else:
        content["cfg"].dtype = payload
    path = theirs(content, tmp_path / "g.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(UsageError, match=rf"g\.pt was not read: it would run (\w+\.)?{how.__name__} while it is read"):
        open_graph(path)
    assert not proof.exists()
    assert "antigravity" not in sys.modules


def test_the_payload_would_have_run(tmp_path: Path):
    """The test above can fail."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Payload(os.system, f"touch {proof}")))
    assert proof.exists()


def test_a_bare_pickle_is_never_run(tmp_path: Path):
    proof, path = tmp_path / "proof", tmp_path / "g.pt"
    path.write_bytes(pickle.dumps({"cfg": Payload(os.system, f"touch {proof}")}))
    with pytest.raises(UsageError, match=r"g\.pt"):
        open_graph(path)
    assert not proof.exists()


def test_names_that_hide_from_a_scan_are_not_run_either(tmp_path: Path):
    """STACK_GLOBAL takes its name off the stack, where only a run would find it."""
    proof, path = tmp_path / "proof", tmp_path / "g.pt"
    text = f"touch {proof}".encode()
    hidden = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93\x8c" + bytes([len(text)]) + text + b"\x85R."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("g/data.pkl", hidden)
        archive.writestr("g/version", "3\n")
        archive.writestr("g/byteorder", "little")
    with pytest.raises(UsageError, match=r"g\.pt"):
        open_graph(path)
    assert not proof.exists()
    pickle.loads(hidden)
    assert proof.exists()  # it would have worked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adjacency_matrix": torch.zeros(3, 3)}, "its matrix is [3, 3] where its nodes are 27"),
        ({"cfg": 3}, "cfg.n_layers: field required"),
        ({"selected_features": torch.tensor([99])}, "cannot read"),
        ({"input_tokens": None}, "cannot read"),
        ({"vocab_size": None}, "cannot read"),
        ({"active_features": torch.full((40, 3), 9)}, "a feature is at a layer outside the 3 there are"),
        ({"adjacency_matrix": torch.full((27, 27), float("nan"))}, "an edge is NaN or infinite"),
        ({"logit_targets": None, "cfg": None}, "cannot read"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(make_graph, theirs, tmp_path: Path, change: Any, words: str):
    with pytest.raises(UsageError, match=re.escape(words)):
        open_graph(theirs(content_of(make_graph(1)) | change, tmp_path / "g.pt"))


def test_other_files_of_torch_and_damaged_ones_are_refused(make_graph, theirs, tmp_path: Path):
    path = theirs({"weight": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=r"w\.pt is no graph of circuit-tracer"):
        open_graph(path)
    whole = theirs(content_of(make_graph(1)), tmp_path / "g.pt").read_bytes()
    for n, cut in enumerate((whole[:200], whole[: len(whole) // 2], whole[:-30])):
        (tmp_path / f"cut{n}.pt").write_bytes(cut)
        with pytest.raises(UsageError, match=rf"cannot read .*cut{n}\.pt"):
            open_graph(tmp_path / f"cut{n}.pt")


@pytest.mark.parametrize("old", [False, True])
def test_whatever_byte_is_damaged_the_error_is_ours(make_graph, theirs, tmp_path: Path, old: bool):
    path = tmp_path / "g.pt"
    whole = theirs(content_of(make_graph(1)), path, _use_new_zipfile_serialization=not old).read_bytes()
    draw = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        with suppress(UsageError):
            open_graph(path)


# JSON


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), share=st.floats(0.3, 1))
def test_our_json_comes_back_as_it_went(make_graph, tmp_path: Path, seed: int, share: float):
    graph = make_graph(seed, n_features=12).prune(share)
    graph.to_json(tmp_path / "g.json")
    found, _ = open_graph(tmp_path / "g.json")
    agreement = compare(graph, found, pruned=True)
    for kind in ("feature", "token", "logit"):
        assert agreement.nodes[kind][2] == 0
    assert agreement.edges["all"].count == (graph.edge_mask.sum(), 0, 0)
    assert agreement.edges["all"].relative_difference in (0, None)
    assert agreement.activations.max_relative_difference in (0, None)
    assert found.n_layers == graph.n_layers
    assert found.target_names == graph.target_names
    assert [target.left for target in agreement.targets] == [target.right for target in agreement.targets]
    assert found.meta["tokens"] == graph.meta["tokens"]
    assert found.meta["token_ids"] == graph.meta["token_ids"]
    assert found.meta["model"] == graph.meta["model"]
    found.save(tmp_path / "g.safetensors")
    assert open_graph(tmp_path / "g.safetensors")[0].hash == found.hash


def test_labels_pins_and_groups_come_with_it(make_graph, tmp_path: Path):
    graph = make_graph(4, n_features=12).prune(0.9)
    shown = [n["node_id"] for n in graph_json(graph, slug="s")["nodes"] if n["feature_type"].startswith("cross")]
    index = graph.nodes.ids().index(shown[0])
    story = Story(
        pins=(shown[1],),
        groups=story_groups(graph, [Group(label="texas", members=(index,))]),
        labels={shown[0]: "on texas"},
    )
    graph.to_json(tmp_path / "g.json", story=story)
    found = open_graph(tmp_path / "g.json")[1]
    assert (found.pins, dict(found.labels)) == (story.pins, dict(story.labels))
    assert [(group.label, group.members) for group in found.groups] == [("texas", (shown[0],))]

    content = json.loads((tmp_path / "g.json").read_text())  # as circuit-tracer's page saves it
    content["qParams"]["pinnedIds"] = ",".join(content["qParams"]["pinnedIds"])
    content["qParams"]["supernodes"] = json.dumps(content["qParams"]["supernodes"])
    (tmp_path / "saved.json").write_text(json.dumps(content))
    assert open_graph(tmp_path / "saved.json")[1] == found


def node(node_id: str, layer: str, position: int, kind: str, feature: int, **more: Any) -> dict[str, Any]:
    return {"node_id": node_id, "layer": layer, "ctx_idx": position, "feature_type": kind, "feature": feature, **more}


def link(source: str, target: str, weight: float = 1.0) -> dict[str, Any]:
    return {"source": source, "target": target, "weight": weight}


def published(*links: tuple[str, str, float]) -> dict[str, Any]:
    """As circuit-tracer writes it: the error of layer 1 at position 2 has the id of feature 1 of layer 0 there."""
    nodes = [
        node("0_1_2", "0", 2, "cross layer transcoder", 2, activation=3.0, clerp=""),
        node("2_5_2", "2", 2, "cross layer transcoder", 33, activation=1.0),
        node("1_7_2", "1", 2, "cross layer transcoder", 43, activation=2.0),
        node("0_1_2", "1", 2, "mlp reconstruction error", -1, activation=None),
        node("E_17_0", "E", 0, "embedding", 0),
        node("4_99_2", "4", 2, "logit", 99, token_prob=0.5, clerp='Output "x" y" (p=0.500)'),
        node("4_98_2", "4", 2, "logit", 98, token_prob=0.75, clerp='Output " z" (p=0.750)'),
    ]
    return {
        "metadata": {
            "slug": "s",
            "scan": "toy",
            "prompt": "p",
            "prompt_tokens": ["a", "b", "c"],
            "node_threshold": 0.8,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": nodes,
        "links": [link(*ends) for ends in links],
    }


def opened(tmp_path: Path, content: Any) -> Graph:
    (tmp_path / "theirs.json").write_text(json.dumps(content))
    return open_graph(tmp_path / "theirs.json")[0]


def test_nodes_of_one_name_are_told_apart_where_they_can_be(tmp_path: Path):
    graph = opened(
        tmp_path,
        published(
            ("0_1_2", "4_99_2", 1.0), ("0_1_2", "4_99_2", 2.0), ("0_1_2", "1_7_2", 3.0), ("0_1_2", "2_5_2", 4.0),
            ("E_17_0", "0_1_2", 5.0), ("E_17_0", "4_98_2", -6.0),
        ),
    )  # fmt: skip
    assert without_biases(graph) == {
        ("0_1_2", "4_99_2"): 1.0,
        ("1_error_2", "4_99_2"): 2.0,
        ("0_1_2", "1_7_2"): 3.0,  # an error of layer 1 does not reach layer 1
        ("0_1_2", "2_5_2"): 4.0,  # it could be either
        ("E_17_0", "0_1_2"): 5.0,
        ("E_17_0", "4_98_2"): -6.0,
    }
    assert graph.meta["imported"]["ambiguous_links"] == 1
    assert graph.n_layers == 3
    assert graph.target_names == ['x" y', " z"]
    assert graph.target_probabilities == [0.5, 0.75]
    assert graph.nodes.ids() == ["0_1_2", "1_7_2", "2_5_2", "1_error_2", "E_17_0", "4_99_2", "4_98_2"]
    assert graph.meta["token_ids"] == [17, -1, -1]


def test_a_feature_without_its_number_in_its_id_is_found_by_the_cantor_pair(tmp_path: Path):
    content = published(("x", "4_99_2", 1.0))
    content["nodes"][2] |= {"node_id": "x", "feature": (1 + 700) * (1 + 701) // 2 + 700}
    assert "1_700_2" in opened(tmp_path, content).nodes.ids()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("links"), "is no graph: it lacks metadata, nodes or links"),
        (lambda c: c["nodes"][0].update(feature_type="lorsa"), "no kind for: 1 of type 'lorsa'; it reads 'cross layer"),
        (lambda c: c["nodes"][0].pop("ctx_idx"), "nodes.0.ctx_idx: field required"),
        (lambda c: c["nodes"][2].update(node_id="x", feature=44), "the feature 'x' of layer 1 has the number 44, of"),
        (lambda c: c["links"].append(link("gone", "4_99_2")), "names a node that is not there"),
        (lambda c: c["links"].append(link("4_98_2", "1_7_2")), "does not run from a lower layer to a higher one"),
        (lambda c: c["links"].append(link("1_7_2", "E_17_0")), "neither a feature nor a logit"),
        (lambda c: c["nodes"].append(dict(c["nodes"][1])), "two nodes are 2_5_2"),
        (lambda c: c.update(nodes=5), "cannot read"),
        (lambda c: c.update(nodes=[], links=[]), "nodes: list should have at least 1 item"),
        (lambda c: c["nodes"][0].update(feature_type=[]), "cannot read"),
        (lambda c: c["nodes"][0].update(ctx_idx=3 * 10**9), "cannot read"),
        (lambda c: c["nodes"][0].update(ctx_idx=float("inf")), "cannot read"),
        (lambda c: c["nodes"][0].update(ctx_idx=-1), "ctx_idx: input should be greater than or equal to 0"),
        (lambda c: c["links"][0].update(weight=float("nan")), "weight: input should be a finite number (seen: nan)"),
    ],
)  # fmt: skip
def test_a_json_that_does_not_fit_itself_is_refused(tmp_path: Path, change: Any, words: str):
    content = published(("E_17_0", "1_7_2", 1.0))
    change(content)
    with pytest.raises(UsageError, match=re.escape(words)):
        opened(tmp_path, content)


def test_a_byte_order_mark_is_no_damage(tmp_path: Path):
    text = json.dumps(published(("E_17_0", "1_7_2", 1.0)))
    (tmp_path / "bom.json").write_text(text, encoding="utf-8-sig")
    assert open_graph(tmp_path / "bom.json")[0].n_edges == 1


@pytest.mark.parametrize("text", ['{"a":' + "[" * 200_000, "", "no graph at all, but long enough", "{", "\x00" * 20])
def test_any_other_file_is_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        open_graph(tmp_path / "x.json")


# ours, for the viewers

SCHEMA: dict[str, dict[str, Any]] = {  # what the viewers need to be there, and as what
    "metadata": {
        "slug": str, "scan": str, "prompt_tokens": list, "prompt": str, "transcoder_list": list,
        "node_threshold": float, "schema_version": int, "n_layers": int, "info": dict,
        "generation_settings": dict, "pruning_settings": dict, "replacement_score": float, "completeness_score": float,
    },
    "qParams": {"pinnedIds": list, "supernodes": list, "linkType": str, "clickedId": str, "sg_pos": str},
    "nodes": {
        "node_id": str, "jsNodeId": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str,
        "clerp": str, "token_prob": float, "is_target_logit": bool, "run_idx": int, "reverse_ctx_idx": int,
        "influence": (float, type(None)), "activation": (float, type(None)),
    },
    "links": {"source": str, "target": str, "weight": float},
}  # fmt: skip


@pytest.mark.parametrize("is_pruned", [False, True])
def test_our_json_has_every_key_that_the_viewers_read(make_graph, is_pruned: bool):
    graph = make_graph(4, n_features=12)
    content = json.loads(json.dumps(graph_json(graph.prune(0.8) if is_pruned else graph, slug="s"), allow_nan=False))
    assert set(content) == set(SCHEMA)
    for part, keys in SCHEMA.items():
        for entry in content[part] if isinstance(content[part], list) else [content[part]]:
            assert {key: type(entry[key]) for key in keys if not isinstance(entry[key], keys[key])} == {}, part
    ids = [entry["node_id"] for entry in content["nodes"]]
    assert len(set(ids)) == len(ids)
    assert all(entry["feature_type"] != "logit" or "(p=" in entry["clerp"] for entry in content["nodes"])
