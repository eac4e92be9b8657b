"""The pool of activations that steps draw from, in parts that are renewed in turn.

With one part the whole pool is new at every renewal. With two, half of it stays: a step then mixes tokens of twice as
many batches as were just harvested. Nothing of it is stored: each part is harvested again, from the batch at which it
began, so a resumed run holds the very same rows.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.batches import Activations, Source, harvest_rows

Harvest = Callable[[int, TokenBatch], Activations]
"""The activations of a batch, given which one it is: what counts batches can keep and find them."""


class Pool:
    """Exactly `n_rows` tokens: the largest memory of a run, 8 · layers · d_model bytes a token."""

    def __init__(
        self, model: LanguageModel, source: Source, n_rows: int, *, n_parts: int = 1, harvest: Harvest | None = None
    ) -> None:
        if n_rows % n_parts:
            raise UsageError(f"a pool of {n_rows} tokens cannot be cut into {n_parts} parts; give a multiple")
        self._model, self._source, self._n_parts = model, source, n_parts
        self._harvest = harvest or (lambda number, batch: harvest_rows(model, batch))
        self._size = n_rows // n_parts
        self._activations: Activations | None = None
        self._held: set[int] = set()
        """Which fills, counted from the first, are in memory."""
        self._starts = {0: 0}
        """The batch at which a fill begins, of those that are held and of the next one."""

    @property
    def activations(self) -> Activations:
        """All rows."""
        assert self._activations is not None  # brought to some fill before anything is drawn
        return self._activations

    def rows(self, index: Int[Tensor, " chosen"]) -> Activations:
        return self.activations.part(index)

    def bring_to(self, n_fills: int, check: Callable[[], None] = lambda: None) -> None:
        """Hold the last fills of `n_fills`: harvest those of them that are not in memory.

        `check` is called between batches and may raise: harvesting takes tens of seconds.
        """
        wanted = range(max(n_fills - self._n_parts, 0), n_fills)
        for fill in wanted:
            if fill not in self._held:
                self._source.skip_to(self._starts[fill])
                self._fill(fill, check)
        self._starts = {fill: self._starts[fill] for fill in (*wanted, n_fills)}

    def release(self) -> None:
        """Give the memory back."""
        self._activations, self._held = None, set()

    def to_json(self) -> dict[str, list[int]]:
        """All that is needed to hold the same again: the batch at which each fill began."""
        return {"fills": list(self._starts), "starts": list(self._starts.values())}

    def go_on_from(self, state: Mapping[str, Sequence[int]]) -> None:
        """Be the pool that said `state`; its rows are harvested when they are asked for."""
        self._starts = dict(zip(state["fills"], state["starts"], strict=True))

    def _fill(self, fill: int, check: Callable[[], None]) -> None:
        """Harvest one fill, over the one that is `n_parts` older."""
        if self._activations is None:
            size = (self._model.n_layers, self._n_parts * self._size, self._model.d_model)
            pair = [torch.empty(size, dtype=self._model.dtype, device=self._model.device) for _ in range(2)]
            self._activations = Activations(inputs=pair[0], outputs=pair[1])
        start, filled = fill % self._n_parts * self._size, 0
        self._held.discard(fill - self._n_parts)
        while filled < self._size:
            check()
            batch = self._source.draw()
            part = self._harvest(self._source.n_drawn - 1, batch)
            take = min(part.n_rows, self._size - filled)
            place = slice(start + filled, start + filled + take)
            self._activations.inputs[:, place] = part.inputs[:, :take]
            self._activations.outputs[:, place] = part.outputs[:, :take]
            filled += take
        self._held.add(fill)
        self._starts[fill + 1] = self._source.n_drawn
