"""`silverstain compare` and `import`."""

import json
from pathlib import Path
from typing import Any

import pytest

from silverstain.cli import main
from silverstain.graphs import Graph, Story


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, err = said(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def files(dallas: Graph, reading: Story, tmp_path: Path) -> tuple[str, str]:
    """The small graph as ours, and its pruned part as JSON."""
    pruned = dallas.prune(0.9)
    pruned.save(tmp_path / "dallas.safetensors")
    pruned.to_json(tmp_path / "dallas.json", story=reading)
    return str(tmp_path / "dallas.safetensors"), str(tmp_path / "dallas.json")


def test_compare_says_how_two_graphs_agree(files: tuple[str, str], dallas: Graph, capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "compare", *files, "--pruned")
    kept = int(dallas.prune(0.9).edge_mask.sum())  # type: ignore[union-attr]
    assert report["edges"]["all"]["count"] == {"shared": kept, "left": 0, "right": 0}
    assert report["edges"]["all"]["relative_difference"] == pytest.approx(0, abs=1e-6)
    assert report["nodes"]["feature"]["right"] == 0
    assert report["targets"][0] == {
        "id": "5_40_9",
        "name": "austin",
        "left": pytest.approx(0.97),
        "right": pytest.approx(0.97),
    }
    whole = asked(capsys, "compare", *files)
    assert whole["edges"]["all"]["count"]["left"] == dallas.n_edges - kept
    code, out, _ = said(capsys, "compare", *files)
    assert code == 0
    assert "activations of" in out
    assert "austin" in out


def test_a_feature_that_is_a_target_is_named_with_its_position(
    tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = [str(tmp_path / f"{target}.safetensors") for target in ("L1.F3@4", "1_3_5")]
    for target, file in zip(("L1.F3@4", "1_3_5"), files, strict=True):
        words = ["--model", tiny["model"], "--dictionary", tiny["dictionary"], "--target", target, "--out", file]
        code, out, err = said(capsys, "trace", "the capital of the state", *words, "--target", "austin")
        assert code == 0, err
    assert "answer        L1.F3 " in out  # at the last token
    assert "answer        L1.F3@4 " in said(capsys, "show", files[0])[1]
    table = said(capsys, "compare", *files)[1]
    assert "L1.F3@4" in table
    assert "L1.F3@5" in table


def test_import_writes_a_graph_with_its_story(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new" / "theirs.safetensors"
    report = asked(capsys, "import", files[1], "--out", str(out))
    assert report["graph"] == str(out)
    assert report["nodes"]["bias"] == 0
    graph = Graph.load(out)
    assert graph.target_names == ["austin", "houston"]
    groups = Story.load(out.with_name("theirs.story.json")).groups
    assert "say austin" in {group.label for group in groups}
    code, text, err = said(capsys, "show", str(out), "--width", "100")
    assert code == 0, err
    assert "say austin" in text
    assert "not known" in text  # whether its rows add up


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["compare", "none.json", "none.pt"], "there is no file none.json; check the path"),
        (["import", "none.pt"], "there is no file none.pt"),
        (["import", "."], ". is a folder, a file was expected"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert line in err


def test_a_hostile_file_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import os

    import torch

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'proof'}",)

    torch.save({"cfg": Payload()}, tmp_path / "g.pt")
    code, out, err = said(capsys, "import", str(tmp_path / "g.pt"))
    assert (code, out) == (2, "")
    assert "it would run posix.system while it is read" in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["g.pt"]


def test_the_file_itself_is_not_written_over(files: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    code, _, err = said(capsys, "import", files[0])
    assert code == 2
    assert "would be written over; name another file with --out" in err


def test_a_graph_beside_the_file_is_not_written_over(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = tmp_path / "mine.json"
    content.write_bytes(Path(files[1]).read_bytes())
    before = b"a graph that took an hour"
    content.with_suffix(".safetensors").write_bytes(before)
    code, _, err = said(capsys, "import", str(content))
    assert code == 2
    assert "mine.safetensors would be written over; name another file with --out" in err
    assert content.with_suffix(".safetensors").read_bytes() == before


def test_a_family_is_told_with_what_recurs(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = files[0]
    merged = tmp_path / "family.safetensors"
    report = asked(capsys, "compare", ours, ours, ours, "--merged", str(merged))
    assert report["graphs"] == 3
    assert report["stability"]["jaccard"] == 1.0
    assert Graph.load(merged).meta["merged"]["n"] == 3
    code, out, _ = said(capsys, "compare", ours, ours, "--family")
    assert code == 0
    assert "stable: of" in out
    assert "always: L" in out
