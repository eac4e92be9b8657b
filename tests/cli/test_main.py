"""What goes wrong on the command line is one line, and the right exit code."""

from collections.abc import Sequence

import pytest

from silverstain import __version__
from silverstain.cli import main
from silverstain.cli.main import VERBS
from silverstain.errors import OutOfMemory


def said(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_a_first_line(verb: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = said([verb, "--help"], capsys)
    assert code == 0
    assert out.startswith(f"Usage: silverstain {verb}")
    assert len(out.splitlines()[2].strip()) > 20


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]):
    _, out, _ = said(["--help"], capsys)
    assert all(f"  {verb} " in out for verb in VERBS)


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert said(["--version"], capsys) == (0, __version__ + "\n", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trase"], "there is no verb 'trase'; did you mean trace? The verbs are demo, trace,"),
        (["dallas.safetensors"], "there is no graph and no folder at dallas.safetensors; write one first"),
        (["show", "nowhere.safetensors"], "there is no file nowhere.safetensors; check the path"),
        (["show", "x", "--widht", "3"], "--widht"),
        (["trace", "--token-ids", "1,two"], "--token-ids is '1,two'; give whole numbers with commas between them"),
        (["trace", "x", "--token-ids", "1"], "give either a prompt or --token-ids"),
        (["trace", "x", "--dtype", "int8"], "--dtype is 'int8'; give float32 or float64"),
        (["trace", "x", "--model", "./nowhere"], "there is no model at ./nowhere"),
        (["trace", "x", "--model", "organism/none"], "organism"),
        (["intervene", "x"], "no edit is given; name one: --edit ablate:L1.F23@5"),
        (["intervene", "x", "--edit", "destroy"], "Cannot read the edit 'destroy'"),
        (["organism", "grow", "--what", "trees"], "there is no part 'trees'; there are models, maps, dictionaries,"),
        (["organism", "check", "--sibling", "x"], "there is no sibling 'x'; there are general, memorised"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    code, out, err = said(words, capsys)
    assert code == 2
    assert out == ""
    assert line in err
    assert err.startswith("silverstain: ")
    assert err.count("\n") == 1


def test_a_verb_without_its_argument_shows_its_help(capsys: pytest.CaptureFixture[str]):
    code, out, err = said(["show"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: silverstain show")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("10 GB"), 4, "out of memory: 10 GB; close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 4, "out of memory"),
        (
            OutOfMemory("out of memory: max_features=12 should fit"),
            4,
            "silverstain: out of memory: max_features=12 should",
        ),
        (ValueError("odd"), 1, "something is wrong in silverstain itself (ValueError: odd); run again with --debug"),
    ],
)
def test_other_endings_have_their_own_codes(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("silverstain.cli.doctor._python", fail)
    assert main(["doctor", "--quick"]) == code
    assert words in capsys.readouterr().err


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ValueError("odd")

    monkeypatch.setattr("silverstain.cli.doctor._python", fail)
    for words in (["--debug", "doctor"], ["doctor", "--debug"]):
        with pytest.raises(ValueError, match="odd"):
            main(words)
