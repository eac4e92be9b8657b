"""Graph files that somebody made to break what reads them: one line, and nothing of the size they speak of is made."""

import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.graphs.published import published
from tests.graphs.test_imports import THEIRS, Payload, content_of, theirs  # noqa: F401 (a fixture)
from torch._utils import _rebuild_qtensor

from silverstain.errors import UsageError
from silverstain.graphs import Graph, circuit_of, open_graph, open_with_story
from silverstain.graphs.arrays import checksum
from silverstain.graphs.files import FORMAT
from silverstain.graphs.kinds import FILE_KINDS
from silverstain.storage import read_tensors, save_tensors_whole

TOKEN, LOGIT = FILE_KINDS.index("token"), FILE_KINDS.index("logit")
Arrays = dict[str, torch.Tensor]


def forge(graph: Graph, path: Path, change: Callable[[Arrays, dict[str, Any]], Any]) -> Path:
    """A graph file with a right checksum, whatever is in it; `change` gives its meta as text, or changes it."""
    graph.save(path)
    arrays, header = read_tensors(path)
    meta = json.loads(header["meta"])
    text = change(arrays, meta)
    text = text if isinstance(text, str) else json.dumps(meta)
    save_tensors_whole(path, arrays, {"format": FORMAT, "checksum": checksum(arrays, text), "meta": text})
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as raised:
        open_graph(path)
    words = str(raised.value)
    assert path.name in words
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", words)
    assert len(words) < 900
    return words


def put(name: str, value: Any) -> Callable[[Arrays, dict[str, Any]], None]:
    return lambda _, meta: meta.__setitem__(name, value)


def fill(name: str, value: Any, kind: int | None = None) -> Callable[[Arrays, dict[str, Any]], None]:
    def change(arrays: Arrays, _: dict[str, Any]) -> None:
        arrays[name][slice(None) if kind is None else arrays["kind"] == kind] = value

    return change


META = [
    (lambda *_: "[]", "instance of MetaFile"),
    (lambda *_: "3", "MetaFile"),
    (lambda *_: "null", "MetaFile"),
    (lambda *_: '"x"', "MetaFile"),
    (lambda *_: "", "its meta is no JSON"),
    (lambda *_: '{"a":' + "[" * 900 + "]" * 900 + "}", "deep in each other"),
    (lambda *_: '{"a": NaN}', "its meta is no JSON"),
    (lambda *_: '{"a": 1e999}', "its meta is no JSON"),
    (lambda *_: '{"tokens": ["\\ud800"]}', "half of a character"),
    (put("tokens", None), "the prompt has no tokens"),
    (put("tokens", []), "the prompt has no tokens"),
    (put("tokens", [1, 2, 3, 4]), "tokens.0"),
    (put("tokens", "abcd"), "tokens"),
    (put("tokens", ["a"]), "1 tokens have 4 token ids"),
    (put("tokens", ["x" * 10**6] * 4), "tokens.0: string should have at most"),
    (put("token_ids", [1, 2, 3, -2]), "token_ids.3"),
    (put("token_ids", [1, 2, 3, 1.5]), "token_ids.3"),
    (put("targets", 5), "targets"),
    (put("targets", ["a", "b"]), "targets.0"),
    (put("targets", [{}, {}]), "neither a name nor a token"),
    (put("targets", [{"name": "a", "probability": "much"}]), "targets.0.probability"),
    (put("targets", [{"name": "a", "probability": 7}]), "targets.0.probability"),
    (put("targets", [{"name": "a", "kind": "difference"}] * 2), "a difference does not say"),
    (put("targets", [{"name": "a", "kind": "feature"}] * 2), "needs layer, feature, value and activation"),
    (put("targets", [{"name": "a", "kind": "soup"}] * 2), "targets.0.kind"),
    (put("targets", [{"name": "a"}]), "1 targets are named where 2 nodes are targets"),
    (put("targets", [{"name": "x" * 10**6}] * 2), "targets.0.name"),
    (put("settings", "x"), "settings"),
    (put("settings", {"norms": 4}), "settings.norms"),
    (put("settings", {"n_real": "1"}), "settings.n_real"),
    (put("exactness", 1.0), "exactness"),
    (put("model", 3), "model"),
    (put("model", {"name": {}}), "model.name"),
    (put("dictionary", "x"), "dictionary"),
    (put("active_features", -1), "active_features"),
    (put("imported", []), "imported"),
    (put("imported", {"from": "json", "scores": {"replacement": "all"}}), "imported.scores.replacement"),
    (put("imported", {"from": "json", "ambiguous_links": "a"}), "imported.ambiguous_links"),
    (put("pruning", {"node_share": 2, "edge_share": 0.5}), "pruning.node_share"),
    (put("prompt", ["a"]), "prompt"),
]


