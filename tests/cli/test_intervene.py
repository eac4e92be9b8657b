"""`silverstain intervene`: edits of every kind, modes, donors, and what is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from silverstain.cli import main
from silverstain.interventions import load_edits

PROMPT = "the capital of the state containing dallas is"
DONOR = "the capital of the state containing austin is"


@pytest.fixture
def of_tiny(tiny: dict[str, str]) -> list[str]:
    return ["intervene", PROMPT, "--model", tiny["model"], "--dictionary", tiny["dictionary"], "--generate", "2"]


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_edits_of_every_kind_are_made_and_saved(of_tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_file({"north": torch.arange(16.0)}, tmp_path / "directions.safetensors")
    texts = [
        "set:L0.F1@3=2.0", "ablate:L1.error@4", "scale:token@2=3.0", "set:L1.H1@4<2=0.5", "add:L0.north@5=4.0",
        "patch:L1.F3@5<4", "patch:token@7<7",
    ]  # fmt: skip
    words = [word for text in texts for word in ("--edit", text)]
    words += ["--directions", str(tmp_path / "directions.safetensors"), "--donor", DONOR]
    report = asked(capsys, *of_tiny, *words, "--save", str(tmp_path / "edits.json"))
    assert report["edits"][:5] == texts[:5]
    assert report["kl"] > 1e-3
    assert "control" not in report, "only features have one"
    again = asked(capsys, *of_tiny, "--edits", str(tmp_path / "edits.json"))
    assert again["kl"] == pytest.approx(report["kl"], rel=1e-4)
    assert len(load_edits(tmp_path / "edits.json")) == len(texts)


def test_modes_hold_what_they_say(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    words = [*of_tiny, "--edit", "set:L0.F1@3=5.0"]
    added = asked(capsys, *words)
    direct = asked(capsys, *words, "--mode", "direct")
    constrained = asked(capsys, *words, "--mode", "constrained", "--hold", "0..1", "--attention", "live")
    assert (direct["attention"], direct["norms"]) == ("frozen", "frozen")
    assert constrained["held_layers"] == [0, 1]
    assert constrained["attention"] == "live"
    assert len({report["kl"] for report in (added, direct, constrained)}) == 3


def test_drawn_text_follows_its_seed(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    words = [*of_tiny[:-1], "8", "--edit", "set:L0.F1@3..=5.0", "--no-control", "--temperature", "3"]
    first, again, other = (asked(capsys, *words, "--seed", seed)["generated"] for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--edit", "ablate:L0.F1@99"], "is at position 99, but the prompt has 9 tokens"),
        (["--edit", "ablate:L0.F9999@3"], "names L0.F9999, but this dictionary has"),
        (["--edit", "set:L0.F1@3=1", "--edit", "set:L0.F1=2"], "Two edits change L0.F1 at position 3"),
        (["--edit", "patch:L0.F1@3<3"], "no donor prompt is given; name one (--donor)"),
        (["--edit", "set:L0.F1@3=1", "--mode", "constrained"], "constrained needs the layers to hold"),
        (["--edit", "set:L0.F1@3=1", "--mode", "constrained", "--hold", "a"], "cannot read --hold 'a'"),
        (["--edit", "set:L0.F1@3=1", "--mode", "constrained", "--hold", "2..1"], "a range that runs backwards"),
        (["--edit", "ablate:state = texas"], "no known group; groups come from a graph: --story GRAPH"),
        (["--edit", "set:L0.F1@3=1e37"], "no random change is as long"),
        (["--edit", "set:L0.F1@3=1", "--mode", "direct", "--attention", "live"], "direct holds attention and norms"),
        (["--edit", "set:L0.F1@3=1", "--temperature", "-1"], "Invalid value for '--temperature'"),
        (["--edit", "set:L0.F1@3=1e39", "--no-control"], "NaN or infinite"),
    ],
)
def test_what_cannot_be_is_one_line(
    of_tiny: list[str], capsys: pytest.CaptureFixture[str], words: list[str], said: str
):
    assert main([*of_tiny, *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_silencing_what_is_not_active_says_what_is(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    """Of all features of a layer at one token, some fire there, some elsewhere, some nowhere."""
    said = set()
    for feature in range(12):
        code = main([*of_tiny, "--edit", f"ablate:L1.F{feature}@4", "--no-control"])
        err = capsys.readouterr().err
        assert code == (2 if "is not active at position 4" in err else 0)
        said |= {word for word in ("it is active at", "nearest of those that are: L1.F") if code == 2 and word in err}
    assert said
