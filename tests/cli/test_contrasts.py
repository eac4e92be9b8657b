"""`trace --contrast` and `verify` of a contrast, on the organism; the second half of `demo`."""

import json
from pathlib import Path

import pytest

from silverstain.cli import main
from silverstain.cli.real_demo import show_real

BASE = "the capital of the state containing dallas is"
OTHER = "the capital of the state containing oakland is"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def graph_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    file = tmp_path / "towns.safetensors"
    code, out, err = run(capsys, "trace", BASE, "--contrast", OTHER, "--dictionary", "neurons", "--out", str(file))
    assert code == 0, err
    assert "base" in out
    assert "contrast" in out
    assert "oakland" in out
    return file


def test_trace_with_json_says_what_differs(capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "trace", BASE, "--contrast", OTHER, "--dictionary", "per-layer", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["contrast"]["base"] < 0 < found["contrast"]["contrast"]
    assert found["contrast"]["tokens"][-1] == "is" == found["contrast"]["contrast_tokens"][-1]
    assert found["exactness"]["max_relative_error"] < 1e-4
    assert found["nodes"]["attention"] > 0
    assert {"load", "record", "attribute", "prune", "total"} <= set(found["seconds"])


def test_verify_patches_in_both_directions(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "verify", str(graph_file), "--sources", "4", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["base"] < 0 < found["contrast"]
    assert found["smallest_k"] is None or 1 <= found["smallest_k"] <= 500
    methods = {"k", "signed", "absolute", "random", "largest_change", "gradient", "ig"}
    assert all(methods <= set(row) for row in found["curve"])
    assert {"k", "signed", "random"} <= set(found["necessity"][0])
    assert all({"source", "predicted", "measured"} <= set(claim) for claim in found["claims"])
    assert len(found["curve_back"]) == len(found["curve"])


def test_verify_tells_the_proof_and_show_repeats_it(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "verify", str(graph_file), "--sources", "4")
    assert code == 0
    assert "units patched into the base" in out
    assert "random units" in out
    assert "rank correlation" in out
    code, out, _ = run(capsys, "show", str(graph_file))
    assert code == 0
    assert "oakland" in out


def test_a_region_without_units_is_refused(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(
        capsys, "verify", str(graph_file), "--sources", "2", "--after-change", "--from-layer", "1", "--json"
    )
    assert code == 0
    assert json.loads(out)["region"]["from_layer"] == 1
    code, _, err = run(capsys, "verify", str(graph_file), "--from-layer", "4")
    assert code == 2
    assert "there is no unit from layer 4 on" in err


def test_regions_are_for_contrasts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "one.safetensors"
    assert run(capsys, "trace", BASE, "--max-features", "20", "--out", str(file))[0] == 0
    code, _, err = run(capsys, "verify", str(file), "--after-change")
    assert code == 2
    assert "--from-layer and --after-change are for the graph of a contrast" in err


def test_the_change_that_moves_the_answer_most_is_found(capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "trace", BASE, "--contrast", "auto", "--json")
    found = json.loads(out)["contrast"]
    assert code == 0
    assert "the change that moves the answer most" in err
    assert len(found["changed"]) == 1
    assert found["answers"][0] != found["answers"][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((BASE, "--contrast", BASE), "the two prompts are the same"),
        ((BASE, "--contrast", "the capital of texas is"), "tokens, and only prompts of one length can be compared"),
        ((BASE, "--contrast", "the capital of the state containing houston is"), "name what is to be explained"),
        ((BASE, "--contrast", OTHER, "--dry-run"), "--contrast compares one prompt with another"),
        (("--token-ids", "1,5,6", "--contrast", "1,x,6"), "give whole numbers with commas between them"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "trace", *arguments)
    assert code == 2
    assert words in err
    assert not out
    assert "Traceback" not in err


def test_unequal_lengths_show_both_rows_of_tokens(capsys: pytest.CaptureFixture[str]):
    _, _, err = run(capsys, "trace", BASE, "--contrast", "the capital of texas is")
    lines = err.splitlines()
    assert any("'dal'" in line for line in lines)
    assert any("'texas'" in line for line in lines)


def test_a_graph_of_another_model_is_refused(graph_file: Path, capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, "verify", str(graph_file), "--model", "organism/memorised", "--dictionary", "neurons")
    assert code == 2
    assert "the graph is of the model" in err


def test_the_demo_says_how_to_fetch_a_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path / "nothing"))
    show_real(tmp_path, 1, 100)
    assert "silverstain models get smollm2-135m" in capsys.readouterr().out


def test_the_demo_proves_a_contrast_of_a_real_model(
    smollm2: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    show_real(tmp_path, 1, 100)
    out = capsys.readouterr().out
    assert "turn Paris into Madrid" in out
    assert "random units" in out
    assert (tmp_path / "capital.safetensors").exists()
