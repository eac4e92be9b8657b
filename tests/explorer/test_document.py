"""The document that the page is given, and the page as one file."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.explorer.javascript import needs_node, run_module
from tests.graphs.conftest import random_graph

from silverstain.explorer import graph_html, notebook_html, page_document
from silverstain.explorer.document import json_in_html, strongest_edges
from silverstain.features.histogram import edges, n_bins, percentiles
from silverstain.graphs import Graph, Story, StoryGroup, edge_shares

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \x1b[31m\u202e\u2028\ud83d é日"


def column(packed: dict[str, str]) -> np.ndarray:
    types = {"Int8Array": "i1", "Uint8Array": "u1", "Int32Array": "<i4", "Float32Array": "<f4", "Float64Array": "<f8"}
    return np.frombuffer(base64.b64decode(packed["data"]), dtype=types[packed["type"]])


def hostile_graph() -> Graph:
    graph = random_graph(1)
    meta = {
        **graph.meta,
        "prompt": HOSTILE,
        "tokens": [HOSTILE] * 4,
        "targets": [{"name": HOSTILE, "id": 50, "probability": 0.5}] * 2,
        "model": {"name": HOSTILE},
    }
    return graph.with_meta(meta)


def test_the_columns_are_those_of_the_graph():
    graph = random_graph(2, n_attention=6).prune(0.6)
    document = json.loads(json.dumps(page_document(graph, name="x.safetensors"), allow_nan=False))
    assert document["format"] == "silverstain.page/1"
    for name in ("kind", "layer", "position", "feature", "token", "key", "activation"):
        np.testing.assert_array_equal(column(document["nodes"][name]), getattr(graph.nodes, name).numpy())
    for name in ("row_nodes", "indptr", "indices", "values", "values_of_targets"):
        np.testing.assert_array_equal(column(document["edges"][name]), getattr(graph, name).numpy())
    assert graph.node_mask is not None
    np.testing.assert_array_equal(column(document["nodes"]["kept"]), graph.node_mask.numpy())
    assert document["nodes"]["ids"] == graph.nodes.ids()
    assert document["hash"] == graph.hash


def test_words_of_several_tokens_stand_together():
    graph = random_graph(1).with_meta({**random_graph(1).meta, "tokens": ["the", "dal", "##las", "is"]})
    assert page_document(graph)["words"] == [[0, 1, "the"], [1, 3, "dal·las"], [3, 4, "is"]]


def test_numbers_that_are_not_finite_become_nothing():
    graph = random_graph(1)
    values = graph.values.clone()
    values[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    document = page_document(replace(graph, values=values))
    assert column(document["edges"]["values"])[:3].tolist() == [0, 0, 0]
    json.dumps(document, allow_nan=False)


def test_a_graph_without_tokens_or_targets_names_is_shown_by_its_numbers():
    document = page_document(random_graph(1).with_meta({}))
    assert document["tokens"] == ["@0", "@1", "@2", "@3"]
    assert [target["name"] for target in document["targets"]] == ["50", "51"]


def test_strangers_text_is_made_fit_and_ends_no_script():
    html = graph_html(hostile_graph(), Story(labels={"0_5": HOSTILE}, groups=(StoryGroup(label=HOSTILE, members=()),)))
    assert html.count("</script") == 3  # of the document, of the worker and of the page's own script
    assert html.count("<script") == 3
    assert "onerror=alert" in html  # as text
    assert "<img" not in html
    inside = re.search(r'<script id="document" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert inside is not None
    document = json.loads(inside[1])
    assert (
        "\x1b" not in document["prompt"] + "".join(document["tokens"] + document["nodes"]["names"]) + document["model"]
    )
    assert document["story"]["labels"] == {"0_5": HOSTILE}  # a story is passed on as it is


def test_the_policy_of_a_page_lets_only_its_own_script_run():
    html = graph_html(random_graph(1))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)
    assert policy is not None
    assert script is not None
    import hashlib

    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"sha256-{digest}" in policy[1]
    assert policy[1].startswith("default-src &#x27;none&#x27;; ")
    assert "connect-src" not in policy[1]


def test_json_in_a_page_holds_no_sign_of_markup():
    assert not set("<>&") & set(json_in_html({"a": HOSTILE}))
    assert json.loads(json_in_html({"a": "<é日>&"})) == {"a": "<é日>&"}


@needs_node
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("given.format = 'other/1'", "this page reads silverstain.page/1, and was given other/1"),
        ("given = null", "this page reads silverstain.page/1, and was given something else"),
        ("given.edges.indices = { type: 'Int32Array', data: '' }", "the columns of edges do not fit each other"),
        ("given.edges.values = { type: 'Float64Array', data: 'AAAA' }", "a column is cut short"),
        ("given.nodes.kind = { type: 'Function', data: '' }", "a column is of the unknown type Function"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_in_a_sentence(change: str, said: str):
    found = run_module(
        f"let one = structuredClone(given); {change.replace('given', 'one')};"
        "try { format.decoded(one); return 'nothing'; } catch (error) { return error.message; }",
        page_document(random_graph(1)),
        modules=("format",),
    )
    assert found == said


def test_a_notebook_shows_the_page_in_a_frame_of_its_own():
    shown = random_graph(1)._repr_html_()
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert shown.count("<") == 2  # the frame alone: the page in it is escaped


def test_a_notebook_shows_the_circuit_of_a_very_large_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.explorer.pages.LARGEST_IN_NOTEBOOK", 10)
    assert notebook_html(random_graph(1)).startswith("<svg")


def test_of_a_very_large_graph_the_strongest_edges_are_given_and_the_others_counted():
    graph = random_graph(3, n_features=40)
    less, lost = strongest_edges(graph, most=60)
    assert lost is not None
    assert 0 < less.n_edges <= 60
    assert strongest_edges(graph)[1] is None
    shares = dict(
        zip(zip(graph.targets.tolist(), graph.indices.tolist(), strict=True), edge_shares(graph).tolist(), strict=True)
    )
    counted = edge_shares(less)
    for row, node in enumerate(less.row_nodes.tolist()):
        here = slice(int(less.indptr[row]), int(less.indptr[row + 1]))
        size = float(less.values[here].abs().sum())
        for source, share in zip(less.indices[here].tolist(), counted[here].tolist(), strict=True):
            told = share * size / (size + float(lost[row]))
            assert told == pytest.approx(shares[node, source], rel=1e-5)


@needs_node
def test_shares_of_a_very_large_graph_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    graph = random_graph(3, n_features=40)
    monkeypatch.setattr("silverstain.explorer.document.MOST_EDGES", 60)
    less, _ = strongest_edges(graph, 60)
    found = run_module(
        "return influence.edgeShares(format.decoded(given));", page_document(graph), modules=("format", "influence")
    )
    whole = dict(
        zip(zip(graph.targets.tolist(), graph.indices.tolist(), strict=True), edge_shares(graph).tolist(), strict=True)
    )
    assert found == pytest.approx(
        [whole[at] for at in zip(less.targets.tolist(), less.indices.tolist(), strict=True)], rel=1e-5
    )


@needs_node
@pytest.mark.parametrize("is_signed", [False, True])
def test_where_an_activation_stands_in_a_histogram_is_what_python_says(is_signed: bool):
    counts = np.zeros(n_bins(is_signed), dtype=np.int64)
    first = len(counts) // 2 - 6
    counts[first : first + 12] = np.random.default_rng(0).integers(0, 50, 12)
    counts[first] = counts[first + 11] = 7
    bounds = edges(is_signed)[first : first + 13].tolist()
    values = np.concatenate([np.linspace(bounds[0] - 1, bounds[-1] + 1, 40), bounds]).tolist()
    found = run_module(
        "return given.values.map((value) => 100 * distribution.shareBelow(given, value))",
        {"bounds": bounds, "counts": counts[first : first + 12].tolist(), "values": values},
        modules=("distribution",),
    )
    np.testing.assert_allclose(found, percentiles(counts, np.array(values), is_signed), atol=1e-9)
