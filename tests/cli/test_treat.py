"""`silverstain treat`: made, measured and baked by the command line."""

import json
from pathlib import Path

import pytest

from silverstain.cli import main

needs_organism = pytest.mark.skipif(
    not (
        Path(__file__).parents[2] / "src/silverstain/organism/data/dictionaries/general/cross-layer/config.yaml"
    ).exists(),
    reason="the organism's dictionaries are not grown yet: silverstain organism grow",
)
QUESTION = "the capital of the state containing dallas is"


@needs_organism
def test_made_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cure, items = tmp_path / "cure.json", tmp_path / "items.jsonl"
    items.write_text(json.dumps({"prompt": QUESTION, "answer": "austin"}) + "\n")
    assert main(["treat", "make", "--edit", "ablate:L1.H0+L2.H0+L3.H0+L3.H1+L3.H2+L3.H3", "--when", "0_1",
                 "--last", "3", "--out", str(cure), "--json"]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["treat", "measure", str(cure), "--target", str(items), "--side", str(items), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n"] == {"target": 1, "side": 1}
    assert said["before"] == said["undone"] == {"target": 1.0, "side": 1.0}
    assert set(said["compared"]) == {"random control"}
    dev = tmp_path / "dev.jsonl"
    lines = [{"prompt": f"note austin ; {QUESTION}", "answer": "austin", "without": QUESTION}] * 2
    dev.write_text("\n".join(map(json.dumps, lines)))
    assert main(["treat", "measure", str(cure), "--target", str(dev), "--side", str(items), "--dev", str(dev)]) == 0
    out, err = capsys.readouterr()
    names = ["before", "treated", "undone", "random control", "cue deleted", "difference of means", "fine-tuned"]
    assert [line.split("  ")[1] for line in out.splitlines()[1:]] == names
    assert "target (2 items)" in out
    assert not err
    assert main(["treat", "bake", str(cure), "--out", str(tmp_path / "model")]) == 2
    assert "cannot be put into weights exactly" in capsys.readouterr().err


@needs_organism
def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cure, items = tmp_path / "cure.json", tmp_path / "items.jsonl"
    items.write_text(json.dumps({"prompt": QUESTION, "answer": "austin"}) + "\n")
    assert main(["treat", "make", "--edit", "ablate:L1.H0", "--when", "L0.F1", "--last", "-1", "--out", str(cure)]) == 0
    capsys.readouterr()
    of = ["--target", str(items), "--side", str(items), "--dev", str(items)]
    assert main(["treat", "measure", str(cure), *of]) == 0
    _, err = capsys.readouterr()
    for what in ("steering is left out: no item of --dev", "a random control is left out", "deleting the cue is left"):
        assert what in err


@needs_organism
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["make", "--out", "x.json"], "no edit is given"),
        (["make", "--edit", "ablate:L1.F3", "--when", "F3", "--out", "x.json"], "write features as L0.F7"),
        (["make", "--edit", "ablate:L1.F3", "--when", "L0.F7@2", "--out", "x.json"], "without positions"),
        (["make", "--edit", "ablate:L9.F3", "--out", "x.json"], "names L9.F3"),
        (["make", "--edit", "ablate:L1.F3@4", "--out", "x.json"], "names positions of one prompt"),
        (["measure", "none.json", "--target", "none.jsonl", "--side", "b"], "there is no file none.json"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["treat", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
