"""Graphs as other tools publish them: read, pruned, brought back, drawn, scored and written, whatever their quirks."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.graphs.published import QUIRKS, published

from silverstain.graphs import Graph, Story, circuit_of, compare, graph_json, open_graph, scores

NO_LABELS = {"no qParams"}


def read(tmp_path: Path, content: object) -> tuple[Graph, Story]:
    path = tmp_path / "g.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return open_graph(path)


def holds_to_all_of_it(graph: Graph, story: Story, tmp_path: Path) -> None:
    """What is done with a graph after it was read."""
    for share in (0.3, 0.8):
        pruned = graph.prune(share)
        for figure in pruned.scores(pruned=True)[:3]:
            assert 0 <= figure <= 1
        pruned.save(tmp_path / "pruned.safetensors")
        again = Graph.load(tmp_path / "pruned.safetensors")
        assert (again.hash, again.unpruned().node_mask) == (graph.hash, None)
        assert circuit_of(again, story).nodes
    story.save(tmp_path / "g.story.json")
    assert Story.load(tmp_path / "g.story.json") == story
    assert json.loads(json.dumps(graph_json(graph, slug="s", story=story), allow_nan=False))["nodes"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), quirks=st.sets(st.sampled_from(QUIRKS), max_size=6))
def test_published_graphs_are_read_pruned_drawn_and_written(tmp_path: Path, seed: int, quirks: set[str]):
    content = published(seed, quirks)
    graph, story = read(tmp_path, content)
    n = {
        kind: sum(kind in node["feature_type"] for node in content["nodes"])
        for kind in ("transcoder", "error", "logit")
    }
    counts = graph.nodes.count()
    assert (counts["feature"], counts["error"], counts["logit"]) == (n["transcoder"], n["error"], n["logit"])
    assert graph.n_layers == 4
    assert graph.n_edges == len(content["links"])
    weights = sorted(link["weight"] for link in content["links"])
    assert sorted(graph.values.tolist()) == pytest.approx(weights)
    if quirks & NO_LABELS:
        assert (story.pins, story.groups) == ((), ())
    else:
        assert len(story.pins) == 2
        assert [group.label for group in story.groups] == ["one"] + ["two"] * ("groups overlap" in quirks)
    assert (scores(graph).of == "whole graph") == ("scores" in quirks)
    holds_to_all_of_it(graph, story, tmp_path)


@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_quirk_alone_reads_as_the_graph_without_it(tmp_path: Path, quirk: str):
    found, plain = (read(tmp_path, published(5, quirks))[0] for quirks in ({quirk}, ()))
    agreement = compare(found, plain)
    assert agreement.nodes["feature"][1:] == (0, 0)
    assert (agreement.nodes["error"][1:] == (0, 0)) == (quirk != "no errors")
    assert sorted(found.target_names) == sorted(plain.target_names + ["a - b"] * (quirk == "direction"))
    if quirk not in ("no errors", "direction"):  # others are drawn for these
        assert agreement.edges["all"].relative_difference == 0
    if quirk != "odd tokens":
        assert found.meta["tokens"] == plain.meta["tokens"]


def test_the_files_own_scores_are_those_of_the_graph_and_go_with_it(tmp_path: Path):
    graph, _ = read(tmp_path, published(1, {"scores"}))
    assert graph.scores()[:1] + graph.scores()[2:] == (0.41, 0.72, "whole graph")
    assert graph.scores().completeness != graph.scores().completeness  # the file knows the other definition alone
    assert graph_json(graph, slug="s")["metadata"]["replacement_score"] == 0.41
    graph.save(tmp_path / "g.safetensors")
    assert Graph.load(tmp_path / "g.safetensors").scores()[2:] == graph.scores()[2:]
    assert graph.scores(pruned=True).of == "what the file kept"


def test_scores_of_what_a_file_kept_are_never_told_as_the_graphs(tmp_path: Path):
    graph, _ = read(tmp_path, published(1, {"no errors"}))
    assert graph.scores()[::3] == (1.0, "what the file kept")
    assert "replacement_score" not in graph_json(graph, slug="s")["metadata"]


def test_a_removed_feature_counts_as_error_where_the_file_kept_no_error(tmp_path: Path):
    graph, _ = read(tmp_path, published(2, {"no errors"}))
    half = graph.prune(0.5)
    assert graph.scores(pruned=True).replacement == 1
    assert 0 < half.scores(pruned=True).replacement < 1
    with_errors, _ = read(tmp_path, published(2))
    assert with_errors.prune(0.5).scores(pruned=True).replacement < with_errors.scores(pruned=True).replacement


def test_links_between_the_same_two_nodes_add_up(tmp_path: Path):
    content = published(3)
    content["links"].append(dict(content["links"][0], weight=0.25))
    graph, _ = read(tmp_path, content)
    assert graph.n_edges == len(content["links"]) - 1
    assert float(graph.values.sum()) == pytest.approx(sum(link["weight"] for link in content["links"]))


@pytest.mark.parametrize("change", ["an embedding is missing", "a token too many", "no links"])
def test_what_is_left_out_is_drawn_without(tmp_path: Path, change: str):
    content = published(4)
    if change == "an embedding is missing":
        content["nodes"] = [node for node in content["nodes"] if node["node_id"] != "E_101_1"]
        content["links"] = [link for link in content["links"] if link["source"] != "E_101_1"]
    elif change == "a token too many":
        content["metadata"]["prompt_tokens"].append("x")
    else:
        content["links"] = []
    holds_to_all_of_it(*read(tmp_path, content), tmp_path)
