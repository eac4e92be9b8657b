"""Pages whose examples run: what a block does, what it shows, and whether that is what comes.

    python -m tests.documented docs/tutorial.md README.md      writes what comes into the pages

The blocks of a page run in their order, in one folder and one Python session. `console` runs the lines that begin with
`$ ` (those that end in a backslash go on in the next); the lines below each are what it prints on stdout. `python` is
run, and a `text` block titled "prints" behind it is what it prints. A block whose title is the name of a file is
written to that file. `<!-- varies -->` above a block says that what it prints is another thing on every machine, and
is shown without being compared. `<!-- needs smollm2-135m -->` says that a block runs only where that model has been
fetched (`silverstain models get`); elsewhere it is left as it is, and so are the other blocks that need it.
"""

import contextlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from silverstain.cli import main
from silverstain.known_models import is_kept

FENCE = re.compile(
    r"^(?P<marks>(?:<!-- (?:varies|needs [\w.-]+) -->\n+)*)"
    r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
PRINTS = "prints"
ROOT = Path(__file__).parent.parent
"""Examples of the repository are run from wherever a page is."""
COLUMNS = 100
"""How wide the terminal of the pages is: no more than a page of the documentation shows without scrolling."""
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
FREE = re.compile(r"[\d.]+ ?(?:s|ms|GB|MB|kB|tokens/s|minutes)\b|\b[0-9a-f]{16}\b")
"""Seconds, sizes and hashes are the machine's own."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page; `start` and `end` are where its text lies in the page."""

    language: str
    title: str | None
    text: str
    varies: bool
    needs: str | None
    """The model that must have been fetched."""
    start: int
    end: int

    @property
    def is_file(self) -> bool:
        return self.title is not None and bool(re.fullmatch(r"[\w-]+\.\w+", self.title))

    @property
    def runs(self) -> bool:
        return self.is_file or self.language in ("console", "python")

    @property
    def is_left_out(self) -> bool:
        return self.needs is not None and not is_kept(self.needs)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a page shows at one place, and what came when it was run."""

    what: str
    shown: str
    came: str
    varies: bool


@dataclass
class Session:
    """The Python session of a page."""

    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "documentation"})

    def python(self, text: str, name: str) -> str:
        with printed() as out:
            exec(compile(text, name, "exec"), self.names)
        return out.getvalue()


def missing_models(page: str) -> list[str]:
    """Models that blocks of a page need, and that are not here."""
    return sorted({str(block.needs) for block in blocks_of(page) if block.is_left_out})


def blocks_of(page: str) -> list[Block]:
    return [
        Block(
            language=found["language"],
            title=found["title"],
            text=found["text"],
            varies="<!-- varies -->" in found["marks"],
            needs=next(iter(re.findall(r"needs ([\w.-]+)", found["marks"])), None),
            start=found.start("text"),
            end=found.end("text"),
        )
        for found in FENCE.finditer(page)
    ]


class Terminal(io.StringIO):
    """Keeps what is printed, and shows all characters."""

    encoding = "utf-8"  # pyright: ignore


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """What is printed meanwhile, on a terminal as wide as a page."""
    out = Terminal()
    with contextlib.redirect_stdout(out), mock.patch.dict("os.environ", COLUMNS=str(COLUMNS)):
        yield out


def command(line: str) -> str:
    """What `silverstain …` or `python FILE …` prints; AssertionError if it fails."""
    program, *words = shlex.split(line.replace("\\\n", " "))
    with printed() as out:
        if program == "silverstain":
            assert main(words) == 0, line
        else:
            assert program == "python", f"{line}: a page runs silverstain and python alone"
            with mock.patch.object(sys, "argv", words):
                runpy.run_path(words[0] if Path(words[0]).exists() else str(ROOT / words[0]), run_name="__main__")
    return out.getvalue()


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Each command line of a console block, with the output that is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line = part.splitlines()[0]
        while line.endswith("\\"):  # goes on in the next
            line += "\n" + part.splitlines()[line.count("\n") + 1]
        output = part[len(line) + 1 :]
        yield line, output


def run_page(page: str, name: str) -> tuple[str, list[Shown]]:
    """Run a page in the current folder: the page with what came, and all that it shows beside what came."""
    session, found, written = Session(), [], []
    blocks = blocks_of(page)
    at, before, last = 0, None, ""
    for block in blocks:
        text = block.text
        if block.is_left_out:
            continue
        if block.is_file:
            Path(str(block.title)).write_text(text, encoding="utf-8")
        elif block.language == "console":
            parts = []
            for line, output in commands_of(text):
                came = command(line)
                if output:
                    found.append(Shown(what=line, shown=output, came=came, varies=block.varies))
                parts.append(f"$ {line}\n{trimmed(came) if output else ''}")
            text = "".join(parts)
        elif block.language == "python":
            last = session.python(text, name)
        elif block.title == PRINTS:
            assert before is not None, f"{name}: nothing runs above what it prints"
            found.append(Shown(what=before.text, shown=text, came=last, varies=block.varies))
            text = trimmed(last)
        written += [page[at : block.start], text]
        at, before = block.end, block
    return "".join([*written, page[at:]]), found


def trimmed(text: str) -> str:
    """Without spaces at ends of lines and empty lines at either end, which no page shows."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


def difference(shown: str, came: str) -> str | None:
    """The first line that is not as shown; None if all are. Numbers may differ by what machines differ in."""
    left, right = trimmed(shown).splitlines(), trimmed(came).splitlines()
    for one, other in zip(left, right, strict=False):
        if not same_line(one, other):
            return f"shown: {one}\ncame:  {other}"
    if len(left) != len(right):
        return f"{len(left)} lines are shown, {len(right)} came"
    return None


def same_line(shown: str, came: str) -> bool:
    """Whether two lines differ in numbers alone, by a tenth or two units of their last place."""
    shown, came = FREE.sub("~", shown), FREE.sub("~", came)
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", came).split():
        return False
    return all(close(a, b) for a, b in zip(NUMBER.findall(shown), NUMBER.findall(came), strict=True))


def close(shown: str, came: str) -> bool:
    a, b = (float(number.replace("−", "-")) for number in (shown, came))
    if "e-" in shown:  # a rounding error: its size is what matters
        return max(a, b) <= 10 * min(a, b)
    places = len(shown.partition(".")[2])
    return abs(a - b) <= max(0.1 * abs(a), 2 * 10**-places) if places else abs(a - b) <= 0.02 * abs(a)


def rewrite(path: Path, folder: Path) -> None:
    with contextlib.chdir(folder):
        page, _ = run_page(path.read_text(encoding="utf-8"), str(path))
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            rewrite(Path(name).resolve(), Path(folder))
