"""Opening files of weights: safetensors and npz, and .pt through torch's restricted unpickler; mapped, not read."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.storage import broken_file, check_is_file

SUFFIXES = (".safetensors", ".npz", ".pt")
LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip entry: the lengths of its name and of its extra field


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
        SafetensorError, OSError, ValueError, RuntimeError, EOFError, KeyError, UnpicklingError, zipfile.BadZipFile,
        struct.error,
    ) as error:  # fmt: skip
        raise broken_file(path, error) from error
    raise UsageError(f"{path} is not a file of weights; supported are {', '.join(SUFFIXES)}")


def _open_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, views: measured, nothing is read


def _open_npz(path: Path) -> dict[str, Tensor]:
    """Arrays of an npz: mapped in place where they are stored as they are, else unpacked."""
    found: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as file:
                if entry.compress_type != zipfile.ZIP_STORED:
                    found[name] = torch.from_numpy(np.lib.format.read_array(file, allow_pickle=False))
                    continue
                shape, is_fortran, dtype = _npy_header(file)
                in_entry = file.tell()
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
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return shape, is_fortran, dtype


def _open_pt(path: Path) -> dict[str, Tensor]:
    """A state dict, or {"sae": state dict, …}; the unpickler makes tensors and plain containers, nothing else."""
    value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(value, Mapping) and isinstance(value.get("sae"), Mapping):
        value = value["sae"]
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError("it does not hold tensors by name")
    return dict(value)
