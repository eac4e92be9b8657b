"""Rows found so far, kept on disk so that an interrupted trace goes on where it stopped."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path

import torch

from silverstain.attribution.edge_rows import EdgeRows
from silverstain.attribution.edges import Sources, Targets
from silverstain.errors import UsageError
from silverstain.storage import hash_tensors, read_tensors, save_tensors_whole, tensor_names

PATIENCE = 20.0
"""Seconds of work that a crash may cost; a trace that takes less, and is not interrupted, writes nothing."""
PARTS = ("indptr", "columns", "values")


class RowStore:
    """Rows of groups of targets under a folder, written together every PATIENCE seconds.

    Keys say what was asked of which run, so that rows of another prompt, model or setting are never taken. Other files
    in the folder are left alone.
    """

    def __init__(self, folder: Path, run_key: str) -> None:
        self.folder = folder
        self.run_key = run_key
        self._files: dict[str, Path] = {}
        self._waiting: dict[str, EdgeRows] = {}
        self._saved_at = time.monotonic()
        self._last_read: tuple[Path, dict[str, torch.Tensor]] | None = None  # groups are asked for as they were kept
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, where what is found on the way goes into a folder; move it away")
        for path in sorted(folder.glob("*.safetensors")):
            if path.stem.isdecimal():
                keys = [name.removesuffix(".indptr") for name in _names(path) if name.endswith(".indptr")]
                self._files |= dict.fromkeys(keys, path)

    def key(self, targets: Targets, what: str) -> str:
        """Identity of the rows of these targets in this run; `what` says over which sources, and in which form."""
        digest = hashlib.sha256(f"{self.run_key} {what}".encode())
        for column in (targets.layers, targets.positions, targets.vectors.float()):
            digest.update(column.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    @staticmethod
    def identity_of(sources: Sources, form: str) -> str:
        """Which node each write belongs to, and what is kept of a row: rows over other columns mean something else."""
        columns = {str(layer): writes.columns for layer, writes in enumerate(sources.writes)}
        return f"{sources.n_columns} {hash_tensors(columns)} {form}"

    def get(self, key: str) -> EdgeRows | None:
        """The rows kept under a key, or None."""
        if key not in self._files:
            return None
        path = self._files[key]
        if self._last_read is None or self._last_read[0] != path:
            self._last_read = (path, read_tensors(path)[0])
        tensors = self._last_read[1]
        return EdgeRows(**{part: tensors[f"{key}.{part}"] for part in PARTS})

    def put(self, key: str, rows: EdgeRows) -> None:
        """Keep rows; they are on disk after at most PATIENCE seconds, or after `flush`."""
        self._waiting[key] = rows
        if time.monotonic() - self._saved_at > PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits, whole or not at all."""
        if self._waiting:
            path = self.folder / f"{len(self._files):08d}.safetensors"
            tensors = {
                f"{key}.{part}": torch.as_tensor(getattr(rows, part)).cpu()
                for key, rows in self._waiting.items()
                for part in PARTS
            }
            save_tensors_whole(path, tensors, {})
            self._files |= dict.fromkeys(self._waiting, path)
        self._waiting = {}
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Delete what was kept, and the folder if nothing else is in it: the trace is whole."""
        for path in set(self._files.values()):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        self._waiting, self._files = {}, {}


def _names(path: Path) -> list[str]:
    try:
        return tensor_names(path)
    except UsageError as error:
        raise UsageError(f"cannot go on from {path.parent}: {error}; or delete it and begin again") from error
