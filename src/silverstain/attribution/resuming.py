"""Rows found so far, kept on disk so that an interrupted trace goes on where it stopped."""

import hashlib
import shutil
import time
from pathlib import Path

import torch

from silverstain.attribution.edges import EdgeRows, Targets
from silverstain.storage import read_tensors, save_tensors_whole

PATIENCE = 20.0
"""Seconds of work that an interruption may cost; a trace that takes less never writes anything."""
PARTS = ("indptr", "columns", "values")


class RowStore:
    """Rows of groups of targets under a folder, written together every PATIENCE seconds.

    Keys say what was asked of which run, so that rows of another prompt, model or setting are never taken.
    """

    def __init__(self, folder: Path, run_key: str) -> None:
        self.folder = folder
        self.run_key = run_key
        self._files: dict[str, Path] = {}
        self._waiting: dict[str, EdgeRows] = {}
        self._saved_at = time.monotonic()
        self._last_read: tuple[Path, dict[str, torch.Tensor]] | None = None  # groups are asked for as they were kept
        for path in sorted(folder.glob("*.safetensors")):
            tensors, _ = read_tensors(path)
            self._files |= {name.removesuffix(".indptr"): path for name in tensors if name.endswith(".indptr")}

    def key(self, targets: Targets, n_columns: int) -> str:
        """Identity of the rows of these targets in this run."""
        digest = hashlib.sha256(f"{self.run_key} {n_columns}".encode())
        for column in (targets.layers, targets.positions, targets.vectors.float()):
            digest.update(column.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

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
            self.folder.mkdir(parents=True, exist_ok=True)
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
        """Delete what was kept: the trace is whole."""
        self._waiting, self._files = {}, {}
        shutil.rmtree(self.folder, ignore_errors=True)
