"""Files of `torch.save`, looked through before anything in them is made.

Such a file is a pickle, and a pickle may name any function to be called while it is read. torch's own reader for such
files calls a short list of functions only, but one of them (bytearray) makes what it is told to make, however large; it
unpacks what is packed; it believes the size that a pickle gives for a tensor; and the key of a mapping may be a tuple
of a tuple twice, forty times over, whose hash takes hours. So the pickle is first read as a list of instructions: what
it names must be known, nothing may be packed or stand in itself again and again, and no tensor may say more than the
file holds.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

MOST_PICKLE_BYTES = 1 << 20
"""Of instructions; numbers lie beside them. A graph's take a few kB, those of a thousand tensors 200 kB."""
MOST_SHARED = 16
"""Tuples that stand in a pickle a second time: each may double what it takes to walk over what holds it."""
TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
NO_GRAPH = "which no graph needs; ask for the graph as JSON"
ZIP = b"PK\x03\x04"
N_FORMER_PICKLES = 5
"""In a file of the container before zip: magic number, version, system, content, names of the numbers that follow."""
INERT = re.compile(
    r"collections OrderedDict"
    r"|torch (?:[A-Za-z0-9]+Storage|Size|device|(?:complex|float|bfloat|u?int)[0-9]+(?:_[a-z0-9]+)?|bool)"
    r"|torch\.storage (?:Untyped|Typed)Storage"
    r"|torch\._utils _rebuild_(?:tensor_v2|parameter)"
)
"""What names numbers and containers, as `pickletools` writes a name: module, blank, name."""
CALLING = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}
"""Instructions that torch never writes, and that name things in other ways."""


def load_pickled(path: Path, stand_ins: Mapping[str, type] | None = None, *, needless: str = NO_GRAPH) -> Any:
    """What `torch.save` wrote, with values for the classes named; UsageError where it names another, and says that this
    is `needless`.

    Raises ValueError for what is packed, or whatever torch does for a damaged file.
    """
    stand_ins = stand_ins or {}
    is_zip = _is_zip(path)
    for named in _names_in_zip(path) if is_zip else _names_before_zip(path):
        if not INERT.fullmatch(named) and named.replace(" ", ".") not in stand_ins:
            raise UsageError(
                f"{shown_path(path)} was not read: it would run {printable(named.replace(' ', '.'), 60)} while it is "
                f"read, {needless}"
            )
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
        # mapped from the file, no tensor can reach beyond it, and nothing is unpacked
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)


def plain_tensor(value: Any, name: str) -> Tensor:
    """`value`, if it is a tensor that takes as much room as it says; ValueError if not: one number may be spread over
    gigabytes."""
    if type(value) is not Tensor or value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise ValueError(f"{name} is no plain tensor")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{name} has {value.numel()} entries where the file holds fewer")
    return value


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        starts_so = file.read(len(ZIP)) == ZIP
    if starts_so and not zipfile.is_zipfile(path):
        raise ValueError("it starts as a zip file and does not end as one")
    return starts_so


def _names_in_zip(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("it holds several parts of one name")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its parts are packed, or larger than the file")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                if entry.file_size > MOST_PICKLE_BYTES:
                    raise ValueError(
                        f"its content takes {entry.file_size} bytes beside the numbers, which is far too much"
                    )
                with archive.open(entry) as file:
                    yield from _names(file, path)


def _names_before_zip(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for _ in range(N_FORMER_PICKLES):
            yield from _names(file, path)
            if file.tell() > MOST_PICKLE_BYTES:
                raise ValueError("its content is far too long")


def _names(file: Any, path: Path) -> Iterator[str]:
    """The names in the next pickle of a file."""
    bounded: Any = _Bounded(file)
    last, tuples, n_kept, n_shared = "", set[int](), 0, 0
    for operation, argument, position in pickletools.genops(bounded):
        name = operation.name
        if name == "GLOBAL":
            yield str(argument)
        elif name in CALLING:
            raise UsageError(
                f"{shown_path(path)} was not read: at byte {position} it names what it would run in a way that torch "
                f"does not write ({name})"
            )
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            if last in TUPLES:
                tuples.add(n_kept if name == "MEMOIZE" else int(argument or 0))
            n_kept += 1
        elif name in ("BINGET", "LONG_BINGET", "GET") and int(argument or 0) in tuples:
            n_shared += 1
            if n_shared > MOST_SHARED:
                raise ValueError("it nests the same values in each other")
        last = name


class _Bounded:
    """A file of which no single instruction may take more than MOST_PICKLE_BYTES."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_PICKLE_BYTES:
            raise ValueError("an instruction is far too long")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(MOST_PICKLE_BYTES)

    def tell(self) -> int:
        return self._file.tell()
