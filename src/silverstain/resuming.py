"""What a long computation has found so far, kept on disk so that the same call goes on where it was interrupted."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.sealing import check_seal, save_sealed
from silverstain.storage import read_tensors

SEALED = "sealed-"
"""Stands in the names of files that must have a checksum; they were written without one before."""
PATIENCE = 20.0
"""Seconds of work that a crash may cost; what takes less, and is not interrupted, writes nothing."""


class ResumeStore:
    """Results by key, in files of a folder that are written together every PATIENCE seconds.

    `identity` says all that decides what a key's result is (model, prompt, settings). Files carry its hash in their
    names, so that results of another computation are never taken for this one's; other files are left alone.
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        self.folder, self._name = Path(folder), hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._files: dict[str, Path] = {}
        self._waiting: dict[str, Mapping[str, Tensor]] = {}
        self._saved_at = time.monotonic()
        self._last_read: tuple[Path, dict[str, dict[str, Tensor]]] | None = None  # asked for as they were kept
        self._n_written = 0
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(
                f"{self.folder} is a file, where what is found on the way goes into a folder; move it away"
            )
        for path in sorted(self.folder.glob(f"{self._name}-*.safetensors")):
            self._files |= dict.fromkeys({name.rpartition(".")[0] for name in _names(path)}, path)
            self._n_written = max(self._n_written, _number(path) + 1)

    def key(self, *parts: str | Tensor) -> str:
        """The key of a result of this computation that is told from others by these parts."""
        digest = hashlib.sha256(self._name.encode())
        for part in parts:
            digest.update(
                part.encode() if isinstance(part, str) else part.detach().cpu().contiguous().numpy().tobytes()
            )
        return digest.hexdigest()[:32]

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors kept under a key, or None."""
        if key not in self._files:
            return None
        path = self._files[key]
        if self._last_read is None or self._last_read[0] != path:
            found: dict[str, dict[str, Tensor]] = {}
            for name, tensor in read_tensors(path)[0].items():
                of, _, part = name.rpartition(".")
                found.setdefault(of, {})[part] = tensor
            self._last_read = (path, found)
        return self._last_read[1][key]

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors by name; they are on disk after at most PATIENCE seconds, or after `flush`."""
        if key not in self._files:
            self._waiting[key] = tensors
        if time.monotonic() - self._saved_at > PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits, whole or not at all."""
        if self._waiting:
            path = self.folder / f"{self._name}-{SEALED}{self._n_written:08d}.safetensors"
            tensors = {
                f"{key}.{name}": torch.as_tensor(tensor).cpu()
                for key, named in self._waiting.items()
                for name, tensor in named.items()
            }
            save_sealed(path, tensors)
            self._files |= dict.fromkeys(self._waiting, path)
            self._n_written += 1
        self._waiting = {}
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Delete what was kept, and the folder if nothing else is in it: the computation is complete."""
        for path in set(self._files.values()):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        self._waiting, self._files = {}, {}


def _number(path: Path) -> int:
    """Which of its computation's files it is; names of other kinds come first."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and len(digits) <= 18 else -1


def _names(path: Path) -> list[str]:
    """The tensors of a file that is as it was written."""
    try:
        return list(check_seal(path, must_have=SEALED in path.name).entries)
    except UsageError as error:
        raise UsageError(f"cannot go on from {path.parent}: {error}; or delete it and begin again") from error
