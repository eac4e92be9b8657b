"""Files of other tools on the command line: opened by every verb, never written over, and done when they are done."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.graphs.published import published

from silverstain.cli import main
from silverstain.graphs import Graph, Story, open_graph, open_with_story


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "g.json").write_text(json.dumps(published(1)))
    return tmp_path / "g.json"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_verb_opens_a_file_of_another_tool(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words in (["show", str(theirs)], ["compare", str(theirs), str(theirs)], ["show", str(theirs), "--json"]):
        assert said(capsys, *words)[0] == 0, words
    out = tmp_path / "new.safetensors"
    code, text, err = said(capsys, "prune", str(theirs), "--node-share", "0.5", "--out", str(out))
    assert code == 0, err
    assert "replacement" in text
    assert "of what the imported file kept" in err
    graph, story = open_with_story(out)
    assert graph.node_mask is not None
    assert story == open_graph(theirs)[1]  # its labels and groups went with it


def test_a_file_of_another_tool_is_not_pruned_in_place(theirs: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(theirs.parent)
    code, out, err = said(capsys, "prune", str(theirs))
    assert (code, out) == (2, "")
    assert "a file of another tool, which is not written over; say where with --out" in err
    assert contents(theirs.parent) == before


def test_an_import_is_done_when_its_result_is_there(theirs: Path, capsys: pytest.CaptureFixture[str]):
    """A run that was killed on its last step can be given again."""
    assert said(capsys, "import", str(theirs))[0] == 0
    done = contents(theirs.parent)
    assert set(done) == {"g.json", "g.safetensors", "g.story.json"}
    code, _, err = said(capsys, "import", str(theirs))
    assert code == 0
    assert "holds this graph already" in err
    assert contents(theirs.parent) == done
    graph = Graph.load(theirs.parent / "g.safetensors")
    (theirs.parent / "g.safetensors").unlink()  # the story is written first
    assert said(capsys, "import", str(theirs))[0] == 0
    again = contents(theirs.parent)
    assert again.pop("g.safetensors")
    assert again == {name: content for name, content in done.items() if name != "g.safetensors"}
    assert Graph.load(theirs.parent / "g.safetensors").hash == graph.hash


def test_an_import_leaves_a_persons_story(theirs: Path, capsys: pytest.CaptureFixture[str]):
    graph, _ = open_graph(theirs)
    mine = Story(graph_hash=graph.hash, notes=("an hour's work",))
    mine.save(theirs.parent / "mine.story.json")
    out = str(theirs.parent / "mine.safetensors")
    code, _, err = said(capsys, "import", str(theirs), "--out", out)
    assert code == 0
    assert "stays as it is" in err
    assert open_with_story(out)[1] == mine
    Story(graph_hash="another", notes=("another's",)).save(theirs.parent / "other.story.json")
    code, _, err = said(capsys, "import", str(theirs), "--out", str(theirs.parent / "other.safetensors"))
    assert code == 2
    assert "other.story.json is the story of another graph" in err
    assert not (theirs.parent / "other.safetensors").exists()


def test_the_scores_that_a_file_states_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "g.json").write_text(json.dumps(published(1, {"scores"})))
    assert (
        "scores of the whole graph: replacement 0.410, completeness over all rows 0.720"
        in said(capsys, "import", str(tmp_path / "g.json"))[1]
    )
    shown = said(capsys, "show", str(tmp_path / "g.safetensors"))[1]
    assert "replacement   0.410" in shown
    assert "completeness  0.720  tokens and errors counted as explained" in shown
    emitted: dict[str, Any] = json.loads(said(capsys, "show", str(tmp_path / "g.json"), "--json")[1])
    assert emitted["scores"] == {
        "replacement": 0.41, "completeness": None, "completeness_all_rows": 0.72, "of": "whole graph",
    }  # fmt: skip


def test_scores_of_a_part_are_called_so(theirs: Path, capsys: pytest.CaptureFixture[str]):
    assert (
        "scores of what the file kept, which say nothing of the whole graph" in said(capsys, "import", str(theirs))[1]
    )
    assert "in what the file kept, which says nothing of the whole graph" in said(capsys, "show", str(theirs))[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "the graph is of a model of 4 layers, and"),
        ({"ids": "unknown"}, "does not say which tokens 5 of its 5 positions hold"),
    ],
)
def test_verify_says_why_it_cannot_run_an_import(
    tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
):
    (tmp_path / "g.json").write_text(json.dumps(published(1, {"ids of another tool"} if change else ())))
    place = ["--model", tiny["model"], "--dictionary", tiny["dictionary"]]
    code, out, err = said(capsys, "verify", str(tmp_path / "g.json"), *place)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_pruning_writes_nothing_where_it_cannot_be_scored(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The figures come before the file."""
    said(capsys, "import", str(theirs))
    before = contents(theirs.parent)

    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Graph, "scores", fails)
    assert said(capsys, "prune", str(theirs.parent / "g.safetensors"))[0] == 4
    assert contents(theirs.parent) == before
