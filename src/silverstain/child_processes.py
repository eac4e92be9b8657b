"""Other people's programs run for us: watched while they work, and ended when we are stopped."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOKS_A_SECOND = 4
"""How often the size of what has come is looked at."""


def watched(
    command: Sequence[str],
    environment: Mapping[str, str],
    look: Callable[[], None] = lambda: None,
    *,
    folder: Path | None = None,
) -> tuple[int, str]:
    """The exit code of a process and what it said; `look` is called while it runs, and it ends when we are stopped."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
        try:
            while process.poll() is None:
                time.sleep(1 / LOOKS_A_SECOND)
                look()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        look()
        said.seek(0)
        return process.returncode, said.read().decode("utf-8", "replace")


def bytes_in(folder: Path) -> int:
    """Bytes of the wheels that are there or on their way; pip copies each from one place to the other."""
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                sizes[path.name] = max(sizes.get(path.name, 0), path.stat().st_size)
        except OSError:  # moved meanwhile
            continue
    return sum(sizes.values())
