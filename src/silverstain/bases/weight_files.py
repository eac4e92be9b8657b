"""Opening files of weights: safetensors, npz and `.pt`; mapped, not read, and looked at before they are believed."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.storage import broken_file, check_is_file
from silverstain.torch_pickles import load_pickled, plain_tensor

SUFFIXES = (".safetensors", ".npz", ".pt")
LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip entry: the lengths of its name and of its extra field
MOST_HEADER_BYTES = 16 << 20
"""Of a safetensors file: the names and places of some 100,000 tensors."""
UNPACKED_ANYWAY = 64 << 20
MOST_PACKED = 8
"""How many times its size a packed npz may unpack to, above UNPACKED_ANYWAY bytes: random weights pack to a half."""


def open_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file as views of mapped memory, by name; UsageError when it is missing, cut short or no file of
    weights."""
    check_is_file(path)
    try:
        match path.suffix:
            case ".safetensors":
                return _open_safetensors(path)
            case ".npz":
                return _open_npz(path)
            case ".pt":
                return _open_pt(path)
    except (
        SafetensorError, OSError, ValueError, RuntimeError, EOFError, LookupError, TypeError, AttributeError,
        OverflowError, UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error,
    ) as error:  # fmt: skip
        raise broken_file(path, error) from error
    raise UsageError(f"{shown_path(path)} is not a file of weights; supported are {', '.join(SUFFIXES)}")


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) == 8 and int.from_bytes(start, "little") > MOST_HEADER_BYTES:
        raise ValueError(f"its header is said to be larger than {MOST_HEADER_BYTES >> 20} MB")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, views: measured, nothing is read


def _open_npz(path: Path) -> dict[str, Tensor]:
    """Arrays of an npz: mapped in place where they are stored as they are, else unpacked."""
    found: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
        if unpacked > max(UNPACKED_ANYWAY, MOST_PACKED * path.stat().st_size):
            raise ValueError(
                f"it would unpack to {unpacked / 1e9:.1f} GB, {unpacked // path.stat().st_size} times its size"
            )
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as file:
                shape, is_fortran, dtype = _npy_header(file)
                in_entry = file.tell()
                if np.prod(shape, dtype=np.float64) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"its array {name!r:.60} is said to be {shape}, which is more than is there")
                if entry.compress_type != zipfile.ZIP_STORED:
                    values = np.frombuffer(file.read(), dtype=dtype, count=int(np.prod(shape, dtype=np.int64)))
                    found[name] = torch.from_numpy(values.reshape(shape, order="F" if is_fortran else "C").copy())
                    continue
            raw.seek(entry.header_offset)
            offset = entry.header_offset + LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size)))
            order = "F" if is_fortran else "C"
            # mode c: torch wants memory it may write to; what is written stays ours
            mapped = np.memmap(path, dtype=dtype, mode="c", offset=offset + in_entry, shape=shape or (1,), order=order)
            found[name] = torch.from_numpy(mapped).reshape(shape)
    return found


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(file)
    except (RecursionError, MemoryError) as error:  # of a header that nests
        raise ValueError("the header of an array cannot be read") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    if any(size < 0 for size in shape):
        raise ValueError(f"an array is said to be {shape}")
    return shape, is_fortran, dtype


def _open_pt(path: Path) -> dict[str, Tensor]:
    """A state dict, or {"sae": state dict, …}, as views of the mapped file."""
    value = load_pickled(path, needless="which no weights need; fetch them as safetensors")
    if isinstance(value, Mapping) and isinstance(value.get("sae"), Mapping):
        value = value["sae"]
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("it does not hold tensors by name")
    return {
        name: plain_tensor(tensor.detach() if isinstance(tensor, Tensor) else tensor, name)
        for name, tensor in value.items()
    }