@pytest.mark.parametrize(("change", "words"), META)
def test_meta_of_other_types_is_refused_where_it_is_wrong(make_graph, tmp_path: Path, change: Any, words: str):
    assert words in refused(forge(make_graph(0), tmp_path / "g.safetensors", change))


def one(name: str) -> Callable[[Arrays, dict[str, Any]], None]:
    return lambda arrays, _: arrays.__setitem__(name, arrays[name][0])


PLACES = [
    (fill("position", 5 * 10**8, LOGIT), "a node is at position 500000000 of a prompt of 4 tokens"),
    (fill("position", 2**31 - 1), "a node is at position"),
    (fill("position", -7), "the position of a node is -7"),
    (fill("position", -1, LOGIT), "a node of kind logit has no position"),
    (fill("feature", -1), "a node of kind feature has no feature"),
    (fill("feature", -9), "the feature of a node is -9"),
    (fill("layer", 5 * 10**8, LOGIT), "at layer 500000000; no model has more"),
    (fill("layer", 2, LOGIT), "targets do not stand above all layers"),
    (fill("layer", 0, TOKEN), "a token is at a layer"),
    (fill("token", -3), "the token of a node is -3"),
    (fill("position", 2, TOKEN), "two nodes stand for the same"),
    (fill("activation", float("nan")), "an activation is not finite"),
    (fill("activation", float("inf")), "an activation is not finite"),
    (fill("activation", -1.0, LOGIT), "the weight of a target is negative"),
    (fill("influence", -1.0), "an influence is negative"),
    (fill("values", float("nan")), "an edge is not finite"),
    (fill("values", 1e300), "an edge is not finite, or larger"),
    (fill("values_of_targets", float("inf")), "the value of a target is larger"),
    (lambda a, _: a["indptr"].__setitem__(1, 10**6), "row pointers"),
    (lambda a, _: a["indices"].__setitem__(0, 10**6), "a source names a node outside"),
    (lambda a, _: a["indices"].__setitem__(0, -1), "a source names a node outside"),
    (lambda a, _: a["row_nodes"].__setitem__(0, 10**6), "a row names a node outside"),
    (lambda a, _: a["kind"].fill_(TOKEN), "a node of kind token has no position"),
    (lambda a, _: a.update(node_mask=torch.ones(27, dtype=torch.bool)), "the array 'node_mask'"),
    (lambda a, _: a.update(node_mask=torch.ones(len(a["kind"]), dtype=torch.bool)), "only one of node_mask and"),
    (
        lambda a, _: a.update(
            node_mask=torch.zeros(len(a["kind"]), dtype=torch.bool),
            edge_mask=torch.ones(len(a["values"]), dtype=torch.bool),
        ),
        "an edge is kept and a node at its end is not",
    ),
    *((one(name), "was expected") for name in ("kind", "indptr", "row_nodes", "values", "influence", "indices")),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), PLACES)
def test_nodes_and_numbers_that_cannot_be_are_refused(make_graph, tmp_path: Path, change: Any, words: str):
    assert words in refused(forge(make_graph(0), tmp_path / "g.safetensors", change))


