"""A graph file that the page sends, kept in the folder that is open: what is no graph is not kept."""

import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePath

from starlette.concurrency import run_in_threadpool

from silverstain.errors import UsageError
from silverstain.explorer.folder import free_path
from silverstain.graphs import open_with_story
from silverstain.graphs.opening import is_own
from silverstain.printable import printable

LARGEST_GRAPH = 1 << 30
LONGEST_STEM = 80


async def take_graph(folder: Path, name: str, body: AsyncIterator[bytes]) -> Path:
    """Write a file of ours, or the JSON of circuit-tracer, Neuronpedia and the like, under a free name of the folder.
    UsageError for one that is too large or cannot be read; nothing is left of it then."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", PurePath(name.replace("\\", "/")).stem).strip(".-")[:LONGEST_STEM]
    stem = stem.removesuffix(".story") or "graph"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".incoming-") as place:
            file = Path(place) / f"{stem}.graph"
            start = await _written(file, name, body)
            ending = _ending(start, name)
            file = file.rename(file.with_suffix(ending))
            await run_in_threadpool(_check, file, name)
            kept = free_path(folder, stem, ending)
            return file.rename(kept)
    except OSError as error:
        raise UsageError(f"cannot write in the folder that is open: {error.strerror or error}") from error


async def _written(file: Path, name: str, body: AsyncIterator[bytes]) -> bytes:
    """Write the body; what it begins with."""
    start, n = b"", 0
    with file.open("wb") as out:
        async for part in body:
            n += len(part)
            if n > LARGEST_GRAPH:
                raise UsageError(
                    f"{printable(name, 80)} is larger than {LARGEST_GRAPH >> 30} GB; put it into the folder by hand"
                )
            start = (start + part)[:64] if len(start) < 64 else start
            out.write(part)
    return start


def _ending(start: bytes, name: str) -> str:
    if is_own(start):
        return ".safetensors"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return ".json"
    raise UsageError(f"{printable(name, 80)} is no graph: neither a .safetensors file of ours nor the JSON of a graph")


def _check(file: Path, name: str) -> None:
    try:
        open_with_story(file)
    except UsageError as error:
        raise UsageError(str(error).replace(str(file), printable(name, 80))) from error
