"""Graphs of contrasts: two prompts, attention among the units, and all the rest that is no error of a dictionary."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from silverstain.cli.drawing import draw
from silverstain.errors import UsageError
from silverstain.graphs import (
    Graph,
    Group,
    Scores,
    Story,
    circuit_of,
    compare,
    counts_of,
    group_places,
    open_graph,
    story_groups,
    trust_in,
)
from silverstain.graphs.contrast import Piece, Side, contrast_of
from silverstain.graphs.layout import lay_out
from silverstain.graphs.lettering import columns_of

SEEDS = st.integers(0, 2**31)
SVG = "{http://www.w3.org/2000/svg}"
BASE, CONTRAST = ["<s>", " of", " France", " is"], ["<s>", " of", " Spain", " is"]


def meta(**more: Any) -> dict[str, Any]:
    said = {
        "prompt": "of France is", "contrast_prompt": "of Spain is", "tokens": BASE, "contrast_tokens": CONTRAST,
        "token_ids": [0, 1, 2, 3], "contrast_token_ids": [0, 1, 4, 3], "changed": [2], "base": -7.0, "contrast": 4.0,
        "answers": [" Paris", " Madrid"], "probabilities": {"base": [0.41, 0.0], "contrast": [0.01, 0.35]},
    }  # fmt: skip
    return {
        "prompt": "of Spain is", "tokens": CONTRAST, "token_ids": [0, 1, 4, 3], "rest": True, "contrast": said | more,
        "targets": [{"kind": "difference", "name": " Madrid − Paris", "ids": [5, 6]}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def contrast(make_graph) -> Graph:
    return make_graph(5, n_layers=4, n_features=8, n_attention=12, n_logits=1).with_meta(meta())


def test_both_prompts_what_differs_and_what_is_explained_are_said():
    found = contrast_of(meta(), [" Madrid − Paris"])
    assert found is not None
    assert found.explained == "Madrid − Paris: −7.0 in the base, +4.0 in the contrast"
    assert found.base.line() == "of «France» is → Paris 41 %"
    assert found.contrast.line() == "of «Spain» is → Madrid 35 %"
    assert contrast_of({}, []) is None
    words = contrast_of(meta(tokens=["of", "france", "x", "y"], changed=[1, 3], prompt="of france x y", base=0.031), [])
    assert words is not None
    assert words.base.line() == "of «france» x «y» → Paris 41 %"
    assert words.explained == "Madrid − Paris: +0.03 in the base, +4.0 in the contrast"


def test_pieces_of_words_are_shown_as_words_and_a_prompt_is_cut_between_words():
    tokens = ["<bos>", "the", "capital", "of", "the", "state", "containing", "dal", "##las", "is"]
    said = meta(tokens=tokens, changed=[7, 8], prompt="the capital of  the state containing dallas is")
    found = contrast_of(said, [])
    assert found is not None
    assert found.base.line() == "the capital of the state containing «dallas» is → Paris 41 %"
    assert found.base.line(48) == "the… «dallas» is → Paris 41 %"
    half = contrast_of(meta(tokens=tokens, changed=[8], prompt="the capital of the state containing dallas is"), [])
    assert half is not None
    assert half.base.line() == "the capital of the state containing dal«las» is → Paris 41 %"


@given(before=st.text(max_size=90), changed=st.text(min_size=1, max_size=9), after=st.text(max_size=90))
def test_a_prompt_that_does_not_fit_keeps_what_differs(before: str, changed: str, after: str):
    pieces = (Piece(text=before or "a"), Piece(text=changed, is_changed=True), Piece(text=after or "b"))
    fitted = Side(name="base", pieces=pieces, answer="").fitted(40)
    assert sum(len(piece.marked) for piece in fitted) <= 41
    assert pieces[1] in fitted or len(fitted) == 1


@given(
    texts=st.lists(st.tuples(st.text(min_size=1, max_size=200), st.booleans()), max_size=90), room=st.integers(1, 90)
)
def test_any_prompt_fits_any_room(texts: list[tuple[str, bool]], room: int):
    pieces = tuple(Piece(text=text, is_changed=changed) for text, changed in texts)
    fitted = Side(name="base", pieces=pieces, answer="").fitted(room)
    assert columns_of("".join(piece.marked for piece in fitted)) <= room


def test_hostile_tokens_and_answers_are_fit_to_be_shown(contrast: Graph):
    evil = '<script>"\x1b]0;x\x07\n\u202e\ud800'
    hostile = {"tokens": [evil] * 4, "contrast_tokens": [evil] * 4, "answers": [evil, evil]}
    graph = contrast.with_meta({**meta(**hostile), "tokens": [evil] * 4, "targets": [{"name": evil}]})
    for shown in (draw(graph, Story()), graph.figure().svg(), graph.figure().html(), graph.figure().markdown()):
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800]", shown)
    ElementTree.fromstring(graph.figure().svg())
    assert "<script" not in graph.figure().html()


def test_every_drawing_shows_both_prompts_and_what_is_explained(contrast: Graph):
    figure, explained = contrast.figure(), "Madrid − Paris: −7.0 in the base, +4.0 in the contrast"
    root = ElementTree.fromstring(figure.svg())
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert {explained, "of France is → Paris 41 %", "of Spain is → Madrid 35 %"} <= set(texts)
    assert "<mark>France</mark>" in figure.html()
    assert explained in figure.html()
    assert "- contrast: of **Spain** is → Madrid 35 %" in figure.markdown()
    lines = draw(contrast, Story()).splitlines()
    assert lines[:3] == [explained, "base      of «France» is → Paris 41 %", "contrast  of «Spain» is → Madrid 35 %"]


def test_attention_is_drawn_in_its_own_shape_with_a_legend_only_where_it_is(contrast: Graph, make_graph):
    circuit = circuit_of(contrast, Story())
    names = {box.name: box for box in circuit.nodes if box.is_attention}
    assert names
    for name, box in names.items():
        assert re.fullmatch(r"L\d+\.H[01]@\d←\d", name)
        assert re.fullmatch(r"H[01] of L\d: '.+' looks (more|less) at ('.+'|itself)", box.label)
        assert re.fullmatch(r"(more|less): '.+' ← '.+'", box.short)
    svg = contrast.figure().svg()
    assert ">attention</text>" in svg
    assert "╔═╗\u00a0attention" in draw(contrast, Story())
    assert "[[" in contrast.figure().markdown()
    without = make_graph(4)
    assert ">attention</text>" not in without.figure().svg()
    assert "attention" not in draw(without, Story())


@given(seed=SEEDS, n=st.integers(1, 12), width=st.integers(60, 130))
def test_boxes_of_a_drawing_do_not_overlap_and_attention_is_below_what_it_feeds(make_graph, seed, n, width):
    graph = make_graph(seed, n_layers=3, n_features=8, n_attention=14, n_logits=1).with_meta(meta())
    circuit = circuit_of(graph, Story(), max_groups=n)
    layout = lay_out(circuit, width)
    for row in range(1, layout.n_rows):
        boxes = layout.in_row(row)
        assert all(left.right < right.left for left, right in pairwise(boxes))
    for edge in circuit.edges:
        assert layout.placed[edge.source].row < layout.placed[edge.target].row
    for place in layout.placed:
        assert len(place.text) <= place.width or place.box.kind == "token"


def test_the_rest_is_not_called_an_error(contrast: Graph):
    page = re.sub(r"<[^>]*>", " ", contrast.figure().html().partition("</style>")[2])
    page = re.sub(r"@media[^<]*", "", page)
    whole = draw(contrast, Story()) + page + contrast.figure().markdown()
    assert "all the rest" in whole
    assert "error" not in whole.lower()
    assert "Replacement" not in whole
    assert "features" not in whole


@pytest.mark.parametrize(
    ("shown", "left_out", "level", "line"),
    [
        (
            0.41,
            0.0,
            "poor",
            "41 % of the influence passes through nodes that are shown: this is a small",
        ),
        (
            0.7,
            0.0,
            "partial",
            "70 % of the influence passes through nodes that are shown: this is a part of the",
        ),
        (0.93, 0.0, "good", "93 % of the influence passes through nodes that are shown"),
        (0.93, 0.3, "partial", "that are shown, but a good part of it through units that are not drawn here"),
        (
            float("nan"),
            0.0,
            "unknown",
            "How much of the influence passes through nodes that are shown, this",
        ),
    ],
)
def test_of_a_graph_with_rests_the_share_that_is_shown_is_said(shown, left_out, level, line):
    trust = trust_in(Scores(shown, 0.9, 0.9), left_out=left_out, is_rest=True)
    assert trust.level == level
    assert line in trust.line


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, share=st.floats(0.3, 1))
@example(seed=392343, share=0.375)  # nothing of attention is kept
def test_json_with_attention_comes_back_as_it_went(make_graph, tmp_path: Path, seed: int, share: float):
    graph = make_graph(seed, n_features=8, n_attention=12).prune(share)
    graph = graph.with_meta({**graph.meta, **{key: meta()[key] for key in ("rest", "contrast")}})
    graph.to_json(tmp_path / "g.json")
    found, story = open_graph(tmp_path / "g.json")
    agreement = compare(graph, found, pruned=True)
    assert all(agreement.nodes[kind][2] == 0 for kind in agreement.nodes)
    assert agreement.edges["all"].count == (graph.edge_mask.sum(), 0, 0)
    assert graph.nodes.key is not None
    attention = graph.nodes.is_kind("attention") & graph.kept_nodes() & graph.nodes.is_unit
    assert found.nodes.key is not None or not attention.any()  # where none is kept there is none to say
    ids = {node_id: i for i, node_id in enumerate(found.nodes.ids())}
    names = graph.nodes.ids()
    for node in attention.nonzero().flatten().tolist():
        at = ids[names[node]]
        assert found.nodes.kinds[at] == "attention"
        assert found.nodes.key is not None
        assert found.nodes.key[at] == graph.nodes.key[node]
        assert found.nodes.activation[at] == graph.nodes.activation[node]
    assert found.meta["contrast"] == graph.meta["contrast"]
    assert found.meta["rest"] is True
    assert not story.labels


def test_a_label_of_attention_comes_back_from_json(contrast: Graph, tmp_path: Path):
    node_id = contrast.nodes.ids()[int(contrast.nodes.is_unit.nonzero()[-1])]
    contrast.to_json(tmp_path / "g.json", story=Story(labels={node_id: "reads the country"}))
    assert dict(open_graph(tmp_path / "g.json")[1].labels) == {node_id: "reads the country"}


@pytest.mark.parametrize("node_id", ["1_2_3", "1_attn0_3", "2_attn0_3_1", "1_attn0_2_1"])
def test_attention_whose_id_does_not_name_it_is_refused(contrast: Graph, tmp_path: Path, node_id: str):
    contrast.to_json(tmp_path / "g.json")
    content = json.loads((tmp_path / "g.json").read_text())
    content["links"] = []
    one = next(node for node in content["nodes"] if node["feature_type"] == "attention")
    one.update(node_id=node_id, layer="1", ctx_idx=3)
    (tmp_path / "g.json").write_text(json.dumps(content))
    words = re.escape(f"the id of the attention '{node_id}' does not say its head and key")
    with pytest.raises(UsageError, match=words):
        open_graph(tmp_path / "g.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contrast_tokens": ["a"]}, "4 tokens of the base stand beside 1 contrast_tokens"),
        ({"changed": [9]}, "position 9 is said to have changed in prompts of 4 tokens"),
        ({"changed": [-1]}, "contrast.changed.0: input should be greater than or equal to 0"),
        ({"answers": ["one"]}, "contrast.answers: list should have at least 2 items"),
        ({"base": "much"}, "contrast.base: input should be a valid number"),
        ({"probabilities": {"base": [0.1, 0.2]}}, "contrast.probabilities.contrast: field required"),
        ({"base": None}, "contrast.base: input should be a valid number"),
    ],
)
def test_a_contrast_that_cannot_be_is_refused(contrast: Graph, tmp_path: Path, change: dict[str, Any], words: str):
    contrast.with_meta(meta(**change)).save(tmp_path / "g.safetensors")
    with pytest.raises(UsageError, match=re.escape(words)):
        Graph.load(tmp_path / "g.safetensors")


def test_a_head_is_no_feature_where_features_are_edited_or_named(contrast: Graph):
    attention = contrast.nodes.is_kind("attention") & contrast.nodes.is_unit
    members = tuple(attention.nonzero().flatten().tolist())
    group = Group(label="heads", members=members)
    assert group_places(contrast, group) == []
    node = members[0]
    layer, head = int(contrast.nodes.layer[node]), int(contrast.nodes.feature[node])
    labels = Story(labels={f"{layer}_{head}": "of the feature"}).labels_in(contrast.nodes)
    assert labels[node] is None
    drawn = circuit_of(contrast, Story(groups=story_groups(contrast, [group])))
    assert next(box for box in drawn.nodes if box.label == "heads").is_attention


def test_tables_say_what_attention_does_and_counts_have_it_where_it_is(contrast: Graph, make_graph):
    table = contrast.to_pandas()
    rows = table[table["kind"] == "attention"]
    assert len(rows) == counts_of(contrast)["nodes"]["attention"]
    assert rows["label"].str.match(r"H\d of L\d: |rest of attention of L\d at '").all()
    assert (rows["key"] >= 0).any()
    drawn = contrast.to_networkx()
    assert {data["kind"] for _, data in drawn.nodes(data=True)} >= {"attention", "error"}
    assert "attention" not in counts_of(make_graph(0))["nodes"]
    assert "key" not in make_graph(0).to_pandas()
    assert "attention" not in compare(make_graph(0), make_graph(0)).nodes
    same = compare(contrast, replace(contrast))
    assert same.nodes["attention"] == (len(rows), 0, 0)
    assert same.edges["attention"].relative_difference == 0
