"""Every option of every verb keeps the promise of docs/errors.md, whatever somebody types behind it."""

import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.conftest import tried
from tests.fuzz.forked import Lines
from tests.fuzz.samples import READERS

from silverstain.cli.main import MODULES

TYPED = [
    "-1", "0", "1e308", "-1e308", "nan", "inf", "1e-320", "9" * 20, "-" + "9" * 20, "9" * 5000, "", " ", "x", "0x10",
    "\x1b]0;owned\x07", "\u202eabc", "\udcff", "a\nb", "L0.F" + "9" * 30, "ablate:L0.F0@0..99999999999",
    "set:L0.F0@3=1e999", "0..99999999999", "id:" + "9" * 30, "direction:/dev/zero", "/dev/null/x",
    "x" * 5000, "../" * 2000,
    "~nouser/x", "hf://", ",", "1,,2", "1:2:3", "--", "-h", "*", "~", "=", "a=b=c", "%s%n", "{}", "日本", "💥",
    "cuda:99",
]  # fmt: skip
"""What is typed where a number, a name or a path was meant."""
LONG = {"train"}
"""Verbs of which a large number may rightly mean long work."""


def options_of(verb: str, subcommand: str) -> Iterator[str]:
    """The options of a verb that take a value."""
    command: Any = typer.main.get_command(import_module(f"silverstain.cli.{MODULES.get(verb, verb)}").app)
    if hasattr(command, "commands"):
        command = command.commands[subcommand]
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.is_flag:
            yield max(parameter.opts, key=len)


@pytest.mark.parametrize(
    "name", sorted({r.arguments[0] for r in READERS.values() if any(options_of(*r.arguments[:2]))})
)
def test_whatever_is_typed_is_one_line(name: str, base: Path, lines: Lines):
    plain = [reader.arguments for reader in READERS.values() if reader.arguments[0] == name]

    @tried
    @given(st.data())
    def check(data: st.DataObject) -> None:
        words = list(data.draw(st.sampled_from(plain)))
        option = data.draw(st.sampled_from(sorted(options_of(words[0], words[1]))))
        value = data.draw(st.sampled_from(TYPED))
        with tempfile.TemporaryDirectory() as folder:
            sandbox = Path(folder) / "s"
            shutil.copytree(base, sandbox)
            outcome = lines.run([*words, option, value], sandbox)
        fault = outcome.fault(seconds=20.0 if name in LONG else 2.0, megabytes=500.0)
        assert fault is None, (" ".join(words), option, value)

    check()
