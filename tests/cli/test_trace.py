"""`silverstain trace`: targets as text, and files of prompts."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from silverstain.cli import main
from silverstain.cli.drawing import draw
from silverstain.cli.trace import figures
from silverstain.errors import OutOfMemory
from silverstain.graphs import Graph, Story
from silverstain.storage import save_tensors_whole

PROMPT = "the capital of the state containing dallas is"


@pytest.fixture
def of_tiny(tiny: dict[str, str]) -> list[str]:
    return ["--model", tiny["model"], "--dictionary", tiny["dictionary"], "--threads", "1"]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, err = said(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_every_kind_of_target_is_traced_and_drawn(
    of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_tensors_whole(tmp_path / "v.safetensors", {"up": torch.ones(16)})
    targets = [
        "austin",
        "id:10@-2",
        "diff:austin,sacramento",
        "feature:L1.F3",
        f"direction:{tmp_path}/v.safetensors:up/L2",
    ]
    words = [word for target in targets for word in ("--target", target)]
    file = tmp_path / "g.safetensors"
    report = asked(capsys, "trace", PROMPT, *of_tiny, *words, "--out", str(file))
    assert [target["kind"] for target in report["targets"]] == ["token", "token", "difference", "feature", "direction"]
    assert report["exactness"]["max_relative_error"] <= 1e-5
    assert report["nodes"]["logit"] == 5
    code, out, err = said(capsys, "show", str(file), "--width", "100")
    assert code == 0, err
    assert re.search(r"austin − sacramento [+-]\d+\.\d\d", out)
    assert re.search(r"L1\.F3 -?\d+\.\d\d, (not )?active", out)
    assert re.search(r"sacramento @7 \d+\.\d %", out)
    assert re.search(r"up [+-]\d+\.\d\d", out)


def test_a_target_that_is_no_token_has_no_probability_in_the_drawing(
    of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    code, out, err = said(capsys, "trace", PROMPT, *of_tiny, "--target", "diff:austin,sacramento", "--width", "100")
    assert code == 0, err
    assert re.search(r"│ +austin − sacramento +│", out)


def test_the_drawing_has_as_many_boxes_as_are_wanted_and_what_comes_next_is_not_to_draw_it_again(
    of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "my graph.safetensors"
    code, out, err = said(capsys, "trace", PROMPT, *of_tiny, "--boxes", "1", "--width", "100", "--out", str(file))
    assert code == 0, err
    assert said(capsys, "show", str(file), "--boxes", "1", "--width", "100")[1] == out
    assert said(capsys, "show", str(file), "--width", "100")[1] != out
    assert f"Next: silverstain verify '{file}' --model {of_tiny[1]} --dictionary {of_tiny[3]}\n" in err


def test_a_target_of_which_nothing_is_known_is_its_name(dallas: Graph):
    meta = {"targets": [{"name": "austin"}, {"name": "L1.F3", "kind": "feature"}], "tokens": dallas.meta["tokens"]}
    assert "austin, L1.F3\n" in figures(replace(dallas, meta=meta))


def test_a_graph_without_edges_has_no_scores_to_believe(dallas: Graph):
    none = torch.zeros(0)
    bare = replace(
        dallas, row_nodes=none.long(), indptr=torch.zeros(1).long(), indices=none.long(), values=none,
        values_of_targets=none,
    )  # fmt: skip
    assert "scores     no edges: nothing can be said" in figures(bare)
    assert "no edges: nothing can be said" in draw(bare, Story())
    assert "error nodes" not in figures(bare)


def test_the_default_targets_can_be_fewer(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    assert len(asked(capsys, "trace", PROMPT, *of_tiny, "--most-targets", "2")["targets"]) == 2
    assert len(asked(capsys, "trace", PROMPT, *of_tiny, "--probability", "0")["targets"]) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["x", "--target", "feature:3"], "cannot read the target 'feature:3': name a feature as feature:L2.F17"),
        (["x", "--target", "direction:none.safetensors"], "there is no file none.safetensors"),
        (
            ["--prompts", "pyproject.toml"],
            "--prompts pyproject.toml makes many graphs; name their folder: --out FOLDER",
        ),
        (["--prompts", "none.jsonl"], "there is no file none.jsonl; check the path"),
        (["--prompts", "pyproject.toml", "--dry-run"], "--dry-run is of one prompt; give one instead of --prompts"),
        (["x", "--prompts", "pyproject.toml"], "give either a prompt or --token-ids, or a file with --prompts"),
        (["--token-ids", "9" * 30], "token ids are whole numbers from 0 to 10; one of these is not"),
        (["x", "--target", "id:" + "9" * 5000], "an id is a number, as id:40"),
        (["x", "--out", "."], ". is a folder; name a file in it"),
        (["x", "--out", "pyproject.toml/g.safetensors"], "is no folder that can be written; choose another"),
        (["x", "--norms", "live", "--dry-run"], "norms are 'live'; give frozen or linearised"),
        (["x", "--products", "float16", "--dry-run"], "--products is 'float16'; give bfloat16 or float32"),
        (["x", "--device", "banana"], "--device is 'banana', which cannot be used here; there is cpu"),
        (["x", "--device", "cuda:99"], "--device is 'cuda:99', which cannot be used here; there is cpu"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], line: str, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    code, out, err = said(capsys, "trace", *words, *of_tiny)
    assert (code, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    lines = [{"id": "texas", "prompt": PROMPT}, {"prompt": "the capital of", "targets": ["state"]}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_file_of_prompts_becomes_a_folder_of_graphs(
    of_tiny: list[str], prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "graphs"
    words = ["trace", "--prompts", str(prompts), *of_tiny, "--out", str(folder)]
    report = asked(capsys, *words)
    assert {key: report[key] for key in ("traced", "skipped", "failed")} == {"traced": 2, "skipped": 0, "failed": 0}
    graph = Graph.load(folder / "texas.safetensors")
    assert Story.load(folder / "texas.story.json").graph_hash == graph.hash
    assert len((folder / "index.jsonl").read_text().splitlines()) == 2
    code, out, err = said(capsys, *words)
    assert (code, out) == (0, "0 traced, 2 skipped, 0 failed\n")
    assert "line 1 of 2: texas is there already" in err


def test_a_bad_line_is_named_and_the_others_are_made(
    of_tiny: list[str], prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    prompts.write_text('{"prompt": 3}\n' + prompts.read_text())
    words = ["trace", "--prompts", str(prompts), *of_tiny, "--out", str(tmp_path / "graphs")]
    code, out, err = said(capsys, *words, "--json")
    assert code == 2
    assert f"{prompts}, line 1: its prompt is 3; give a text" in err
    assert err.splitlines()[-1].startswith(f"silverstain: 1 of 3 lines of {prompts} failed (line 1); what is wrong")
    report = json.loads(out)
    assert (report["traced"], report["failed"]) == (2, 1)
    assert report["failures"][0]["line"] == 1


def test_ctrl_c_keeps_what_is_done(
    of_tiny: list[str],
    prompts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    from silverstain.attribution import trace as real

    def interrupted(model: Any, dictionary: Any, prompt: Any, *settings: Any, **options: Any) -> Graph:
        if prompt == "the capital of":
            raise KeyboardInterrupt
        return real(model, dictionary, prompt, *settings, **options)

    words = ["trace", "--prompts", str(prompts), *of_tiny, "--out", str(tmp_path / "graphs")]
    with monkeypatch.context() as patched:
        patched.setattr("silverstain.attribution.many.trace", interrupted)
        code, _, err = said(capsys, *words)
    assert code == 130
    assert "1 of 2 lines are done; the same command goes on behind them" in err
    assert (tmp_path / "graphs" / "texas.safetensors").is_file()
    assert asked(capsys, *words)["skipped"] == 1


def test_ctrl_c_says_where_to_go_on(
    of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from silverstain.attribution import run
    from silverstain.attribution.edges import edges_into

    def stopped(*arguments: Any, **options: Any) -> None:
        edges_into(*arguments, **options)
        raise KeyboardInterrupt

    out = tmp_path / "g.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(run, "edges_into", stopped)
        code, _, err = said(capsys, "trace", PROMPT, *of_tiny, "--out", str(out))
    assert code == 130
    assert f"What was found is in {out}.parts" in err
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors.parts"]
    assert asked(capsys, "trace", PROMPT, *of_tiny, "--out", str(out))["exactness"]["max_relative_error"] <= 1e-5
    assert {path.name for path in tmp_path.iterdir()} == {"g.safetensors", "g.story.json"}


@pytest.mark.parametrize("many", [False, True])
def test_out_of_memory_is_exit_code_4_with_what_fits(
    many: bool,
    of_tiny: list[str],
    prompts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def full(*_: object, **__: object) -> None:
        raise OutOfMemory("out of memory: max_features=12 (--max-features 12) should fit")

    monkeypatch.setattr("silverstain.attribution.many.trace", full)
    monkeypatch.setattr("silverstain.loading.trace", full)
    words = ["--prompts", str(prompts), "--out", str(tmp_path / "graphs")] if many else [PROMPT]
    code, _, err = said(capsys, "trace", *words, *of_tiny)
    assert code == 4
    assert "--max-features 12" in err
    assert "Traceback" not in err


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(
    of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "g.safetensors"
    plan = asked(capsys, "trace", PROMPT, *of_tiny, "--max-features", "5", "--dry-run", "--out", str(file))
    keys = {"tokens", "active", "expanded", "nodes", "rows", "operations", "bytes", "seconds"}
    assert (set(plan), plan["expanded"]) == (keys, 5)
    code, out, err = said(capsys, "trace", PROMPT, *of_tiny, "--dry-run")
    assert (code, "active features" in out) == (0, True)
    assert "Nothing was traced" in err
    assert not list(tmp_path.iterdir())

    graph = asked(capsys, "trace", PROMPT, *of_tiny, "--max-features", "5", "--out", str(file))
    kinds = ("feature", "error", "token", "bias", "logit")
    assert plan["nodes"] == sum(graph["nodes"][kind] for kind in kinds)
    assert (plan["active"], plan["tokens"]) == (graph["nodes"]["active"], len(graph["tokens"]))


def test_products_of_an_unknown_kind_are_refused(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    code, _, err = said(capsys, "trace", PROMPT, *of_tiny, "--products", "float16")
    assert (code, err.strip()) == (2, "silverstain: --products is 'float16'; give bfloat16 or float32")


def test_a_graph_of_linearised_norms_says_so(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    said_so = "norms         linearised"
    assert said_so in said(capsys, "trace", PROMPT, *of_tiny, "--norms", "linearised")[1]
    assert said_so not in said(capsys, "trace", PROMPT, *of_tiny)[1]
