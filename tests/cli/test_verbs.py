"""The verbs on a tiny random model: what they print, and what they write."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from silverstain.cli import main
from silverstain.graphs import Graph, Story
from silverstain.installed import installed_folder
from silverstain.organism.composing.siblings import COMPOSING_LITTER
from silverstain.organism.files import FOLDER, GROUP

PROMPT = "the capital of the state containing dallas is"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The stdout of a command line that must succeed."""
    code = main(words)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The one JSON object it prints."""
    return json.loads(run(capsys, *words, "--json"))


@pytest.fixture
def of_tiny(tiny: dict[str, str]) -> list[str]:
    return ["--model", tiny["model"], "--dictionary", tiny["dictionary"]]


@pytest.fixture
def graph_file(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    file = str(tmp_path / "dallas.safetensors")
    run(capsys, "trace", PROMPT, *of_tiny, "--out", file)
    return file


def test_trace_prints_every_key_of_the_design(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "deep" / "graph.safetensors"
    report = asked(capsys, "trace", PROMPT, *of_tiny, "--out", str(file), "--target", "austin")
    assert report["graph"] == str(file)
    assert report["tokens"] == ["<bos>", *PROMPT.split()]
    assert [target["token"] for target in report["targets"]] == ["austin"]
    assert set(report["nodes"]) == {"feature", "error", "token", "bias", "logit", "active"}
    assert set(report["scores"]) == {"replacement", "completeness", "completeness_all_rows", "of"}
    assert report["exactness"]["max_relative_error"] <= 1e-5
    assert set(report["seconds"]) == {"load", "record", "attribute", "prune", "total"}
    assert report["unexplained_influence"] == 0
    assert report["edges"] == Graph.load(file).n_edges
    assert Story.load(file.with_name("graph.story.json")).graph_hash == report["hash"]


def test_trace_of_ids_equals_trace_of_text(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    text = asked(capsys, "trace", "the capital of", *of_tiny)
    ids = asked(capsys, "trace", "--token-ids", "0,2,3,4", *of_tiny)
    assert text["nodes"] == ids["nodes"]
    assert text["hash"] == ids["hash"]


def test_trace_draws_and_says_how_exact_it_is(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    text = run(capsys, "trace", PROMPT, *of_tiny, "--no-prune", "--max-features", "5", "--width", "90")
    assert "▲" in text
    assert "exactness" in text


def test_show_draws_the_groups_of_the_story_beside_the_graph(
    dallas: Graph, reading: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dallas.save(tmp_path / "dallas.safetensors")
    reading.save(tmp_path / "dallas.story.json")
    text = run(capsys, "show", str(tmp_path / "dallas.safetensors"), "--width", "100")
    assert "say austin  17 %" in text
    report = asked(capsys, "show", str(tmp_path / "dallas.safetensors"))
    texas = next(group for group in report["groups"] if group["label"] == "texas")
    assert texas["positions"] == [8, 9]
    assert texas["members"] == ["1_3_8", "2_5_9"]
    assert texas["share"] == pytest.approx(0.20, abs=0.01)


@pytest.mark.parametrize(
    ("name", "begins"), [("d.svg", "<svg "), ("d.html", "<!doctype html>"), ("d.md", "# the capital")]
)
def test_show_writes_the_drawing_to_a_file(
    name: str, begins: str, dallas: Graph, reading: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dallas.save(tmp_path / "dallas.safetensors")
    reading.save(tmp_path / "dallas.story.json")
    assert run(capsys, "show", str(tmp_path / "dallas.safetensors"), "-o", str(tmp_path / name)) == ""
    content = (tmp_path / name).read_text(encoding="utf-8")
    assert content.startswith(begins)
    assert "say austin" in content
    assert "Replacement .86" in content


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("d.pdf", "ends in .pdf; a figure is written as .svg, .png, .html, .md"),
        ("d", "has no ending"),
        ("d.\x1b[2J", "ends in .\\x1b[2J"),
        (".svg", "a figure is written as"),
        ("no.safetensors/d.svg", "is no folder"),
    ],
)
def test_show_refuses_other_files_before_it_reads_the_graph(
    out: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    graph = tmp_path / "no.safetensors"
    graph.write_text("not a graph, which nobody finds out")
    assert main(["show", str(graph), "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["no.safetensors"]


def test_show_shows_what_strangers_wrote_as_text(
    dallas: Graph, reading: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    evil = "\x1b]0;owned\x07\n\x9b5n\u202e"
    meta = {
        **dallas.meta,
        "tokens": [evil] * 10,
        "targets": [{**target, "name": evil} for target in dallas.meta["targets"]],
    }
    dallas.with_meta(meta).save(tmp_path / "dallas.safetensors")
    replace(reading, groups=(replace(reading.groups[0], label=evil),)).save(tmp_path / "dallas.story.json")
    text = run(capsys, "show", str(tmp_path / "dallas.safetensors"))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "\\x1b]0;" in text


def test_prune_hides_and_undo_brings_back(graph_file: str, capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "prune", graph_file, "--node-share", "0.5")
    assert report["after"]["kept"]["nodes"] <= report["before"]["kept"]["nodes"]
    assert Graph.load(graph_file).meta["pruning"]["node_share"] == 0.5
    undone = asked(capsys, "prune", graph_file, "--undo")
    assert "kept" not in undone["after"]
    assert Graph.load(graph_file).node_mask is None


def test_intervene_prints_every_key_of_the_design(
    graph_file: str, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    graph = Graph.load(graph_file)
    layer, position, feature = (
        int(column[0]) for column in (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    )
    report = asked(capsys, "intervene", PROMPT, *of_tiny, "--edit", f"scale:L{layer}.F{feature}@{position}=-3")
    assert {"token", "probability"} <= set(report["baseline"][0])
    assert report["kl"] > 0
    assert set(report["generated"]) == {"baseline", "edited"}
    assert len(report["control"]["edited"]) == 5


def test_a_group_can_be_edited_by_its_name(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "g.safetensors"
    run(capsys, "trace", PROMPT, *of_tiny, "--out", str(file))
    graph = Graph.load(file)
    ids = graph.nodes.ids()[:2]
    story = {"format": "silverstain.story/1", "groups": [{"label": "state = texas", "members": ids}]}
    (tmp_path / "g.story.json").write_text(json.dumps(story))
    report = asked(capsys, "intervene", PROMPT, *of_tiny, "--edit", "ablate:state = texas", "--story", str(file))
    assert sum(edit.startswith("ablate:") for edit in report["edits"]) == len(set(graph.nodes.position[:2].tolist()))


def test_an_unwritable_folder_is_a_mistake(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    code = main(["trace", "the capital of", *of_tiny, "--out", str(tmp_path / "file" / "g.safetensors")])
    assert code == 2
    assert "cannot write" in capsys.readouterr().err


def test_doctor_names_what_it_saw(capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "doctor", "--quick")
    assert report["ok"]
    assert {"python", "torch", "terminal", "devices"} <= {check["name"] for check in report["checks"]}


def test_doctor_says_which_models_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path))
    checks = {check["name"]: check for check in asked(capsys, "doctor", "--quick")["checks"]}
    assert checks["models"]["ok"]
    assert checks["models"]["seen"] == "none is fetched yet: silverstain models list"


def test_organism_info_lists_the_litter(capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "organism", "info")
    first = ["general", "memorised", "mixed", "quirk", "untrained"]
    assert [one["name"] for one in report["organisms"]] == [*first, *COMPOSING_LITTER]
    packaged = [name for name in COMPOSING_LITTER if installed_folder(GROUP, name, FOLDER)]
    assert [one["name"] for one in report["organisms"] if one["there"]] == first + packaged
