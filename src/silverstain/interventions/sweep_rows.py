"""The rows of a sweep, and the file in which an interrupted sweep keeps them."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edit_text import AnyEdit
from silverstain.models import LanguageModel
from silverstain.storage import read_tensors, save_tensors_whole

PATIENCE = 20.0
"""Seconds of work that a crash may cost; a sweep that takes less, and is not interrupted, writes nothing."""
FORMAT = "silverstain.sweep/1"


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class SweepRows:
    """What some lists of edits change, one row each."""

    change: Float[Tensor, "row target"]
    active: Float[Tensor, "row place"]
    chance: Float[Tensor, "row token"]
    kl: Float[Tensor, " row"]
    top: Int[Tensor, " row"]

    def __len__(self) -> int:
        return len(self.kl)

    def __getitem__(self, chosen: Int[Tensor, " chosen"]) -> "SweepRows":
        return SweepRows(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @staticmethod
    def joined(parts: Sequence["SweepRows"]) -> "SweepRows":
        """One behind the other."""
        return SweepRows(
            **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(SweepRows)}
        )


def sweep_key(
    model: LanguageModel,
    dictionary: Dictionary,
    ids: Int[Tensor, " pos"],
    edits: Sequence[Sequence[AnyEdit]],
    what: str,
) -> str:
    """Identity of a sweep: rows of another are never taken for its own."""
    said = [[edit.to_json() for edit in listed] for listed in edits]
    text = json.dumps([model.hash, dictionary.hash, str(model.dtype), ids.tolist(), said, what])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class SweepStore:
    """A file with the rows found so far, written whole every PATIENCE seconds and on interruption."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._saved_at = time.monotonic()

    def rows(self) -> list[SweepRows]:
        """What an earlier try of this sweep left; UsageError for a file of another one."""
        if not self.path.exists():
            return []
        tensors, facts = read_tensors(self.path)
        if facts.get("format") != FORMAT or facts.get("key") != self.key:
            raise UsageError(f"{self.path} is not of this sweep; name another file to resume from, or delete it.")
        return [SweepRows(**tensors)]

    def keep(self, found: Sequence[SweepRows]) -> None:
        """Write when it has been long enough."""
        if time.monotonic() - self._saved_at > PATIENCE:
            self.flush(found)

    def flush(self, found: Sequence[SweepRows]) -> None:
        """Write all rows, whole or not at all."""
        if found:
            rows = SweepRows.joined(found)
            tensors = {field.name: getattr(rows, field.name) for field in fields(rows)}
            save_tensors_whole(self.path, tensors, {"format": FORMAT, "key": self.key})
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Delete the file: the sweep is whole."""
        self.path.unlink(missing_ok=True)
