"""What is printed ends as other programs end, and nothing in it acts on the terminal that shows it."""

import io
import json
import os
import subprocess
import sys

import pytest

from silverstain.cli import main, output
from silverstain.cli.main import LONGEST_LINE
from silverstain.cli.streams import is_unicode, written

HOSTILE = "a\x1b[2Jb\x9b5nc\x7f\u202ed\ud83de\x00"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def ended(shell: str, **settings: str) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr) of a line of bash in which $S is the command line; none of these loads torch."""
    line = shell.replace("$S", f"{sys.executable} -m silverstain")
    done = subprocess.run(["bash", "-c", line], capture_output=True, env={**os.environ, **settings}, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("verb", ["--version", "--help", "trace --help", "organism words"])
def test_a_full_device_is_one_line_and_a_mistake(verb: str):
    code, _, said = ended(f"$S {verb} > /dev/full")
    assert code == 2
    assert said.startswith(b"silverstain: cannot write")
    assert said.count(b"\n") == 1


def test_a_reader_that_has_gone_ends_it_without_a_word():
    code, _, said = ended("$S organism words | true; exit ${PIPESTATUS[0]}")
    assert (code, said) == (141, b"")


def test_closed_streams_are_written_nowhere():
    assert ended("$S organism words >&-") == (0, b"", ended("$S organism words 2>&1 >/dev/null")[1])
    assert ended("$S show nothing 2>&-") == (2, b"", b"")
    assert ended("$S show nothing 2>/dev/full") == (2, b"", b"")


def test_characters_that_an_encoding_lacks_are_replaced():
    code, said, _ = ended("$S organism words", PYTHONIOENCODING="ascii")
    assert code == 0
    assert b"fran?ais" in said
    code, said, _ = ended("$S organism words --json", PYTHONIOENCODING="ascii")
    assert "français" in json.loads(said)["kinds"]["other words"]


def test_an_argument_that_is_no_text_is_one_line():
    code, said, error = ended("$S show $'\\xff'")
    assert (code, said) == (2, b"")
    assert b"is no text in UTF-8" in error


def test_nothing_hostile_reaches_a_stream(capsys: pytest.CaptureFixture[str]):
    output.data(HOSTILE)
    output.talk(HOSTILE)
    output.data(output.table([[HOSTILE, "b"]]))
    output.emit({HOSTILE: [HOSTILE, "\U000e0041"]})
    assert main(["show", "x\x1b[2J\x9b\u202e"]) == 2
    out, err = capsys.readouterr()
    shown = (out + err).replace("\n", "")
    assert all(32 <= ord(letter) < 127 or letter == "…" for letter in shown)
    assert json.loads(out[out.index("{") :]) == {HOSTILE: [HOSTILE, "\U000e0041"]}


def test_our_own_colours_stay_on_a_terminal_and_go_elsewhere():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        written("\x1b[1mbold\x1b[0m \x1b]0;title\x07", stream)
    assert terminal.getvalue() == "\x1b[1mbold\x1b[0m \\x1b]0;title\\x07\n"
    assert file.getvalue() == "\\x1b[1mbold\\x1b[0m \\x1b]0;title\\x07\n"


def test_a_long_name_is_not_said_whole(capsys: pytest.CaptureFixture[str]):
    assert main(["show", "x" * 5_000_000]) == 2
    assert len(capsys.readouterr().err) < LONGEST_LINE + 100


def test_an_encoding_is_known_by_its_name():
    assert is_unicode(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not is_unicode(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
