import json
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.storage import read_tensors, save_tensors_whole

ARRAYS = ("row_nodes", "indptr", "indices", "values", "values_of_targets", "node_mask", "edge_mask")
COLUMNS = ("kind", "layer", "position", "feature", "token", "activation", "influence")


def assert_same(left: Graph, right: Graph) -> None:
    for name in ARRAYS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)), name
    assert (left.nodes.key is None) == (right.nodes.key is None)
    for name in COLUMNS + (() if left.nodes.key is None else ("key",)):
        assert torch.equal(getattr(left.nodes, name), getattr(right.nodes, name)), name
    assert left.meta == right.meta


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    n_features=st.integers(0, 8),
    pruned=st.booleans(),
    n_attention=st.sampled_from([0, 1, 10]),
)
def test_a_graph_comes_back_from_its_file_as_it_went(make_graph, tmp_path, seed, n_features, pruned, n_attention):
    graph = make_graph(seed, n_features=n_features, n_attention=n_attention)
    graph = graph.prune() if pruned else graph
    graph.save(tmp_path / "g.safetensors")
    loaded = Graph.load(tmp_path / "g.safetensors")
    assert_same(loaded, graph)
    assert loaded.hash == graph.hash


def test_the_hash_names_what_was_traced_and_not_how_it_is_shown(make_graph):
    graph = make_graph(0)
    assert graph.hash == graph.prune().hash == make_graph(0).hash
    assert graph.hash != make_graph(1).hash
    assert graph.hash != replace(graph, meta={**graph.meta, "model": {"hash": "other"}}).hash


def test_the_file_holds_what_a_browser_can_map(make_graph, tmp_path):
    make_graph(0).save(tmp_path / "g.safetensors")
    tensors, header = read_tensors(tmp_path / "g.safetensors")
    assert header["format"] == "silverstain.graph/1"
    assert json.loads(header["meta"])["prompt"] == "a b c"
    assert {tensors[name].dtype for name in ("row_nodes", "indptr", "indices")} == {torch.int32}


def test_the_codes_of_kinds_in_files_stay_and_attention_is_the_last(make_graph, tmp_path):
    codes = {"feature": 0, "error": 1, "token": 2, "bias": 3, "logit": 4, "attention": 5}
    for n_attention in (0, 6):
        graph = make_graph(0, n_attention=n_attention)
        graph.save(tmp_path / "g.safetensors")
        tensors, _ = read_tensors(tmp_path / "g.safetensors")
        assert tensors["kind"].tolist() == [codes[kind] for kind in graph.nodes.kinds]
        assert ("key" in tensors) == (n_attention > 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("without", "a node of kind attention has no key"),
        ("later", "a node of kind attention reads from a later position than its own"),
        ("headless", "a node of kind attention has only one of head and key"),
        ("elsewhere", "a node that is no attention has a key"),
        ("twice", "two nodes stand for the same, or nodes do not stand in their order"),
    ],
)
def test_attention_that_cannot_be_is_refused_with_the_reason(make_graph, tmp_path, change, words, monkeypatch):
    path = tmp_path / "g.safetensors"
    make_graph(0, n_attention=12).save(path)
    tensors, header = read_tensors(path)
    is_attention = tensors["kind"] == 5
    first = int((is_attention & (tensors["feature"] >= 0)).nonzero()[0])
    if change == "without":
        del tensors["key"]
    elif change == "later":
        tensors["key"][first] = tensors["position"][first] + 1
    elif change == "headless":
        tensors["key"][first] = -1
    elif change == "elsewhere":
        tensors["key"][0] = 0
    else:
        for name in ("layer", "position", "feature", "key"):
            tensors[name][first + 1] = tensors[name][first]
    save_tensors_whole(path, tensors, header)
    monkeypatch.setattr("silverstain.graphs.files.checksum", lambda *_: header["checksum"])
    with pytest.raises(UsageError, match=re.escape(words)):
        Graph.load(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "text"])
def test_a_damaged_file_is_named(make_graph, tmp_path, damage):
    path = tmp_path / "g.safetensors"
    make_graph(0).save(path)
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 255]) + content[-8:]
    path.write_bytes({"cut": content[:-20], "flipped": flipped, "emptied": b"", "text": b"not a graph"}[damage])
    with pytest.raises(UsageError, match=f"(?s)cannot read {re.escape(str(path))}: .*corrupt or cut short"):
        Graph.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / "none"))):
        Graph.load(tmp_path / "none")


def test_another_safetensors_file_is_refused_by_its_format(tmp_path):
    save_tensors_whole(tmp_path / "w.safetensors", {"w": torch.zeros(2)}, {})
    with pytest.raises(UsageError, match=r"w\.safetensors is not a silverstain\.graph/1 file: its format is None"):
        Graph.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": None}, "the arrays kind are missing"),
        ({"indptr": torch.zeros(2, dtype=torch.int32)}, "the array 'indptr' is torch.int32 of shape (2,)"),
        ({"layer": torch.zeros(2)}, "the array 'layer' is torch.float32 of shape (2,)"),
        ({"indices": "beyond"}, "a source names a node outside"),
        ({"layer": "flat"}, "a token is at a layer"),
        ({"kind": "unknown"}, "a node is of no known kind"),
    ],
)
def test_a_file_whose_arrays_do_not_fit_is_refused_with_the_reason(make_graph, tmp_path, change, words, monkeypatch):
    path = tmp_path / "g.safetensors"
    make_graph(0).save(path)
    tensors, header = read_tensors(path)
    ((name, value),) = change.items()
    replaced = (
        {"beyond": tensors[name] + 10_000, "flat": tensors[name] * 0, "unknown": tensors[name] + 7}
        if (isinstance(value, str))
        else {}
    )
    tensors[name] = replaced[value] if replaced else value
    tensors = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    save_tensors_whole(path, tensors, header)
    monkeypatch.setattr("silverstain.graphs.files.checksum", lambda *_: header["checksum"])
    with pytest.raises(UsageError, match=re.escape(words)):
        Graph.load(path)


def test_a_failed_save_leaves_the_old_file(make_graph, tmp_path):
    path = tmp_path / "g.safetensors"
    make_graph(0).save(path)
    with pytest.raises(UsageError, match=r"cannot be written: its meta holds what no file can: .*JSON compliant"):
        replace(make_graph(1), meta={"exactness": float("nan")}).save(path)
    assert_same(Graph.load(path), make_graph(0))
    assert [p.name for p in tmp_path.iterdir()] == ["g.safetensors"]
