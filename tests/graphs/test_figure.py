"""A circuit as SVG, PNG, HTML and Markdown: the drawing, safe to open whatever somebody called a feature."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time
from xml.etree import ElementTree

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.graphs import Circuit, CircuitEdge, CircuitNode, Figure, Graph, Scores, Story, circuit_of
from silverstain.graphs.lettering import columns_of, shortened

from .test_ways import layered

EVIL = '<script>alert("1")</script>&amp;\x1b]0;owned\x07\n| `x` "]; click\u202e\ud800'
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def evil() -> Circuit:
    graph = layered(4)
    meta = {"tokens": [EVIL] * 3, "prompt": EVIL, "targets": [{"name": EVIL}], "model": {"name": EVIL}}
    return circuit_of(graph.with_meta(meta), Story(labels={"0_1": EVIL}))


def test_the_picture_has_every_name_weight_and_share():
    circuit = circuit_of(layered(5), Story(labels={"0_2": "writes out"}))
    shown = texts(Figure(circuit=circuit).svg())
    assert {node.label for node in circuit.nodes} <= set(shown)
    assert sum(bool(re.fullmatch(r"[+−]\d\.\d\d\*?", text)) for text in shown) == len(circuit.edges)
    assert "90 %" in shown
    assert any("L0.F2@2" in text for text in shown)
    assert any(text.startswith("Replacement 1.00") for text in shown)


def test_sign_is_not_only_a_colour():
    edges = (CircuitEdge(source=0, target=1, weight=-0.5),)
    nodes = tuple(
        CircuitNode(label=label, kind=kind, layer=layer, position=0, positions=(0,), share=0.5)
        for label, kind, layer in (("w", "token", -1.0), ("out", "logit", 2.0))
    )
    lowering = Figure(circuit=Circuit(nodes=nodes, edges=edges, tokens=("w",), left_out=0.0)).svg()
    raising = Figure(
        circuit=Circuit(nodes=nodes, edges=(replace(edges[0], weight=0.5),), tokens=("w",), left_out=0.0)
    ).svg()
    assert lowering.count("stroke-dasharray") == raising.count("stroke-dasharray") + 1
    assert "−0.50" in lowering


def test_errors_and_trust_are_in_every_form():
    circuit = replace(circuit_of(layered(3), Story()), scores=Scores(0.09, 0.3, 0.6))
    figure = Figure(circuit=circuit)
    for content in (figure.svg(), figure.html(), figure.markdown()):
        assert "Replacement .09: this is not the model" in content


def test_what_somebody_wrote_acts_nowhere():
    figure = Figure(circuit=evil())
    ElementTree.fromstring(figure.svg())
    for content in (figure.svg(), figure.html(), figure.markdown()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", content)
        content.encode()
    for content in (figure.svg(), figure.html()):
        assert "<script" not in content
    table = figure.markdown().split("```")[2]
    assert "<script" not in table.replace("\\<", "")
    assert figure.markdown().count("```") == 2
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7, 5}


def test_a_page_loads_and_runs_nothing():
    page = Figure(circuit=circuit_of(layered(3), Story())).html()
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"<script|src=|@import|url\(|href=", page)
    assert page.count("<table>") == 2


def test_long_names_cost_nothing_and_are_cut():
    graph = layered(4)
    long = {"tokens": ["x" * 10**7, "y" * 10**6, "z"], "targets": [{"name": "n" * 10**6}], "prompt": "p" * 10**7}
    story = Story(labels={"0_1": "l" * 10**6})
    started = process_time()
    figure = graph.with_meta(long).figure(story)
    sizes = [len(figure.svg()), len(figure.html()), len(figure.markdown())]
    assert process_time() - started < 2
    assert max(sizes) < 60_000


def test_a_prompt_of_thousands_of_tokens_is_drawn_by_its_words_that_matter():
    graph = layered(4)
    circuit = replace(circuit_of(graph, Story()), tokens=tuple(f"token{i}" for i in range(5000)))
    assert len(Figure(circuit=circuit).svg()) < 60_000
    assert "…" in texts(Figure(circuit=circuit).svg())


@pytest.mark.parametrize("text", ["", "plain", "都市都市", "e\u0301" * 9, "a都" * 10])
@pytest.mark.parametrize("columns", [1, 2, 5, 100])
def test_a_text_is_cut_to_its_columns(text: str, columns: int):
    cut = shortened(text, columns)
    assert columns_of(cut) <= columns
    assert cut == text if columns_of(text) <= columns else cut.endswith("…")


@pytest.mark.parametrize(
    ("ending", "begins"), [(".svg", "<svg "), (".SVG", "<svg "), (".html", "<!doc"), (".md", "# Cir")]
)
def test_a_figure_is_written_as_its_name_says(ending: str, begins: str, tmp_path: Path):
    file = tmp_path / f"figure{ending}"
    layered(3).figure().save(file)
    assert file.read_text(encoding="utf-8").startswith(begins)


def test_another_ending_is_refused_with_those_that_are_known(tmp_path: Path):
    for name in ("figure.pdf", "figure", "figure.svg.gz"):
        with pytest.raises(UsageError, match=r"a figure is written as \.svg, \.png, \.html, \.md"):
            layered(3).figure().save(tmp_path / name)
        assert not list(tmp_path.iterdir())


def test_a_png_is_drawn_from_the_picture(tmp_path: Path):
    pytest.importorskip("resvg_py")
    layered(3).figure().save(tmp_path / "figure.png")
    content = (tmp_path / "figure.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(set(content)) > 100


def test_a_png_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    monkeypatch.setattr("silverstain.figure_files.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=re.escape('pip install "silverstain[figures]"')):
        layered(3).figure().save(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_circuit_where_nothing_else_was_said_and_prints_a_line(monkeypatch: pytest.MonkeyPatch):
    graph = layered(3)
    monkeypatch.setattr("silverstain.displays._SHOWN", {})
    assert graph._repr_html_() == graph.figure().svg()
    assert repr(graph).startswith("Graph(")
    assert len(graph._repr_html_()) < 200_000
    assert repr(graph.figure()) == "Figure(5 nodes, 6 edges)"


def test_a_table_of_nodes_has_their_text_and_labels():
    pytest.importorskip("pandas")
    table = layered(3).to_pandas(Story(labels={"0_1": "writes out"})).set_index("id")
    assert table.loc["0_1_2", "label"] == "writes out"
    assert table.loc["0_1_2", "text"] == "at"
    assert table.loc["E_1_1", "label"] == "in"
    assert table.loc["3_7_2", "text"] == "out"
    assert table.loc["0_0_2", "label"] is None or table["label"].isna()["0_0_2"]


def test_a_graph_without_any_edge_is_drawn(make_graph):
    graph = make_graph(0)
    bare = Graph.from_rows(
        nodes=replace(graph.nodes, influence=None), row_nodes=graph.row_nodes,
        rows=torch.zeros(len(graph.row_nodes), graph.n_nodes, dtype=torch.float64),
        values_of_targets=torch.zeros(len(graph.row_nodes), dtype=torch.float64), meta=graph.meta,
    )  # fmt: skip
    ElementTree.fromstring(bare.figure().svg())
