"""Rows of tokens on their way through a model: which places count, how rows are batched, where examples are cut.

A place is the number of a token in the whole text, rows end to end. A place has a random number of its own, from its
number alone, and a row has a side (to describe features by, or held out) from its tokens alone: neither depends on how
rows are batched, and two copies of a row are on one side.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt64

from silverstain.errors import UsageError
from silverstain.features.corpus import Sample
from silverstain.models import LanguageModel

BEFORE, AFTER = 12, 4
"""Tokens of an example left and right of the one the feature fired on."""
WIDTH = BEFORE + 1 + AFTER
HELD_OUT = 0.25
"""Share of rows whose contexts only test what is said of features."""
FEWEST, MOST = 256, 1024
"""Tokens of a batch: as many as have been seen, within these, since at first every value is among the best."""
CHUNK = 32_768
"""Tokens that are sorted by the length of their rows before they are batched."""


class Row(NamedTuple):
    """One sequence as the model runs it."""

    token_ids: Int[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]
    """Places at which features are seen: not the leading ones that keep their real MLP."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows side by side, padded on the right, with what belongs to each of their places."""

    token_ids: Int[np.ndarray, "row pos"]
    counts: Bool[np.ndarray, "row pos"]
    place: Int[np.ndarray, "row pos"]
    """-1 where nothing is."""
    chance: Float[np.ndarray, "row pos"]
    """The random number of each place, above 0 and at most 1."""
    is_held_out: Bool[np.ndarray, " row"]

    @property
    def n_tokens(self) -> int:
        return int(self.counts.sum())


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows in the text's order, and the batches they are run in."""

    rows: list[Row]
    batches: list[Batch]


def rows_of(
    samples: Iterable[Sample | tuple[Sequence[int], Sequence[bool] | None, Mapping[str, str] | None]], *, n_real: int
) -> Iterator[Row]:
    """Samples as rows; UsageError where a mask is not as long as its tokens."""
    for number, (token_ids, mask, _) in enumerate(samples):
        ids = np.asarray(token_ids, dtype=np.int64).reshape(-1)
        counts = np.ones(len(ids), dtype=bool) if mask is None else np.asarray(mask, dtype=bool).reshape(-1)
        if len(counts) != len(ids):
            raise UsageError(
                f"row {number} has {len(ids)} tokens but a mask of {len(counts)}; give one truth value a token"
            )
        yield Row(ids, counts & (np.arange(len(ids)) >= n_real))


def chunks_of(rows: Iterator[Row], model: LanguageModel, first_place: int = 0) -> Iterator[Chunk]:
    """Rows in chunks, each with its batches: the same for the same rows, wherever one goes on from."""
    while True:
        chunk = _some(rows, min(max(first_place, FEWEST), CHUNK))
        if not chunk:
            return
        most = min(max(first_place, FEWEST), MOST)
        yield Chunk(rows=chunk, batches=_batches(chunk, model, first_place, most))
        first_place += sum(len(row.token_ids) for row in chunk)


def _some(rows: Iterator[Row], most: int) -> list[Row]:
    found, n = [], 0
    while n < most and (more := list(islice(rows, 1))):
        found += more
        n += len(more[0].token_ids)
    return found


def _batches(rows: list[Row], model: LanguageModel, first_place: int, most: int) -> list[Batch]:
    starts = first_place + np.cumsum([0, *(len(row.token_ids) for row in rows)])
    alike: dict[object, list[int]] = {}
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number].token_ids)):
        if rows[number].counts.any():
            alike.setdefault(model.length_class(len(rows[number].token_ids)), []).append(number)
    batches = []
    for numbers in alike.values():
        some: list[int] = []
        for number in numbers:
            if some and (len(some) + 1) * len(rows[number].token_ids) > most:
                batches.append(_batch(rows, some, starts))
                some = []
            some.append(number)
        batches.append(_batch(rows, some, starts))
    return batches


def _batch(rows: list[Row], numbers: list[int], starts: Int[np.ndarray, " row"]) -> Batch:
    width = max(len(rows[number].token_ids) for number in numbers)
    shape = (len(numbers), width)
    ids, counts, place = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool), np.full(shape, -1)
    for i, number in enumerate(numbers):
        row = rows[number]
        ids[i, : len(row.token_ids)], counts[i, : len(row.token_ids)] = row
        place[i, : len(row.token_ids)] = starts[number] + np.arange(len(row.token_ids))
    held = np.array([is_held_out(rows[number].token_ids) for number in numbers])
    return Batch(token_ids=ids, counts=counts, place=place, chance=chance_of(place), is_held_out=held)


def is_held_out(token_ids: Int[np.ndarray, " pos"]) -> bool:
    """Whether a row only tests what is said of features: by its tokens."""
    digest = hashlib.blake2b(np.asarray(token_ids, dtype=np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 < HELD_OUT


def chance_of(place: Int[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """The random number of each place, above 0 and at most 1."""
    mixed = mix(place.astype(np.uint64))
    return ((mixed >> np.uint64(40)).astype(np.float32) + 1) / np.float32(1 << 24)


def mix(x: UInt64[np.ndarray, "*any"]) -> UInt64[np.ndarray, "*any"]:
    """Numbers well mixed (splitmix64), the same on every machine."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def windows_in(
    values: np.ndarray, row: Int[np.ndarray, " n"], pos: Int[np.ndarray, " n"], outside: float
) -> Shaped[np.ndarray, "n width"]:
    """values[row, pos - BEFORE … pos + AFTER], and `outside` beyond the row."""
    around = pos[:, None] + np.arange(-BEFORE, AFTER + 1)
    inside = (around >= 0) & (around < values.shape[1])
    return np.where(inside, values[row[:, None], np.clip(around, 0, values.shape[1] - 1)], outside)


def text_key(windows: Int[np.ndarray, "n width"]) -> UInt64[np.ndarray, " n"]:
    """A number for each window of token ids, the same for the same tokens."""
    key = np.zeros(len(windows), dtype=np.uint64)
    for column in windows.T:
        key = mix(key ^ (column + 1).astype(np.uint64))
    return key
