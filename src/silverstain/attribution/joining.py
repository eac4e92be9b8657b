"""Rows of edges put in their places as they are found, so that no edge is held twice."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution.edge_rows import EdgeRows
from silverstain.errors import UsageError


def check_finite(numbers: Tensor, what: str) -> None:
    """UsageError unless all numbers of a trace are finite."""
    if not bool(numbers.isfinite().all()):
        kind = str(numbers.dtype).removeprefix("torch.")
        raise UsageError(
            f"the {what} of this graph are NaN or infinite in {kind}: weights of the model or the dictionary, or a "
            "direction, are too large to be multiplied; give smaller ones, or compute in float64 (--dtype float64)"
        )


class RowTable:
    """Compressed rows that are filled in any order. Each row's room is what it may hold at most.

    Memory that is never written to is never taken from the machine, so too much room costs nothing on a processor.
    """

    def __init__(self, room: Int[Tensor, " row"], like: Float[Tensor, "..."]) -> None:
        self._room = torch.cat([room.new_zeros(1), room.cumsum(0)])
        self._counts = torch.zeros_like(room)
        n_edges = int(self._room[-1])
        self._columns = torch.empty(n_edges, dtype=torch.int32, device=like.device)
        self._values = torch.empty(n_edges, dtype=like.dtype, device=like.device)
        self._filled: list[tuple[int, int]] = []
        """Where rows that came together begin and end; their room begins there too."""

    def put(self, places: Int[Tensor, " row"], rows: EdgeRows) -> None:
        """Row i goes to `places[i]`. ValueError if it has more edges than there is room for, UsageError for edges that
        are NaN or infinite: finite weights may have products that are not."""
        check_finite(rows.values, "edges")
        places, counts = places.to(self._room.device), rows.indptr.diff().to(self._room.device)
        if bool((counts > self._room[places + 1] - self._room[places]).any()):
            raise ValueError("a row has more edges than can reach its target")
        self._counts[places] = counts
        breaks = [0, *(1 + (places.diff() != 1).nonzero().flatten()).tolist(), len(places)]  # neighbours move together
        for first, last in pairwise(breaks if len(places) else []):
            start, stop = rows.indptr[[first, last]].tolist()
            at = int(self._room[places[first]])
            self._columns[at : at + stop - start] = rows.columns[start:stop]
            self._values[at : at + stop - start] = rows.values[start:stop]
            self._filled.append((at, at + stop - start))

    def rows(self) -> EdgeRows:
        """All rows, what room they left taken out. The table is not to be used afterwards."""
        end = 0
        for start, stop in sorted(self._filled):
            for kept in (self._columns, self._values) if start > end else ():
                kept[end : end + stop - start] = kept[start:stop].clone()  # over nothing still needed
            end += stop - start
        ends = self._counts.cumsum(0)
        return EdgeRows(
            indptr=torch.cat([ends.new_zeros(1), ends]), columns=self._columns[:end], values=self._values[:end]
        )


def join_rows(pieces: list[EdgeRows], places: list[Tensor]) -> EdgeRows:
    """One set of rows out of pieces; row i of a piece goes to the place `places[piece][i]`.

    `pieces` is empty afterwards, so that no edge is held twice for long.
    """
    place = torch.cat(places).to(pieces[0].indptr.device)  # shares come to the processor, their groups do not
    counts = torch.cat([piece.indptr.diff() for piece in pieces])
    table = RowTable(counts[place.argsort()], pieces[0].values)
    for some in place.split([len(piece) for piece in pieces]):
        table.put(some, pieces.pop(0))
    return table.rows()
