"""What is kept of the activations that come by while text is read: arrays of a size known before.

For each unit (a feature, and for signed bases each of its signs, a *side*):

    sums        how often it was active, the sum and the sum of squares of its activation, the largest of each side
    histogram   counts in bins that are the same for all (`histogram`)
    top         the strongest examples of each side, one a row, no text twice, with the activations around them
    sample      places drawn at random among those where it is active, to describe it by (*shown*) and to test that
                (*held*): of a dictionary's features all alike, of neurons, which are always active a little, in
                proportion to the square of the activation, so that strong ones make most of the sample
    pool        its activation at places that are the same for all units, drawn from all of the text

A place is drawn by its own random number (`rows`), the same for all units, so that units which are active at the same
places have the same sample: how much two samples share says how much the units do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.features.best import NOTHING, Best
from silverstain.features.histogram import bins_of, n_bins
from silverstain.features.rows import AFTER, BEFORE, WIDTH, Batch, text_key, windows_in

POOL_BYTES = 256 << 20
"""Of the activations at shared places."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is kept of each unit."""

    n_layers: int
    n_features: int
    is_signed: bool
    top: int = 8
    shown: int = 96
    held: int = 48
    pool: int = 1024

    @staticmethod
    def of(basis: Basis, **more: int) -> "Sizes":
        """As fits a basis: the pool of a large one is smaller."""
        n_units = basis.n_layers * basis.n_features
        pool = int(np.clip(POOL_BYTES // (2 * n_units), 64, 1024))
        return Sizes(
            n_layers=basis.n_layers, n_features=basis.n_features, is_signed=basis.is_dense, **{"pool": pool} | more
        )

    @property
    def sides(self) -> int:
        return 2 if self.is_signed else 1

    def arrays(self) -> dict[str, tuple[tuple[int, ...], type, float]]:
        """Shape, type and first value of every array."""
        units, sided = (self.n_layers, self.n_features), (self.n_layers, self.n_features * self.sides)
        found: dict[str, tuple[tuple[int, ...], type, float]] = {
            "count": (units, np.int64, 0),
            "total": (units, np.float64, 0),
            "squares": (units, np.float64, 0),
            "histogram": ((*units, n_bins(self.is_signed)), np.uint32, 0),
            "pool": ((self.n_layers, self.pool, self.n_features), np.float16, 0),
            "pool_place": ((self.pool,), np.int64, NOTHING),
            "pool_chance": ((self.pool,), np.float32, np.inf),
        }
        for name, k in (("top", self.top), ("shown", self.shown), ("held", self.held)):
            found |= {
                f"{name}.score": ((*sided, k), np.float32, np.inf),
                f"{name}.place": ((*sided, k), np.int64, NOTHING),
                f"{name}.value": ((*sided, k), np.float32, 0),
            }
            if name != "shown":
                found[f"{name}.around"] = ((*sided, k, WIDTH), np.float16, 0)
        found["top.text"] = ((*sided, self.top), np.uint64, 0)
        return found

    @property
    def n_bytes(self) -> int:
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind, _ in self.arrays().values())


class Tally:
    """The arrays, and how a batch changes them."""

    def __init__(self, sizes: Sizes, arrays: Mapping[str, np.ndarray] | None = None) -> None:
        self.sizes = sizes
        self.arrays: dict[str, np.ndarray] = (
            {name: np.full(shape, first, dtype=kind) for name, (shape, kind, first) in sizes.arrays().items()}
            if arrays is None
            else dict(arrays)
        )
        self._best = {
            (name, layer): self._views(name, layer)
            for name in ("top", "shown", "held")
            for layer in range(sizes.n_layers)
        }
        self._near: _Near | None = None
        none = np.zeros(0, dtype=np.int64)
        self._slots: tuple[np.ndarray, np.ndarray, np.ndarray] = (none, none, none)

    def _views(self, name: str, layer: int) -> Best:
        columns = [key.partition(".")[2] for key in self.arrays if key.startswith(f"{name}.")]
        views = {column: self.arrays[f"{name}.{column}"][layer] for column in columns}
        return Best(views.pop("score"), views.pop("place"), views)

    def begin(self, batch: Batch) -> None:
        """Choose which of a batch's places enter the pool; to be called before its layers are seen."""
        self._near = _Near(batch)
        place, chance = self.arrays["pool_place"], self.arrays["pool_chance"]
        row, pos = (batch.counts & (batch.chance < chance.max())).nonzero()
        every = np.concatenate([chance, batch.chance[row, pos]])
        number = np.concatenate([place, batch.place[row, pos]])
        kept = np.lexsort((number, every))[: self.sizes.pool]
        new = np.sort(kept[kept >= len(place)]) - len(place)
        free = np.setdiff1d(np.arange(len(place)), kept)[: len(new)]
        place[free], chance[free] = batch.place[row[new], pos[new]], batch.chance[row[new], pos[new]]
        self._slots = (free, row[new], pos[new])

    def see(self, layer: int, activations: Float[Tensor, "row pos feature"], batch: Batch) -> None:
        """Take note of one layer's activations."""
        a = activations.detach().to(device="cpu", dtype=torch.float32).contiguous()
        free, row, pos = self._slots
        self.arrays["pool"][layer, free] = _half(a[torch.from_numpy(row), torch.from_numpy(pos)].numpy())
        if self.sizes.is_signed:
            self._see_all(layer, a, batch)
        else:
            self._see_active(layer, a.numpy(), batch)

    def merge(self) -> None:
        """Take all that waits into the arrays, so that these are all there is."""
        for best in self._best.values():
            best.merge()

    # features that are rarely active

    def _see_active(self, layer: int, a: Float[np.ndarray, "row pos feature"], batch: Batch) -> None:
        """Of sparse activations: the active ones are found once, and the rest is about them alone."""
        n = self.sizes.n_features
        where = np.flatnonzero(a > 0)
        at, feature = np.divmod(where, n)
        kept = batch.counts.reshape(-1)[at]
        at, feature, value = at[kept], feature[kept], a.reshape(-1)[where[kept]]
        row, pos = np.divmod(at, a.shape[1])
        squares = np.bincount(feature, np.square(value, dtype=np.float64), n)
        _check_finite(squares, layer)
        self.arrays["count"][layer] += np.bincount(feature, minlength=n)
        self.arrays["total"][layer] += np.bincount(feature, value, n)
        self.arrays["squares"][layer] += squares
        counts = self.arrays["histogram"][layer]
        found = feature * counts.shape[1] + bins_of(torch.from_numpy(value), False).numpy()
        counts += np.bincount(found, minlength=counts.size).reshape(counts.shape).astype(np.uint32)
        best = self._best["top", layer]
        some = (value >= -best.worst[feature]).nonzero()[0]
        some = some[np.lexsort((pos[some], -value[some], feature[some], row[some]))]
        first = np.ones(len(some), dtype=bool)
        first[1:] = (row[some][1:] != row[some][:-1]) | (feature[some][1:] != feature[some][:-1])
        some = some[first]  # the strongest of each row
        self._offer(best, -value[some], row[some], pos[some], feature[some], value[some], a, batch)
        chance = batch.chance.reshape(-1)[at]
        for name, held in (("shown", False), ("held", True)):
            best = self._best[name, layer]
            of_side = (batch.is_held_out[row] == held) & (chance <= best.worst[feature])
            some = of_side.nonzero()[0]
            self._offer(best, chance[some], row[some], pos[some], feature[some], value[some], a, batch)

    # neurons, which are always active

    def _see_all(self, layer: int, a: Float[Tensor, "row pos feature"], batch: Batch) -> None:
        """Of dense activations: whole arrays first, then the few values that may be among the best."""
        counts = torch.from_numpy(batch.counts)
        n_outside = int((~counts).sum())
        if n_outside:  # the model's own, which must stay as it is
            a = a.clone()
            a[~counts] = 0.0
        flat = a.flatten(0, 1)
        squares, ones = flat.square(), torch.ones(1, len(flat))
        of_squares = (ones @ squares)[0].double().numpy()
        _check_finite(of_squares, layer)
        self.arrays["count"][layer] += batch.n_tokens
        self.arrays["total"][layer] += (ones @ flat)[0].double().numpy()
        self.arrays["squares"][layer] += of_squares
        kept = self.arrays["histogram"][layer]
        offsets = torch.arange(self.sizes.n_features, dtype=torch.int32) * kept.shape[1]
        found = (bins_of(flat, True) + offsets).flatten()
        kept += torch.bincount(found, minlength=kept.size).view(kept.shape).numpy().astype(np.uint32)
        kept[:, kept.shape[1] // 2] -= np.uint32(n_outside)
        values = a.numpy()
        for side in range(2):
            self._strongest(layer, side, a, values, batch)
        self._drawn(layer, squares.view(a.shape), values, batch)

    def _strongest(self, layer: int, side: int, a: Tensor, values: np.ndarray, batch: Batch) -> None:
        """The strongest of each row on one side, where it may be among the strongest of its unit."""
        best, sign = self._best["top", layer], -1.0 if side else 1.0
        strongest = (a.amin(1).neg_() if side else a.amax(1)).numpy()
        row, feature = ((strongest >= -best.worst[side::2]) & (strongest > 0)).nonzero()
        pos = (values[row, :, feature] * sign).argmax(1) if len(row) else row
        value = values[row, pos, feature]
        self._offer(best, -value * sign, row, pos, feature, value, values, batch)

    def _drawn(self, layer: int, squares: Float[Tensor, "row pos feature"], values: np.ndarray, batch: Batch) -> None:
        """Places whose random number, over the square of the activation, is among the least of a unit."""
        for name, held in (("shown", False), ("held", True)):
            rows = (batch.is_held_out == held).nonzero()[0]
            if not len(rows):
                continue
            best = self._best[name, layer]
            worst = np.minimum(best.worst, np.finfo(np.float32).max).reshape(-1, 2)
            some = squares[torch.from_numpy(rows)] if len(rows) < len(squares) else squares
            chance = torch.from_numpy(batch.chance[rows])[..., None]
            # first by the larger bound of both sides, which needs no signs
            among = np.flatnonzero((chance <= some * torch.from_numpy(worst.max(1))).numpy())
            at, feature = np.divmod(among, self.sizes.n_features)
            row, pos = rows[at // squares.shape[1]], at % squares.shape[1]
            value = values[row, pos, feature]
            with np.errstate(divide="ignore", over="ignore"):
                score = batch.chance[row, pos] / np.square(value)
            kept = (score <= worst[feature, (value < 0).astype(np.int64)]) & (value != 0)
            row, pos, feature, value, score = (part[kept] for part in (row, pos, feature, value, score))
            self._offer(best, score, row, pos, feature, value, values, batch)

    def _offer(
        self,
        best: Best,
        score: Float[np.ndarray, " n"],
        row: Int[np.ndarray, " n"],
        pos: Int[np.ndarray, " n"],
        feature: Int[np.ndarray, " n"],
        value: Float[np.ndarray, " n"],
        a: Float[np.ndarray, "row pos feature"],
        batch: Batch,
    ) -> None:
        if not len(row):
            return
        near = self._near
        assert near is not None  # set by begin
        more = {"value": value}
        if "text" in best.more:
            more["text"] = near.text[row, pos]
        if "around" in best.more:
            more["around"] = near.activations(a, row, pos, feature)
        unit = feature * self.sizes.sides + ((value < 0) if self.sizes.is_signed else 0)
        best.offer(unit, score.astype(np.float32), batch.place[row, pos], more)


def _check_finite(squares: Float[np.ndarray, " feature"], layer: int) -> None:
    if not np.isfinite(squares).all():
        raise UsageError(f"activations of layer {layer} are not finite; the model cannot be described on this text")


class _Near:
    """What surrounds each place of a batch, made once for all units that are active there."""

    def __init__(self, batch: Batch) -> None:
        n_rows, width = batch.token_ids.shape
        row, pos = (part.reshape(-1) for part in np.indices((n_rows, width)))
        windows = windows_in(np.where(batch.place < 0, -1, batch.token_ids), row, pos, -1)
        self.text: UInt64[np.ndarray, "row pos"] = text_key(windows).reshape(n_rows, width)
        self._counts = windows_in(batch.counts, row, pos, 0).astype(bool).reshape(n_rows, width, WIDTH)
        self._at = np.clip(np.arange(width)[:, None] + np.arange(-BEFORE, AFTER + 1), 0, width - 1)

    def activations(
        self,
        a: Float[np.ndarray, "row pos feature"],
        row: Int[np.ndarray, " n"],
        pos: Int[np.ndarray, " n"],
        feature: Int[np.ndarray, " n"],
    ) -> Float[np.ndarray, "n width"]:
        """The activations around each place, 0 where none counts."""
        where = (row[:, None] * a.shape[1] + self._at[pos]) * a.shape[2] + feature[:, None]
        return _half(np.where(self._counts[row, pos], a.reshape(-1).take(where), np.float32(0)))


def _half(values: np.ndarray) -> np.ndarray:
    """In half precision, cut where that ends."""
    limit = float(np.finfo(np.float16).max)
    return torch.from_numpy(values).clamp(-limit, limit).half().numpy()
