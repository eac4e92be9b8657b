"""One pass of text through a model, with everything that cards are made of kept in arrays of a size known before.

What has been found is saved every few minutes, and a run that was stopped goes on from there to the same file: batches
are cut by the rows alone, and what is kept does not depend on when it was saved.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.features.freed_memory import give_back
from silverstain.features.rows import AFTER, BEFORE, CHUNK, MOST, Row, chunks_of, is_held_out
from silverstain.features.tally import Sizes, Tally
from silverstain.features.visiting import check_basis, visit_layers
from silverstain.models import LanguageModel
from silverstain.models.products import Products, ProductsInBfloat16, faster_products
from silverstain.sealing import check_seal, save_sealed
from silverstain.storage import read_tensors

PATIENCE = 180.0
"""Seconds of work that a crash may cost."""
STATE_FORMAT = "silverstain.cards-state/2"
SIGNED = {np.dtype(np.uint32): np.int32, np.dtype(np.uint64): np.int64}


@brief
@dataclass(frozen=True, kw_only=True)
class TextSeen:
    """The tokens of all rows, end to end."""

    token_ids: Int[np.ndarray, " place"]
    counts: Bool[np.ndarray, " place"]
    starts: Int[np.ndarray, " row_plus_one"]

    @property
    def n_places(self) -> int:
        """Places that count."""
        return int(self.counts.sum())

    def windows(self, place: Int[np.ndarray, "*any"]) -> Int[np.ndarray, "*any width"]:
        """Token ids around places; -1 outside of their rows, and where there is no place."""
        row = np.clip(np.searchsorted(self.starts, place, side="right") - 1, 0, len(self.starts) - 2)
        at = place[..., None] + np.arange(-BEFORE, AFTER + 1)
        inside = (at >= self.starts[row][..., None]) & (at < self.starts[row + 1][..., None]) & (place >= 0)[..., None]
        return np.where(inside, self.token_ids[np.clip(at, 0, len(self.token_ids) - 1)], -1)

    def one_a_row(self, place: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
        """The first of these places in each row, in the order given."""
        _, first = np.unique(np.searchsorted(self.starts, place, side="right"), return_index=True)
        return place[np.sort(first)]

    def is_held_out(self) -> Bool[np.ndarray, " place"]:
        """Whether each place is in a row that only tests what is said of features."""
        rows = [
            is_held_out(self.token_ids[start:stop].astype(np.int64))
            for start, stop in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]
        return np.repeat(np.array(rows, dtype=bool), np.diff(self.starts))


@brief
@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one pass has left."""

    tally: Tally
    text: TextSeen
    products: Products = "float32"
    """In which type the model's products were made."""


