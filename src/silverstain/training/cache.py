"""Activations kept on disk: harvested once, read back by every later run on the same text.

A folder of safetensors files, each of some tens of thousands of tokens and written whole or not at all. What a file
holds is said in its header: model, place in the block, and for every batch its number and a digest of its tokens. So
nothing of another model, another place or another text can be taken for what it is not.

8 · layers · d_model bytes a token in float32: 100 million tokens of GPT-2 small are 7 TB. A pool in memory needs none
of it; a cache is for small models, and for many dictionaries on the same text.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch
from silverstain.models.recording import MLP_INPUT
from silverstain.storage import broken_file, save_tensors_whole
from silverstain.training.batches import Activations, harvest_rows

FORMAT = "silverstain.activations/1"
SHARD_ROWS = 1 << 16


class _Place(NamedTuple):
    """Where a batch's rows are."""

    path: Path
    start: int
    n_rows: int
    digest: str


class ActivationCache:
    """Gives the activations of a numbered batch: from disk where they are, from the model where not, and keeps them."""

    def __init__(
        self, folder: str | Path, model: LanguageModel, *, shard_rows: int = SHARD_ROWS, reads_at: str = MLP_INPUT
    ) -> None:
        """UsageError for a folder with files that are of another model or place, or no such files."""
        self.folder, self.model, self._shard_rows = Path(folder), model, shard_rows
        self._made_of = {
            "format": FORMAT, "model_hash": model.hash, "dtype": str(model.dtype), "reads_at": reads_at,
            "n_layers": model.n_layers, "d_model": model.d_model,
        }  # fmt: skip
        self._places: dict[int, _Place] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._index(path)
        self._pending: list[tuple[int, str, Activations]] = []
        self.n_read = self.n_harvested = 0

    def __enter__(self) -> "ActivationCache":
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever ended the run, what it harvested is good."""
        self.flush()

    def __call__(self, number: int, batch: TokenBatch) -> Activations:
        """The rows of batch `number` that count. UsageError if what is kept under this number is of other tokens."""
        digest, place = _digest(batch), self._places.get(number)
        if place is not None:
            if place.digest != digest:
                raise UsageError(
                    f"{place.path} holds the activations of other text at batch {number}; the cache was made with "
                    "another text, context, batch or seed: give another folder, or delete it"
                )
            self.n_read += 1
            return self._read(place)
        rows = harvest_rows(self.model, batch)
        self.n_harvested += 1
        if self._pending and self._pending[-1][0] + 1 != number:
            self.flush()
        self._pending.append((number, digest, rows))
        if sum(pending.n_rows for _, _, pending in self._pending) >= self._shard_rows:
            self.flush()
        return rows

    def flush(self) -> None:
        """Write what is not yet on disk."""
        if not self._pending:
            return
        first = self._pending[0][0]
        parts = [rows for _, _, rows in self._pending]
        header = {
            **self._made_of, "first": first,
            "batches": [[rows.n_rows, digest] for _, digest, rows in self._pending],
        }  # fmt: skip
        path = self.folder / f"activations-{first:09d}.safetensors"
        tensors = {
            "inputs": torch.cat([rows.inputs for rows in parts], dim=1),
            "outputs": torch.cat([rows.outputs for rows in parts], dim=1),
        }
        save_tensors_whole(path, tensors, {"silverstain": json.dumps(header)})
        self._pending = []
        self._index(path)

    def check_room(self, n_rows: int) -> None:
        """UsageError when the disk has no room for `n_rows` tokens, those that are kept already counted off."""
        kept = sum(place.n_rows for place in self._places.values())
        needed = max(n_rows - kept, 0) * bytes_a_row(self.model)
        there = next(folder for folder in (self.folder.absolute(), *self.folder.absolute().parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise UsageError(
                f"the activations of {n_rows:,} tokens take {needed / 1e9:,.1f} GB more, and {there} has "
                f"{free / 1e9:,.1f} GB left; train without a cache, on fewer steps, or keep it on another disk"
            )

    def _index(self, path: Path) -> None:
        """Note what a file holds."""
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("silverstain", "{}"))
        except Exception as error:  # safetensors raises an error of its own, and JSON and the system theirs
            raise broken_file(path, error) from error
        if header.get("format") != FORMAT:
            raise UsageError(f"{path} is not a {FORMAT} file; keep activations in a folder of their own")
        for name, ours in self._made_of.items():
            if header.get(name) != ours:
                raise UsageError(
                    f"{path} holds activations of another model or place: its {name} is {header.get(name)!r}, this "
                    f"run's {ours!r}; give another folder for the cache, or delete it"
                )
        start = 0
        for number, (n_rows, digest) in enumerate(header["batches"], start=header["first"]):
            self._places[number] = _Place(path, start, n_rows, digest)
            start += n_rows

    def _read(self, place: _Place) -> Activations:
        chosen = slice(place.start, place.start + place.n_rows)
        try:
            with safe_open(place.path, framework="pt") as file:
                inputs, outputs = (file.get_slice(name)[:, chosen] for name in ("inputs", "outputs"))
        except Exception as error:
            raise broken_file(place.path, error) from error
        device = self.model.device
        return Activations(inputs=inputs.to(device), outputs=outputs.to(device))


def bytes_a_row(model: LanguageModel) -> int:
    """Inputs and outputs of every layer for one token."""
    return 2 * model.n_layers * model.d_model * model.dtype.itemsize


def _digest(batch: TokenBatch) -> str:
    """Of the tokens and of which of them count."""
    ids = batch.token_ids.cpu().long().contiguous().numpy()
    mask = batch.mask.cpu().contiguous().numpy()
    return hashlib.blake2b(ids.tobytes() + mask.tobytes() + str(ids.shape).encode(), digest_size=12).hexdigest()
