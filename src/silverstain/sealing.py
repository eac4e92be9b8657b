"""Tensors in a file with a checksum over all of it: what a computation goes on from must be what it wrote.

The checksum stands in the metadata, under SEAL, and covers the tensors (names, types, shapes, bytes) and every other
entry of the metadata. It is checked without torch, so that a damaged file is found before anything heavy is imported.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from silverstain.storage import broken_file, check_is_file, save_tensors_whole

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "checksum"
LARGEST_HEADER = 100 << 20
"""Bytes; what safetensors itself allows."""
CHUNK = 1 << 24
TYPES = {
    "torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16",
    "torch.int64": "I64", "torch.int32": "I32", "torch.int16": "I16", "torch.int8": "I8", "torch.uint8": "U8",
    "torch.bool": "BOOL",
}  # fmt: skip
"""What torch's types are called in safetensors files."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor as a file's header describes it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    """Its bytes, counted from the end of the header."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a safetensors file says of itself in front."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    size: int
    """Bytes before the tensors."""


def save_sealed(path: str | Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with a checksum among its metadata, whole or not at all."""
    import torch

    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = hashlib.sha256()
    for name in sorted(owned):
        tensor = owned[name]
        digest.update(_title(name, TYPES[str(tensor.dtype)], tuple(tensor.shape)))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    entries = dict(metadata or {})
    save_tensors_whole(path, owned, {**entries, SEAL: _sealed(digest, entries)})


def check_seal(path: str | Path, *, must_have: bool = False) -> Header:
    """The header of a file that is as it was written; UsageError where it is not, naming the file.

    A file without a checksum, as they were written before there was one, is refused only where it `must_have` one.
    """
    path = Path(path)
    check_is_file(path)
    try:
        with path.open("rb") as file:
            header = _read_header(file)
            seal = header.metadata.get(SEAL)
            if seal is None:
                if must_have:
                    raise ValueError("it has no checksum")
                return header
            digest = hashlib.sha256()
            for name in sorted(header.entries):
                entry = header.entries[name]
                digest.update(_title(name, entry.dtype, entry.shape))
                for part in _chunks(file, header.size + entry.start, entry.stop - entry.start):
                    digest.update(part)
            others = {key: value for key, value in header.metadata.items() if key != SEAL}
            if _sealed(digest, others) != seal:
                raise ValueError("it does not have the checksum that it was written with")
            return header
    except (OSError, ValueError, RecursionError) as error:
        raise broken_file(path, error) from error


def is_sealed(path: Path) -> bool:
    """Whether a file says that it has a checksum; UsageError for one that is no safetensors file."""
    return SEAL in read_header(path).metadata


def read_header(path: Path) -> Header:
    """What a safetensors file says of itself, held against its size; UsageError for one that is none, or cut short."""
    check_is_file(path)
    try:
        with path.open("rb") as file:
            return _read_header(file)
    except (OSError, ValueError, RecursionError) as error:
        raise broken_file(path, error) from error


def _title(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return f"{name}|{dtype}|{shape}|".encode()


def _sealed(digest: Any, metadata: Mapping[str, str]) -> str:
    digest.update(json.dumps(dict(sorted(metadata.items()))).encode())
    return str(digest.hexdigest())


def _read_header(file: BinaryIO) -> Header:
    """ValueError for what is no header of a safetensors file, or does not fit the file."""
    in_all = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEADER, in_all - 8):
        raise ValueError("it does not begin as a safetensors file")
    found = json.loads(file.read(length))
    if not isinstance(found, dict):
        raise ValueError("its header is no object")
    metadata = found.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    room = in_all - 8 - length
    entries = {name: _entry(name, value, room) for name, value in found.items()}
    return Header(entries=entries, metadata=metadata, size=8 + length)


def _entry(name: str, value: Any, room: int) -> Entry:
    try:
        start, stop = (int(place) for place in value["data_offsets"])
        shape = tuple(int(n) for n in value["shape"])
        dtype = value["dtype"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its header does not describe the tensor {name!r:.80}") from error
    if not 0 <= start <= stop <= room or any(n < 0 for n in shape) or not isinstance(dtype, str):
        raise ValueError(f"its tensor {name!r:.80} lies outside of it")
    return Entry(dtype=dtype, shape=shape, start=start, stop=stop)


def _chunks(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length > 0:
        part = file.read(min(CHUNK, length))
        if not part:
            raise ValueError("it ends before its tensors do")
        length -= len(part)
        yield part
