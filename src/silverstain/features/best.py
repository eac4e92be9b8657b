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
        units, row = np.unique(unit, return_inverse=True)
        old = (self.place[units] != NOTHING).nonzero()
        rows = np.concatenate([old[0], row])
        scores = np.concatenate([self.score[units][old], score.astype(self.score.dtype)])
        places = np.concatenate([self.place[units][old], place.astype(self.place.dtype)])
        columns = {
            name: np.concatenate([kept[units][old], np.asarray(more[name]).astype(kept.dtype)])
            for name, kept in self.more.items()
        }
        order = np.lexsort((places, scores, rows))
        if "text" in columns:
            order = order[_first_of_each(rows[order], columns["text"][order])]
        start = np.searchsorted(rows[order], np.arange(len(units)))
        rank = np.arange(len(order)) - start[rows[order]]
        kept = order[rank < self.k]
        at = (units[rows[kept]], rank[rank < self.k])
        self.score[units], self.place[units] = np.inf, NOTHING
        self.score[at], self.place[at] = scores[kept], places[kept]
        for name, column in columns.items():
            self.more[name][units] = 0
            self.more[name][at] = column[kept]


def _first_of_each(row: Int[np.ndarray, " n"], text: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the first entry of each (row, text)."""
    order = np.lexsort((np.arange(len(row)), text, row))
    is_first = np.ones(len(row), dtype=bool)
    is_first[1:] = (row[order][1:] != row[order][:-1]) | (text[order][1:] != text[order][:-1])
    return np.sort(order[is_first])
