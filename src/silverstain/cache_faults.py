"""What stands in the way of keeping something in the cache, as one line: no room, no right to write, a full disk."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.known_models import CACHE
from silverstain.parts import reason_of, shown_path


def check_room(folder: Path, name: str, needed: float) -> None:
    """UsageError where there is less room than `name` takes while it is made."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"there is no room for {name} in {shown_path(folder)}: it takes {_size(needed)} while it is made, and "
            f"{_size(free)} are free; free some, or set {CACHE} to a folder on another disk"
        )


@contextmanager
def faults_said(folder: Path, name: str, again: str) -> Iterator[None]:
    """What the system refuses, as one line, with the command that tries `again`."""
    try:
        yield
    except OSError as error:
        where = shown_path(folder)
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):  # as Rust says it
            raise UsageError(
                f"there was no room left for {name} in {where}, and nothing was kept; free some, or set {CACHE} to a "
                f"folder on another disk, then: {again}"
            ) from error
        raise UsageError(
            f"cannot keep {name} in {where}: {reason_of(error)}; set {CACHE} to a folder that can be written, then: "
            f"{again}"
        ) from error


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
