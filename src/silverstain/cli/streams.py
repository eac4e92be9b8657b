"""The three streams of a process, made safe to write to: they may be closed, full, without a reader, or ASCII.

Nothing raw reaches a terminal through `written`: what acts on it (escape sequences, marks that turn the direction of
writing) is shown as it would be written in a string, our own colours and line ends apart.
"""

import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from silverstain.printable import printable_lines

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,12}m)")
"""The only escape sequences that we write."""


def open_streams() -> None:
    """Give every standard stream that is closed a place to go, so that no file of ours is opened in its stead.

    Characters that a stream's encoding lacks are replaced instead of being an error.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # it may be another program's own
            stream.reconfigure(errors="replace")


def written(text: str, stream: Any, *, end: str = "\n") -> None:
    """Write text of ours, whatever it quotes, and a line end."""
    if "\x1b" in text and stream.isatty():
        pieces = _COLOUR.split(text)
        text = "".join(piece if i % 2 else printable_lines(piece) for i, piece in enumerate(pieces))
    else:
        text = printable_lines(text)
    stream.write(text + end)


def is_unicode(stream: Any) -> bool:
    """Whether every character can be written there."""
    return (stream.encoding or "ascii").lower().replace("-", "").startswith("utf")


def silence() -> None:
    """Let what the streams still hold go nowhere: their reader is gone, or there is no room, and Python would try to
    write it once more at the end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
