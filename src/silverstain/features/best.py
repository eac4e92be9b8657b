"""The best few of many that come by, for each of many units: arrays that are merged a batch at a time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

NOTHING = -1


class Best:
    """For each unit the entries of lowest score; equal scores go to the earlier place.

    `score` and `place` are [unit, k], `more` are further columns [unit, k, …]. They are changed where they lie, so they
    can be views of larger arrays. Entries with one number under `text` (if there is such a column) count once.
    """

    def __init__(
        self, score: Float[np.ndarray, "unit k"], place: Int[np.ndarray, "unit k"], more: Mapping[str, np.ndarray]
    ) -> None:
        self.score, self.place, self.more = score, place, dict(more)
        self.k = score.shape[1]
        self._most = max(score.size // 4, 4096)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
        self._n_waiting = 0

    @property
    def worst(self) -> Float[np.ndarray, " unit"]:
        """The score that another entry must stay below, or equal at an earlier place, as of the last merge: infinite
        while there is room."""
        return self.score[:, -1]

    def offer(
        self,
        unit: Int[np.ndarray, " n"],
        score: Float[np.ndarray, " n"],
        place: Int[np.ndarray, " n"],
        more: Mapping[str, np.ndarray],
    ) -> None:
        """Take those of some entries that are among the best of their units, now or when more are there."""
        if len(unit):
            self._waiting.append((unit, score, place, dict(more)))
            self._n_waiting += len(unit)
        if self._n_waiting > self._most:
            self.merge()

    def merge(self) -> None:
        """Take what waits into the arrays."""
        if not self._waiting:
            return
        unit = np.concatenate([one[0] for one in self._waiting])
        score = np.concatenate([one[1] for one in self._waiting])
        place = np.concatenate([one[2] for one in self._waiting])
        more = {name: np.concatenate([one[3][name] for one in self._waiting]) for name in self.more}
        self._waiting, self._n_waiting = [], 0
        is_touched = np.zeros(len(self.score), dtype=bool)
        is_touched[unit] = True
        units = is_touched.nonzero()[0]
        row = (np.cumsum(is_touched) - 1)[unit]
        old_row, old_rank = (self.place[units] != NOTHING).nonzero()
        old = (units[old_row], old_rank)
        rows = np.concatenate([old_row, row])
        scores = np.concatenate([self.score[old], score.astype(self.score.dtype)])
        places = np.concatenate([self.place[old], place.astype(self.place.dtype)])
        order = ranked(rows, scores, places)
        if "text" in self.more:
            texts = np.concatenate([self.more["text"][old], more["text"]])
            order = order[_first_of_each(rows[order], texts[order])]
        start = np.searchsorted(rows[order], np.arange(len(units)))
        rank = np.arange(len(order)) - start[rows[order]]
        order, rank = order[rank < self.k], rank[rank < self.k]
        is_old = order < len(old_row)
        from_old, from_new = order[is_old], order[~is_old] - len(old_row)
        to_old, to_new = ((units[rows[order[some]]], rank[some]) for some in (is_old, ~is_old))
        for name, column in self.more.items():
            kept = column[old[0][from_old], old[1][from_old]]
            column[units] = 0
            column[to_old], column[to_new] = kept, more[name][from_new]
        self.score[units], self.place[units] = np.inf, NOTHING
        self.score[units[rows[order]], rank] = scores[order]
        self.place[units[rows[order]], rank] = places[order]


def ranked(
    row: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"], place: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The order of entries by row, then by score, then by place: `np.lexsort((place, score, row))`, of float32 scores.

    Row and score are sorted as one number, the bits of a float32 being in the order of its value once those of
    negative ones are turned over; the few that are equal in both are then put in the order of their places.
    """
    bits = (score + np.float32(0)).view(np.int32)  # −0 is 0
    key = (row.astype(np.int64) << 32) + np.where(bits < 0, np.int32(0x7FFFFFFF) ^ bits, bits)
    order = np.argsort(key)
    key = key[order]
    equal = np.zeros(len(key) + 1, dtype=bool)
    np.equal(key[1:], key[:-1], out=equal[1:-1])
    tied = (equal[1:] | equal[:-1]).nonzero()[0]
    if len(tied):
        order[tied] = order[tied][np.lexsort((place[order[tied]], key[tied]))]
    return order


def _first_of_each(row: Int[np.ndarray, " n"], text: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the first entry of each (row, text)."""
    order = np.lexsort((np.arange(len(row)), text, row))
    is_first = np.ones(len(row), dtype=bool)
    is_first[1:] = (row[order][1:] != row[order][:-1]) | (text[order][1:] != text[order][:-1])
    return np.sort(order[is_first])