def test_a_graph_that_says_nothing_of_its_prompt_is_read(make_graph, tmp_path: Path):
    path = forge(make_graph(0), tmp_path / "g.safetensors", lambda *_: "{}")
    graph, story = open_with_story(path)
    assert graph.meta["tokens"] == ["#100", "#101", "#102", "#103"]
    assert circuit_of(graph, story).nodes
    graph.prune().save(path)
    assert Graph.load(path).target_names == ["50", "51"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_a_number_of_a_graph_becomes_it_is_refused_or_held_to(make_graph, tmp_path: Path, data: st.DataObject):
    """Beyond reading: what is read can be pruned, scored and written."""

    def change(arrays: Arrays, _: dict[str, Any]) -> None:
        for _i in range(data.draw(st.integers(1, 3))):
            array = arrays[data.draw(st.sampled_from(sorted(arrays)))]
            at = data.draw(st.integers(0, max(len(array) - 1, 0)))
            if array.is_floating_point():
                array[at] = data.draw(st.sampled_from([0.0, -1.0, 1e-320, 1e300, 3e38, float("nan"), float("inf")]))
            elif array.dtype == torch.bool:
                array[at] = not bool(array[at])
            else:
                largest = torch.iinfo(array.dtype).max
                array[at] = data.draw(st.sampled_from([-largest - 1, -2, -1, 0, 1, 2, 3, 4, 5, largest // 4, largest]))

    path = forge(make_graph(0).prune(), tmp_path / "g.safetensors", change)
    try:
        graph, story = open_with_story(path)
    except UsageError:
        return
    for again in (graph, graph.prune(0.5)):
        assert all(0 <= figure <= 1.000001 for figure in again.scores(pruned=True)[:3])
    circuit_of(graph, story)
    graph.prune(0.5).save(path)
    Graph.load(path)


# .pt


def spread(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(1, dtype=dtype).expand(*shape)


def doubling() -> list[Any]:
    shared: list[Any] = []
    for _ in range(60):
        shared = [shared] * 4
    return shared


class Settings:
    def __init__(self, **said: Any) -> None:
        self.__dict__.update({"n_layers": 3, **said})


TORCH = [
    ({"adjacency_matrix": spread(30_000, 30_000)}, "adjacency_matrix has 900000000 entries where the file holds fewer"),
    ({"selected_features": spread(3 * 10**7, dtype=torch.long)}, "selected_features has 30000000 entries"),
    ({"input_tokens": spread(10**9, dtype=torch.long)}, "input_tokens has 1000000000 entries"),
    ({"active_features": torch.zeros(10, 3)}, "whole numbers were expected"),
    ({"active_features": torch.zeros(10, 2, dtype=torch.long)}, "does not fit"),
    ({"active_features": torch.full((10, 3), 2**40)}, "negative or larger"),
    ({"active_features": torch.full((10, 3), -1)}, "negative or larger"),
    ({"selected_features": torch.tensor([0, 0])}, "matrix"),
    ({"input_tokens": torch.tensor([1, -5, 2, 3])}, "negative or larger"),
    ({"input_tokens": torch.tensor([])}, "whole numbers"),
    ({"logit_probabilities": torch.tensor([0.5, float("nan")])}, "NaN or infinite"),
    ({"logit_probabilities": torch.tensor([0.5, -0.5])}, "negative"),
    ({"logit_probabilities": torch.tensor(0.5)}, "2 numbers were expected"),
    ({"activation_values": torch.full((10,), float("inf"))}, "NaN or infinite"),
    ({"activation_values": [1.0]}, "activation_values is no plain tensor"),
    ({"adjacency_matrix": torch.zeros(27, 27, dtype=torch.cfloat)}, "matrix"),
    ({"adjacency_matrix": torch.full((27, 27), 1e300, dtype=torch.float64)}, "larger"),
    ({"adjacency_matrix": torch.eye(27).to_sparse()}, "it would run torch._utils._rebuild_sparse_tensor"),
    ({"vocab_size": 10**30}, "vocab_size"),
    ({"vocab_size": "1000"}, "vocab_size"),
    ({"scan": doubling()}, "scan"),
    ({"input_string": doubling()}, "input_string"),
    ({"logit_targets": doubling()}, "targets"),
    ({"logit_targets": [("x" * 10**6, 4), ("y", 5)]}, "targets.0.token_str"),
    ({"logit_targets": [("x", -4), ("y", 5)]}, "targets.0.vocab_idx"),
    ({"logit_targets": [("x", 4)]}, "matrix"),
    ({"logit_targets": {"a": 1}}, "targets"),
    ({"n_layers": 10**18}, "cfg.n_layers"),
    ({"n_layers": 4000}, "its matrix is [27, 27] where its nodes are"),
    ({"n_layers": "3"}, "cfg.n_layers"),
    ({"n_layers": True}, "cfg.n_layers"),
    ({"n_layers": torch.tensor(3)}, "cfg.n_layers"),
]


@pytest.mark.parametrize(("change", "words"), TORCH)
@pytest.mark.parametrize("old", [False, True])
def test_a_torch_file_is_believed_no_further_than_it_reaches(
    make_graph, theirs, tmp_path: Path, change: dict[str, Any], words: str, old: bool  # noqa: F811
):  # fmt: skip
    content = content_of(make_graph(1))
    if "n_layers" in change:
        content["cfg"].n_layers = change["n_layers"]
    else:
        content |= change
    assert words in refused(theirs(content, tmp_path / "g.pt", _use_new_zipfile_serialization=not old))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("function", [bytearray, _rebuild_qtensor])
def test_even_what_torch_calls_itself_is_not_called(make_graph, theirs, tmp_path: Path, function: Any, old: bool):  # noqa: F811
    """torch's own reader makes a bytearray as long as a file asks for."""
    content = content_of(make_graph(1)) | {"scan": Payload(function, 10**13)}
    words = refused(theirs(content, tmp_path / "g.pt", _use_new_zipfile_serialization=not old))
    assert f"it would run {function.__module__}.{function.__name__}".replace("builtins.", "") in words.replace(
        "builtins.", ""
    ).replace("__builtin__.", "")


def test_a_key_that_is_a_tuple_of_tuples_is_not_hashed(make_graph, theirs, tmp_path: Path):  # noqa: F811
    whole = theirs(content_of(make_graph(1)), tmp_path / "g.pt")
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    doubled = tmp_path / "doubled.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(doubled, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            content = b"\x80\x02}" + b"K\x01\x85" + steps + b"K\x01s."
            target.writestr(entry.filename, content if entry.filename.endswith("data.pkl") else source.read(entry))
    assert "nests the same values in each other" in refused(doubled)


def test_a_packed_file_is_not_unpacked(make_graph, theirs, tmp_path: Path):  # noqa: F811
    whole = theirs(content_of(make_graph(1)) | {"adjacency_matrix": torch.zeros(3000, 3000)}, tmp_path / "g.pt")
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert packed.stat().st_size < 100_000
    assert "its parts are packed" in refused(packed)


def test_a_tensor_that_says_more_than_its_numbers_is_refused(make_graph, theirs, tmp_path: Path):  # noqa: F811
    """A count in the pickle, changed where its numbers lie beside it: reading on would read other memory."""
    path = theirs(content_of(make_graph(1)), tmp_path / "g.pt")
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    count, larger = b"M\xd9\x02", b"M\xff\xff"  # 27 x 27
    assert parts[name].count(count) == 1
    parts[name] = parts[name].replace(count, larger)
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in parts.items():
            archive.writestr(key, value)
    words = ""
    try:
        words = refused(path)
    except pytest.fail.Exception:  # torch looked at the shape alone, which fits
        assert open_graph(path)[0].n_nodes
    assert "Traceback" not in words


def test_parts_of_one_name_are_refused(make_graph, theirs, tmp_path: Path):  # noqa: F811
    path = theirs(content_of(make_graph(1)), tmp_path / "g.pt")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("g/data.pkl", b"")
    assert "several parts of one name" in refused(path)


def test_control_characters_in_a_torch_file_stay_text(make_graph, theirs, tmp_path: Path):  # noqa: F811
    content = content_of(make_graph(1))
    content["scan"], content["input_string"] = "\x1b[2J", "a\x07b"
    graph, _ = open_graph(theirs(content, tmp_path / "g.pt"))
    assert graph.meta["dictionary"]["name"] == "\x1b[2J"
    content["surprise"] = OrderedDict(a=1)  # what nothing reads may be there
    assert open_graph(theirs(content, tmp_path / "g.pt"))[0].hash == graph.hash


# JSON


def named(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["metadata"].__setitem__(key, value)


def of(part: str, **values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[part][0].update(values)


def answer(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda c: next(node for node in c["nodes"] if node["feature_type"] == "logit").update(values)


def is_second(node: dict[str, Any]) -> bool:
    """Whether a node is the embedding of the second token."""
    return node["node_id"] == "E_101_1"


def without(content: dict[str, Any], nodes: list[Any]) -> dict[str, Any]:
    """The content without these nodes, and without links."""
    content |= {"nodes": [node for node in content["nodes"] if node not in nodes], "links": []}
    return content


def two_words_at_one_place(content: dict[str, Any]) -> None:
    content["nodes"] += [dict(node, node_id="E_9_1") for node in content["nodes"] if is_second(node)]


def nothing_at_the_second_place(content: dict[str, Any]) -> None:
    without(content, list(filter(is_second, content["nodes"])))["metadata"].pop("prompt_tokens")


JSON = [
    (named("prompt_tokens", 3), "metadata.prompt_tokens"),
    (named("prompt_tokens", [1] * 5), "metadata.prompt_tokens"),
    (named("prompt_tokens", ["a", "b"]), "of a prompt of 2 tokens"),
    (named("node_threshold", float("nan")), "metadata.node_threshold"),
    (named("node_threshold", "0.8"), "metadata.node_threshold"),
    (named("replacement_score", float("inf")), "metadata.replacement_score"),
    (named("replacement_score", -3), "metadata.replacement_score"),
    (named("n_layers", 10**9), "of n_layers 1000000000"),
    (named("n_layers", 2), "of n_layers 2"),
    (named("info", {"model": {"hash": 3}}), "metadata.info.model.hash"),
    (lambda c: c.update(metadata=[]), "metadata"),
    (lambda c: c.update(links={}), "links"),
    (lambda c: c["links"].append(3), "links"),
    (lambda c: c.update(qParams=[]), "qParams"),
    (lambda c: c["qParams"].update(supernodes=[["a"], 3]), "qParams.supernodes"),
    (lambda c: c["qParams"].update(supernodes="[[1]]"), "supernodes"),
    (lambda c: c["qParams"].update(supernodes="[" * 900), "deep in each other"),
    (lambda c: c["qParams"].update(supernodes="nothing"), "cannot read"),
    (of("nodes", ctx_idx=5 * 10**8), "at position 500000000 of a prompt of 5 tokens"),
    (of("nodes", ctx_idx="1"), "ctx_idx"),
    (of("nodes", node_id=7), "node_id"),
    (of("nodes", node_id="x" * 10**6), "node_id"),
    (of("nodes", feature_type="\x1b[2J" * 99), "nodes that silverstain has no kind for"),
    (answer(layer=5 * 10**8), "is at layer 500000000"),
    (answer(layer="soup"), "is at layer soup"),
    (answer(layer="9" * 5000), "is at layer 999"),
    (answer(token_prob=7), "token_prob"),
    (answer(feature=10**40), "feature"),
    (of("links", weight=1e308), "larger than 3.4e+38"),
    (of("links", weight=None), "weight"),
    (of("links", weight="1"), "weight"),
    (lambda c: c["links"].append(dict(c["links"][-1], source=c["links"][-1]["target"])), "does not run from a lower"),
    (two_words_at_one_place, "two nodes stand for the same"),
    (lambda c: without(c, [n for n in c["nodes"] if n["feature_type"] == "logit"]), "it has no answer"),
    (nothing_at_the_second_place, "it lacks prompt_tokens, and an embedding at position 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), JSON)
def test_a_json_of_other_types_is_refused_where_it_is_wrong(tmp_path: Path, change: Any, words: str):
    content = published(7)
    change(content)
    (tmp_path / "g.json").write_text(json.dumps(content))
    assert words in refused(tmp_path / "g.json")


def test_a_cycle_of_links_is_refused(tmp_path: Path):
    content = published(7)
    first = next(node["node_id"] for node in content["nodes"] if node["feature_type"].startswith("cross"))
    content["links"] += [{"source": first, "target": first, "weight": 1.0}]
    (tmp_path / "g.json").write_text(json.dumps(content))
    assert "does not run from a lower layer to a higher one" in refused(tmp_path / "g.json")


STRANGE = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.sampled_from(["E", "-1", "27", 5 * 10**8, "x" * 20_000, "\ud83d", "\x1b[2J", [[]], {"a": [1]}]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(data=st.data(), seed=st.integers(0, 9))
def test_whatever_stands_in_a_json_it_is_refused_or_held_to(tmp_path: Path, data: st.DataObject, seed: int):
    content = published(seed)
    for _ in range(data.draw(st.integers(1, 2))):
        part = data.draw(st.sampled_from(["metadata", "qParams", "nodes", "links"]))
        where = content[part]
        where = where[data.draw(st.integers(0, len(where) - 1))] if isinstance(where, list) else where
        where[data.draw(st.sampled_from(sorted(where)))] = data.draw(STRANGE)
    path, out = tmp_path / "g.json", tmp_path / "g.safetensors"
    path.write_text(json.dumps(content))
    try:
        graph, story = open_graph(path)
    except UsageError:
        refused(path)
        return
    graph.prune(0.5).save(out)
    circuit_of(Graph.load(out), story)
    assert all(0 <= figure <= 1.000001 for figure in graph.prune(0.5).scores(pruned=True)[:3])
