"""`silverstain faithfulness`, as a user and as a program see it."""

import json
from pathlib import Path

import pytest

from silverstain.cli import main


@pytest.fixture
def of_tiny(tiny: dict[str, str], tmp_path: Path) -> list[str]:
    prompts = ["the capital of the state containing dallas is", "the capital of austin", "dallas is the capital of"]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts), encoding="utf-8")
    return ["faithfulness", tiny["dictionary"], "--model", tiny["model"], "--prompts", str(path), "--edits", "4"]


def test_any_model_and_dictionary_with_prompts_of_ones_own(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*of_tiny, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_prompts"] == 3
    assert sorted({one["distance"] for one in found["passed_on"]}) == [1, 2]
    assert {one["strength"] for one in found["doses"]} == {0, -1, -2, 2}
    for one in found["passed_on"]:
        low, high = one["cosine"]["interval"]
        assert -1 <= low <= one["cosine"]["value"] <= high <= 1
    assert found["hops"] is found["foreign_edits"] is None
    assert len(found["notes"]) == 2


def test_the_table_fits_and_names_what_is_left_out(of_tiny: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*of_tiny, "--n-prompts", "2"]) == 0
    out, err = capsys.readouterr()
    assert "2 prompts traced" in out
    for words in ("what a feature writes", "on the answer", "× −2", "same answer, features of another prompt"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 120
    assert "note: hop-skips are left out" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"prompt": "the capital of"}', "there is one prompt"),
        ('{"prompt": "the capital of"}\n{"text": "the"}', "line 2: it has neither prompt nor token_ids"),
        ('{"prompt": "the capital of"}\n{"token_ids": [5000]}', "line 2"),
        (None, "there is no file"),
    ],
)
def test_bad_prompts_are_one_line(
    content: str | None, said: str, of_tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    path = Path(of_tiny[5])
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    assert main(of_tiny) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_another_model_needs_prompts(tiny: dict[str, str], capsys: pytest.CaptureFixture[str]):
    assert main(["faithfulness", tiny["dictionary"], "--model", tiny["model"]]) == 2
    assert "needs prompts; give --prompts FILE" in capsys.readouterr().err