@brief
@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What a pass will take, said before it begins."""

    features: int
    is_signed: bool
    tokens: int
    state_bytes: int
    """Of the arrays, and on disk where a run can be resumed."""
    text_bytes: int
    batch_bytes: int
    """Of the largest arrays of one batch and layer, several of which are there at once."""

    @property
    def bytes(self) -> int:
        """In all, beside the model: arrays, their copy while they are saved, the text, and a batch at work."""
        return 2 * self.state_bytes + self.text_bytes + 8 * self.batch_bytes

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bytes": self.bytes}


def stream_plan(basis: Basis, n_tokens: int) -> StreamPlan:
    """What describing a basis over so many tokens takes."""
    sizes = Sizes.of(basis)
    return StreamPlan(
        features=sizes.n_layers * sizes.n_features,
        is_signed=sizes.is_signed,
        tokens=n_tokens,
        state_bytes=sizes.n_bytes,
        text_bytes=5 * (n_tokens + CHUNK),
        batch_bytes=4 * MOST * sizes.n_features,
    )


def stream(
    model: LanguageModel,
    basis: Basis,
    rows: Iterable[Row],
    *,
    n_tokens: int | None = None,
    sizes: Sizes | None = None,
    state: Path | None = None,
    identity: str = "",
    products: Products | None = None,
    on_progress: Callable[[int], None] | None = None,
    patience: float = PATIENCE,
) -> Seen:
    """Read rows once, until `n_tokens` places have counted (None: all of them).

    `state` is a file that holds what an unfinished run has found: it is gone on from where it is of the same
    computation (model, basis, sizes, `identity`) and the same rows come, else UsageError. `on_progress(n)` counts
    places. UsageError where no place counts.

    `products` is the type in which the products of the model's blocks are made: None for bfloat16 where that is much
    faster here, and for an unfinished run that of its beginning. In bfloat16 activations are rounded: on average by
    about one hundredth of their size.
    """
    check_basis(model, basis)
    sizes = sizes or Sizes.of(basis)
    about = json.dumps([STATE_FORMAT, model.hash, basis.hash, asdict(sizes), n_tokens, identity], sort_keys=True)
    seen = _SoFar(Tally(sizes), products=products or _products_for(model))
    source = _limited(iter(rows), n_tokens)
    if state is not None and state.exists():
        seen = _read_state(state, sizes, about)
        seen.skip(source, state)
    saved_at = time.monotonic()
    in_type = ProductsInBfloat16(model) if seen.products == "bfloat16" else nullcontext
    for chunk in chunks_of(source, model, seen.n_tokens):
        for batch in chunk.batches:
            seen.tally.begin(batch)
            with in_type():
                visit_layers(
                    model,
                    basis,
                    torch.from_numpy(batch.token_ids),
                    lambda layer, a, batch=batch: seen.tally.see(layer, a, batch),
                )
            give_back()
        seen.add(chunk.rows)
        if on_progress is not None:
            on_progress(seen.n_counted)
        if state is not None and time.monotonic() - saved_at >= patience:
            _save_state(state, seen, about)
            saved_at = time.monotonic()
    seen.tally.merge()
    text = seen.text()
    if not text.n_places:
        raise UsageError(
            "no place of the text counts: every row is as short as the leading positions that keep their real MLP "
            f"({model.n_real}), or masked; give longer rows"
        )
    return Seen(tally=seen.tally, text=text, products=seen.products)


def _products_for(model: LanguageModel) -> Products:
    is_whole = next(model.hf.parameters()).dtype == torch.float32
    return faster_products(model.d_model, model.device) if is_whole else "float32"


def discard_state(state: Path) -> None:
    """Delete what was kept of a run that is complete."""
    with suppress(OSError):
        state.unlink(missing_ok=True)


def _limited(rows: Iterator[Row], n_tokens: int | None) -> Iterator[Row]:
    seen = 0
    for row in rows:
        if n_tokens is not None and seen >= n_tokens:
            return
        yield row
        seen += int(row.counts.sum())


class _SoFar:
    """A tally, and the rows that it is of."""

    def __init__(self, tally: Tally, rows: list[Row] | None = None, *, products: Products) -> None:
        self.tally, self._rows = tally, list(rows or [])
        self.products: Products = products
        self.n_tokens = sum(len(row.token_ids) for row in self._rows)
        self.n_counted = sum(int(row.counts.sum()) for row in self._rows)

    def add(self, rows: list[Row]) -> None:
        self._rows += [Row(row.token_ids.astype(np.int32), row.counts) for row in rows]
        self.n_tokens += sum(len(row.token_ids) for row in rows)
        self.n_counted += sum(int(row.counts.sum()) for row in rows)

    def skip(self, source: Iterator[Row], state: Path) -> None:
        """Pass over the rows that were seen; UsageError where others come."""
        for number, known in enumerate(self._rows):
            row = next(source, None)
            if row is None or not (
                np.array_equal(row.token_ids, known.token_ids) and np.array_equal(row.counts, known.counts)
            ):
                raise UsageError(
                    f"cannot go on from {state}: row {number} of the text is not the one that was read before; give "
                    "the same text, or delete that file and begin again"
                )

    def text(self) -> TextSeen:
        ids = [row.token_ids.astype(np.int32) for row in self._rows]
        return TextSeen(
            token_ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
            counts=np.concatenate([row.counts for row in self._rows]) if ids else np.zeros(0, dtype=bool),
            starts=np.cumsum([0, *(len(row) for row in ids)]),
        )


def _save_state(path: Path, seen: _SoFar, about: str) -> None:
    seen.tally.merge()
    text = seen.text()
    arrays = seen.tally.arrays | {"text.ids": text.token_ids, "text.counts": text.counts, "text.starts": text.starts}
    tensors = {
        name: torch.from_numpy(array.view(SIGNED.get(array.dtype, array.dtype))) for name, array in arrays.items()
    }
    save_sealed(path, tensors, {"format": STATE_FORMAT, "about": about, "products": seen.products})


def _read_state(path: Path, sizes: Sizes, about: str) -> _SoFar:
    check_seal(path, must_have=True)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != STATE_FORMAT or metadata.get("about") != about:
        raise UsageError(
            f"{path} holds an unfinished run of another model, basis, text or size; delete it, or name another file"
        )
    kinds = sizes.arrays()
    arrays = {name: tensors[name].numpy().view(kind) for name, (_, kind, _) in kinds.items()}
    ids, counts, starts = (tensors[f"text.{name}"].numpy() for name in ("ids", "counts", "starts"))
    rows = [Row(ids[a:b], counts[a:b]) for a, b in pairwise(starts)]
    return _SoFar(Tally(sizes, arrays), rows, products="bfloat16" if metadata["products"] == "bfloat16" else "float32")
