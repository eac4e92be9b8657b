"""`silverstain verify` on a tiny random model."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from silverstain.cli import main
from silverstain.cli.graph_model import as_graph_says
from silverstain.cli.options import LoadingOptions
from silverstain.graphs import Graph, Story, StoryGroup
from silverstain.notation import name_of_id, read_node

PROMPT = "the capital of the state containing dallas is"


@pytest.fixture
def of_tiny(tiny: dict[str, str]) -> list[str]:
    return ["--model", tiny["model"], "--dictionary", tiny["dictionary"]]


@pytest.fixture
def graph_file(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "dallas.safetensors"
    assert main(["trace", PROMPT, *of_tiny, "--out", str(file)]) == 0
    capsys.readouterr()
    return file


def test_verify_keeps_its_result_in_the_story_and_show_tells_it(
    graph_file: Path, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    graph, beside = Graph.load(graph_file), graph_file.with_name("dallas.story.json")
    assert graph.nodes.influence is not None
    movable = graph.nodes.is_kind("feature", "error")
    strongest = graph.nodes.ids()[int(graph.nodes.influence.masked_fill(~movable, -1).argmax())]
    Story(
        graph_hash=graph.hash,
        groups=(StoryGroup(label="texas", members=(strongest,)),),
        evidence=({"kind": "swap"}, {"kind": "verification", "verdicts": {}}),
    ).save(beside)
    assert main(["verify", str(graph_file), *of_tiny, "--sources", "6", "--controls", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["claims"][0]) >= {"source", "target", "predicted", "measured", "verdict"}
    assert set(report) >= {"spearman", "slope", "r2", "controls", "inhibited"}
    assert {claim["source"] for claim in report["claims"]} >= {"texas"}
    story = Story.load(beside)
    assert [entry["kind"] for entry in story.evidence] == ["swap", "verification"]  # the old one is replaced
    assert story.evidence[1]["verdicts"] == report["verdicts"]
    kept = {claim["source"]: claim for claim in story.evidence[1]["claims"]}  # by the ids that nodes have in files
    assert {name_of_id(source) for source in kept} == {claim["source"] for claim in report["claims"]}
    assert all(node_id in graph.nodes.ids() or node_id == "texas" for node_id in kept)
    assert story.groups[0].label == "texas"
    assert main(["show", str(graph_file)]) == 0
    assert "tested on the model: " in capsys.readouterr().out


def test_verify_draws_tables_and_can_leave_the_story_alone(
    graph_file: Path, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    beside = graph_file.with_name("dallas.story.json")
    before = beside.read_bytes()
    assert main(["verify", str(graph_file), *of_tiny, "--no-write", "--inhibited", "0", "--rows", "3"]) == 0
    out, err = capsys.readouterr()
    assert "predicted" in out
    assert "verdict" in out
    assert "arithmetic check" in err
    assert "with ×, in shares of the target's activation\n  untested: neither" in err
    assert beside.read_bytes() == before


def test_nodes_are_printed_in_the_notation_and_inhibited_features_have_an_old_flag(
    graph_file: Path, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    words = [str(graph_file), *of_tiny, "--sources", "4", "--controls", "2", "--no-write"]
    for flag in ("--inhibited", "--ghosts"):
        assert main(["verify", *words, flag, "2", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert len(report["inhibited"]) <= 2
        named = [one["id"] for one in report["inhibited"]]
        named += [edge["source"] for one in report["inhibited"] for edge in one["edges"]]
        named += [claim["source"] for claim in report["claims"]]
        assert all(str(read_node(name)) == name for name in named), named
    assert main(["verify", *words, "--inhibited", "2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"L\d\.(F\d+|error)@\d", out)
    assert not re.search(r"\d_(\d+|error)_\d", out)


def test_show_tells_inhibited_features_of_stories_old_and_new(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    found = [{"id": "1_3_8", "says": "austin", "wakes": True}, {"id": "1_4_8", "says": "of", "wakes": False}]
    for key in ("inhibited", "ghosts"):
        evidence = ({"kind": "verification", "verdicts": {"confirmed": 1}, key: found},)
        Story(graph_hash=Graph.load(graph_file).hash, evidence=evidence).save(graph_file.with_name("dallas.story.json"))
        assert main(["show", str(graph_file)]) == 0
        assert "active when what inhibits them is ablated: L1.F3@8 (austin)\n" in capsys.readouterr().out


def test_a_graph_of_another_model_is_one_line(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(graph_file)]) == 2
    err = capsys.readouterr().err
    assert "the graph is of a model of 3 layers" in err
    assert re.search(r"load the model that it is of: --model model\d+ --dictionary random \(the path", err)


def test_without_flags_verify_runs_on_what_the_graph_names(
    graph_file: Path,
    tiny: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    model = Path(tiny["model"]).name
    (tmp_path / model).symlink_to(tiny["model"])
    (tmp_path / "random").symlink_to(tiny["dictionary"])
    monkeypatch.chdir(tmp_path)
    assert main(["verify", str(graph_file), "--sources", "2", "--controls", "2", "--no-write", "--inhibited", "0"]) == 0
    assert f"running on {model} with random, as the graph says" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "dictionary", "expected"),
    [
        ("organism/general", "per-layer", ("organism/general", "per-layer")),
        ("org/model", "org/dictionary/sub@1", ("organism", None)),  # nothing is fetched because a file says so
        ("gpt2", "org/dictionary", ("organism", None)),  # a folder's last part, or an id: not to be told apart
        ("org/model", "unknown", ("organism", None)),
        ("../model", "org/dictionary", ("organism", None)),
        ("\0", "~/x", ("organism", None)),
        ("", "", ("organism", None)),
    ],
)
def test_what_a_graph_names_is_taken_only_where_it_can_be_found(
    dallas: Graph, model: str, dictionary: str, expected: tuple[str, str | None]
):
    named = replace(dallas, meta={"model": {"name": model}, "dictionary": {"name": dictionary}})
    found = as_graph_says(LoadingOptions(), named)
    assert (found.model, found.dictionary) == expected
    given = LoadingOptions(model="theirs", dictionary="there")
    assert as_graph_says(given, named) == given
