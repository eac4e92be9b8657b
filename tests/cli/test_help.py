"""Help is found everywhere, grouped, and says nothing that says nothing; a shell can complete what it lists."""

import pytest

from silverstain.cli import main
from silverstain.cli.main import VERB_GROUPS, VERBS
from silverstain.organism.files import organism_path


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_verbs_are_grouped_by_what_a_person_wants(capsys: pytest.CaptureFixture[str]):
    lines = said(["-h"], capsys).splitlines()
    for heading, verbs in VERB_GROUPS.items():
        first = lines.index(f"{heading}:")
        end = lines.index("", first)
        for verb in verbs:
            assert any(line.startswith(f"  {verb} ") for line in lines[first:end])


@pytest.mark.parametrize("words", [[verb] for verb in VERBS] + [["organism", "grow"], ["treat", "make"]], ids=" ".join)
def test_help_says_nothing_that_says_nothing(words: list[str], capsys: pytest.CaptureFixture[str]):
    text = said([*words, "-h"], capsys)
    assert text == said([*words, "--help"], capsys)
    for nothing in ("default: None", "--no-json", "default: no-", "x>=", "<=x", "<str>", "range"):
        assert nothing not in text
    assert "\n  --out PATH" not in text  # but -o, --out PATH


def test_many_flags_stand_under_headings(capsys: pytest.CaptureFixture[str]):
    text = said(["trace", "-h"], capsys)
    assert text.index("\nOptions:") < text.index("\nModel and dictionary:") < text.index("\nOutput:")
    assert text.index("--target") < text.index("Model and dictionary:") < text.index("--device") < text.index("Output:")


@pytest.mark.parametrize(
    ("line", "found"),
    [("silverstain ver", ["verify"]), ("silverstain trace --max", ["--max-features"]), ("silverstain none --x", [])],
)
def test_a_shell_completes(
    line: str, found: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    monkeypatch.setenv("_SILVERSTAIN_COMPLETE", "complete_bash")
    assert said([], capsys).split() == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_for_a_shell_are_printed(shell: str, capsys: pytest.CaptureFixture[str]):
    text = said(["completion", shell], capsys)
    assert "_SILVERSTAIN_COMPLETE" in text
    assert "%" not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trace x --threads 8000", "--threads is 8000, but there are"),
        ("trace x --threads 99999999999999999999", "--threads is 99999999999999999999, but there are"),
        ("trace x --bound nan", "--bound"),
        ("trace x --bound inf", "--bound"),
        ("trace x --at 10000000000000", "is too large; numbers go up to 1,000,000,000,000"),
        ("verify {graph} --seed 99999999999999999999", "is too large"),
        ("show {graph} --width 99999999", "--width"),
        ("intervene x --edit ablate:L0.F0@1..30000000", "names more than 131,072 places"),
        ("intervene x --edit ablate:L0.F0@1 --temperature -1", "--temperature"),
        ("intervene x --edit ablate:L0.F0@1 --generate 1000000000", "--generate"),
        ("intervene x --edits nowhere.json", "there is no file nowhere.json"),
        ("trace x --prompts nowhere.jsonl", "there is no file nowhere.jsonl"),
        ("compare nowhere.pt nowhere.pt", "there is no file nowhere.pt"),
        ("treat bake nowhere.json --out x", "there is no file nowhere.json"),
        ("trace x --out graph.json", "ends in .json; give --out graph.safetensors"),
        ("trace x --model organism/qirk", "general, memorised, mixed, quirk, untrained"),
        ("trace x --model ./nowhere --dictionary d", "there is no model at ./nowhere"),
    ],
)
def test_what_can_be_told_at_once_is_told_before_anything_is_loaded(
    words: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr("silverstain.cli.options._check_device", refuse)
    graph = organism_path() / "dictionaries" / "general" / "cross-layer" / "config.yaml"  # some file
    assert main(words.format(graph=graph).split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1
