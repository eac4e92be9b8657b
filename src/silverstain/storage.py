"""Files that are written whole or not at all, and read with errors a person can act on.

A file is first written beside its final name and then renamed over it, so an interrupted run leaves either the old
file or the new one (see `parts`). Readers name the file in every error. torch and safetensors are imported inside the
functions that need them.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.errors import UsageError
from silverstain.parts import part_file, reason_of, shown_path, umask, unwritable
from silverstain.printable import printable

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

LONGEST_NAME = 255
"""Bytes of a file's name, on every file system that is in use."""
HASH_LENGTH = 16  # hex digits kept of a sha256: 64 bits tell apart every model anyone will compare


def write_text_whole(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8; raises UsageError when the folder cannot be written. Halves of characters, which UTF-8
    does not have, are written as \\udXXX, which in JSON is what they are."""
    write_bytes_whole(path, text.encode("utf-8", "backslashreplace"))


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


def save_model(hf: "PreTrainedModel", folder: Path) -> None:
    """Write a model's weights and settings as Hugging Face does, without its bar; OSError where there is no room."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    has_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        hf.save_pretrained(folder)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error
    finally:
        if has_bars:
            logging.enable_progress_bar()


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
    shown = shown_path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"there is no file {shown}; check the path") from None
    except (OSError, ValueError) as error:  # no permission, a name too long, or a zero byte in it
        raise UsageError(f"cannot read {shown}: {reason_of(error)}; check the path") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{shown} is a folder, a file was expected; give the path of the file in it")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{shown} is a device or a pipe, a file was expected; write what it gives to a file first")


def check_writable(path: Path) -> None:
    """UsageError unless a file can be written at `path`: to be asked before long work; nothing is left behind."""
    shown = shown_path(path)
    try:
        if path.is_dir() or not path.name:
            raise UsageError(f"{shown} is a folder; name a file in it")
        _check_replaceable(path)
        there = next(folder for folder in (path.absolute().parent, *path.absolute().parents) if folder.exists())
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {shown}: {there} is no folder that can be written; choose another")


def broken_file(path: Path, error: Exception) -> UsageError:
    """The error for a file that exists and cannot be read: corrupt, truncated or not permitted."""
    shown = shown_path(path)
    return UsageError(
        f"cannot read {shown}: {reason_of(error)}; the file may be corrupt or cut short, write or fetch it again"
    )


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a part file in the folder of `path`, then rename it over `path`."""
    try:
        path = path.resolve() if path.is_symlink() else path  # what a link names is written, and the link stays
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_file(path.parent) as part:
            write(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~umask())
            part.replace(path)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def _check_replaceable(path: Path) -> None:
    """UsageError for a device, pipe or socket, which a file must not replace, and for a name that is too long."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(
            f"cannot write {shown_path(path)}: it is a device or a pipe, and a file would take its place; name a file"
        )
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UsageError(f"cannot write {printable(str(path), 80)}: its name is too long; give a shorter one")
