"""Files that are written whole or not at all, and read with errors a person can act on.

A file is first written beside its final name and then renamed over it, so an interrupted run leaves either the old
file or the new one. Readers name the file in every error. torch and safetensors are imported inside the functions
that need them: the command line reads JSON without paying for them.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

HASH_LENGTH = 16  # hex digits kept of a sha256: 64 bits tell apart every model anyone will compare


def write_text_whole(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8; raises UsageError when the folder cannot be written."""
    _write_whole(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes_whole(path: str | Path, content: bytes) -> None:
    """Write `content`, a picture say; raises UsageError when the folder cannot be written."""
    _write_whole(Path(path), lambda temporary: temporary.write_bytes(content))


def write_json_whole(path: str | Path, obj: object) -> None:
    """Write `obj` as JSON with a final newline; raises UsageError when the folder cannot be written."""
    write_text_whole(path, json.dumps(obj, indent=1, ensure_ascii=False) + "\n")


def save_tensors_whole(
    path: str | Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file of `tensors` with `metadata` (strings) in its header."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    pointers = [t.data_ptr() for t in owned.values() if t.numel()]
    if len(set(pointers)) < len(pointers):  # safetensors refuses tensors that share memory
        owned = {name: tensor.clone() for name, tensor in owned.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(owned, temporary, metadata=dict(metadata or {}))
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error

    _write_whole(Path(path), write)


def read_tensors(path: str | Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """All tensors of a safetensors file and its metadata; UsageError names a missing, corrupt or truncated file."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise broken_file(path, error) from error


def tensor_names(path: str | Path) -> list[str]:
    """Names of the tensors of a safetensors file, which are not read; errors as of `read_tensors`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_is_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise broken_file(path, error) from error


def read_json(path: str | Path, format: str | None = None) -> Any:
    """The JSON in a file; with `format`, an object whose "format" key must equal it."""
    path = Path(path)
    check_is_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte-order mark in front
    except (OSError, ValueError, RecursionError) as error:
        raise broken_file(path, error) from error
    if format is None:
        return value
    seen = value.get("format") if isinstance(value, dict) else None
    if seen != format:
        raise UsageError(f"{path} is not a {format} file: its format is {seen!r}; give a file of that format")
    return value


def hash_tensors(tensors: "Mapping[str, Tensor]") -> str:
    """The first 16 hex digits of a sha256 over names, types, shapes and bytes, in order of name."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # no copy: weights may be large
    return digest.hexdigest()[:HASH_LENGTH]


def hash_file(path: str | Path) -> str:
    """The first 16 hex digits of the sha256 of a file's bytes."""
    path = Path(path)
    check_is_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_LENGTH]
    except OSError as error:
        raise broken_file(path, error) from error


def check_is_file(path: Path) -> None:
    """UsageError unless `path` is a file that exists."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder, a file was expected; give the path of the file in it")
    if not path.is_file():
        raise UsageError(f"there is no file {path}; check the path")


def check_writable(path: Path) -> None:
    """UsageError unless a file can be written at `path`: to be asked before long work; nothing is left behind."""
    if path.is_dir() or not path.name:
        raise UsageError(f"{path} is a folder; name a file in it")
    there = next(folder for folder in (path.absolute().parent, *path.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: {there} is no folder that can be written; choose another")


def broken_file(path: Path, error: Exception) -> UsageError:
    """The error for a file that exists and cannot be read: corrupt, truncated or not permitted."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UsageError(f"cannot read {path}: {reason}; the file may be corrupt or cut short, write or fetch it again")


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then rename it over `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; these are for others to read
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask; reading it means setting it for an instant."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"cannot write {path}: {reason}; choose a folder that can be written")
