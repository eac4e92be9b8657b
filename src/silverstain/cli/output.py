"""What verbs print: data on stdout, talk and progress on stderr."""

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from silverstain.cli.streams import is_unicode, written
from silverstain.printable import BEYOND_C0, printable

WIDEST = 120
"""Lines longer than this are hard to read, however wide the terminal."""
_RAW = re.compile(f"[{BEYOND_C0}]")
"""What JSON does not escape by itself, and `printable` does."""
WIDER_THAN_ANY_TABLE = 1 << 16
"""Columns given to a table, so that no cell is cut or wrapped."""


def talk(text: str = "") -> None:
    """A line to the person, on stderr."""
    written(text, sys.stderr)
    sys.stderr.flush()


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout; numbers that JSON cannot hold become null. Characters that a terminal would act on
    are escaped, C1 and marks of direction too, which JSON lets stand."""
    text = json.dumps(_plain(value), ensure_ascii=not is_unicode(sys.stdout), indent=2, allow_nan=False)
    sys.stdout.write(_RAW.sub(_in_json, text) + "\n")


def data(text: str) -> None:
    """A text result on stdout."""
    written(text, sys.stdout)


def terminal_width(wanted: int | None = None) -> int:
    """Columns to draw in: those asked for, else the terminal's, at most WIDEST."""
    return wanted if wanted else min(shutil.get_terminal_size(fallback=(100, 24)).columns, WIDEST)


def has_colour() -> bool:
    """Whether stdout is a terminal that wants colours (https://no-color.org)."""
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(rows: Sequence[Sequence[str]], *, right: Container[int] = (), indent: str = "  ") -> str:
    """Rows as aligned plain text, each cell whole and on one line; the columns in `right` are aligned to the right.

    A row with fewer cells than others is blank at its end.
    """
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for column in range(max(map(len, rows), default=0)):
        grid.add_column(justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    sheet = StringIO()
    Console(file=sheet, width=WIDER_THAN_ANY_TABLE, color_system=None, legacy_windows=False).print(grid)
    return "\n".join((indent + line).rstrip() for line in sheet.getvalue().splitlines())


def _in_json(match: re.Match[str]) -> str:
    r"""A character as JSON may also write it: \u202e, those beyond 16 bits as two halves."""
    return json.dumps(match.group()).strip('"')


def percent(share: float) -> str:
    """A probability or share in words that do not pretend: 0.04 % is not 0 %."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def interval(ends: tuple[float, float] | None, written: Callable[[float], str]) -> str:
    """An interval in brackets, without the sign of per cent; nothing where there is none."""
    if ends is None:
        return ""
    low, high = (written(end).removesuffix(" %") for end in ends)
    return f"({low} to {high})"


def duration(seconds: float) -> str:
    """A time that is only known roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{max(seconds, 0.1):.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def size(n_bytes: float) -> str:
    """Room in memory or on disk."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr with counts and time left, told (done, in all); nothing where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def kept_after_interruption(file: Path | None, words: str) -> Iterator[None]:
    """After Ctrl-C, say the words if the file is there in which an unfinished run is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if file is not None and file.exists():
            talk(words)
        raise


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
