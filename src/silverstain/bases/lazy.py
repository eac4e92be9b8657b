"""A tensor that is described now and read when it is asked for, by row: what every reader of a format makes.

Files are mapped into memory, so a view of one (transposed, sliced) costs nothing until its rows are touched. What a
format keeps beside its weights (norms, logarithms, shards) is applied to the rows that are read, never to a whole set.
"""

import ctypes
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from jaxtyping import Int
from torch import Tensor

from silverstain.errors import UsageError

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored in. Eight bits mean nothing without scales, which each library keeps in its own way; ours
is `int8_rows`."""
LARGE = 1 << 26
"""Bytes from which on a file is read by row without reading ahead."""

Rows = Int[Tensor, " k"] | None
"""Rows of the first axis to read, or None for all of them."""


@dataclass(frozen=True)
class Lazy:
    """A tensor of known shape and stored type, read by row."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[Rows], Tensor]
    where: str
    """The file, for errors."""

    @property
    def read_dtype(self) -> torch.dtype:
        """The type that reading gives: int8 rows are multiplied out."""
        return torch.float32 if self.dtype == torch.int8 else self.dtype

    @property
    def read_bytes(self) -> int:
        """What the whole takes in memory once it is read."""
        return torch.Size(self.shape).numel() * self.read_dtype.itemsize

    @staticmethod
    def of(tensor: Tensor, where: str) -> "Lazy":
        """A mapped tensor, or a view of one; UsageError for a type that weights are not stored in."""
        check_type(tensor.dtype, f"a tensor of shape {list(tensor.shape)}", where)
        return Lazy(
            tuple(tensor.shape), tensor.dtype, lambda rows: tensor if rows is None else gathered(tensor, rows), where
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> "Lazy":
        """Apply a function of single rows, in float32 (or float64) whatever is stored."""
        wide = _wide(self.dtype)
        return replace(self, dtype=wide, read=lambda rows: change(self.read(rows).to(wide)))

    def times(self, factor: "Tensor | float") -> "Lazy":
        """The same factor for every row; it may differ along the other axes."""
        if isinstance(factor, Tensor) and not _spreads_to(factor.shape, self.shape[1:]):
            raise _unequal(self.where, self.shape, tuple(factor.shape))
        return self.map(lambda tensor: tensor * factor)

    def times_rows(self, factors: "Lazy") -> "Lazy":
        """A factor [row] for each row, itself lazy."""
        wide = _wide(self.dtype)
        if factors.shape != self.shape[:1]:
            raise _unequal(self.where, self.shape, factors.shape)

        def read(rows: Rows) -> Tensor:
            tensor = self.read(rows).to(wide)
            return tensor * factors.read(rows).to(wide).reshape(-1, *[1] * (tensor.ndim - 1))

        return replace(self, dtype=wide, read=read)

    def once(self) -> "Lazy":
        """Read at most once, and kept: for what is small or dear to compute."""
        kept: list[Tensor] = []

        def read(rows: Rows) -> Tensor:
            if not kept:
                kept.append(self.read(None))
            return kept[0] if rows is None else kept[0][rows.cpu()]

        return replace(self, read=read)


def stacked(parts: Sequence[Lazy]) -> Lazy:
    """Tensors [row, …] side by side along a new second axis: [row, part, …]."""
    first = parts[0]
    _check_equal(parts, [part.shape for part in parts])
    return Lazy(
        (first.shape[0], len(parts), *first.shape[1:]),
        _widest(parts),
        lambda rows: torch.stack([part.read(rows) for part in parts], dim=1),
        first.where,
    )


def joined(parts: Sequence[Lazy]) -> Lazy:
    """Shards of the first axis, one after the other; only shards that hold a row asked for are read."""
    if len(parts) == 1:
        return parts[0]
    _check_equal(parts, [part.shape[1:] for part in parts])
    sizes = [part.shape[0] for part in parts]
    ends = torch.tensor(sizes).cumsum(0)

    def read(rows: Rows) -> Tensor:
        if rows is None:
            return torch.cat([part.read(None) for part in parts])
        shard = torch.bucketize(rows.cpu(), ends, right=True)
        out = torch.empty(len(rows), *parts[0].shape[1:], dtype=_widest(parts))
        for i, part in enumerate(parts):
            here = shard == i
            if here.any():
                out[here] = part.read(rows.cpu()[here] - int(ends[i]) + sizes[i]).to(out.dtype)
        return out

    return Lazy((sum(sizes), *parts[0].shape[1:]), _widest(parts), read, parts[0].where)


def summed(parts: Sequence[Lazy]) -> Lazy:
    """The sum of tensors of one shape."""
    first = parts[0]
    _check_equal(parts, [part.shape for part in parts])
    wide = _wide(_widest(parts))
    return replace(first, dtype=wide, read=lambda rows: sum((p.read(rows).to(wide) for p in parts), torch.zeros(())))


def applied(matrix: Lazy, vector: Tensor) -> Lazy:
    """matrix @ vector [row], computed once, in float64, when it is needed."""
    if matrix.shape[1:] != tuple(vector.shape):
        raise _unequal(matrix.where, matrix.shape, tuple(vector.shape))
    dtype = _wide(matrix.dtype)
    return Lazy(
        matrix.shape[:1], dtype, lambda rows: (matrix.read(rows).double() @ vector.double()).to(dtype), matrix.where
    ).once()


def check_type(dtype: torch.dtype, what: str, where: str) -> None:
    """UsageError for a type that weights are not stored in."""
    if dtype not in TYPES:
        raise UsageError(
            f"{where} has {what} stored as {str(dtype).removeprefix('torch.')}; weights are read as float16, bfloat16, "
            f"float32 or float64, convert the file to one of them first"
        )


def _spreads_to(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a tensor of one shape can be spread over another."""
    ends = zip(reversed(one), reversed(other), strict=False)
    return len(one) <= len(other) and all(size in (1, wanted) for size, wanted in ends)


def _check_equal(parts: Sequence[Lazy], shapes: Sequence[tuple[int, ...]]) -> None:
    for part, shape in zip(parts, shapes, strict=True):
        if shape != shapes[0]:
            raise _unequal(part.where, part.shape, parts[0].shape)


def _unequal(where: str, one: tuple[int, ...], other: tuple[int, ...]) -> UsageError:
    return UsageError(
        f"{where} has tensors that do not go together, of shapes {list(one)} and {list(other)}; fetch it again"
    )


def gathered(tensor: Tensor, rows: Tensor) -> Tensor:
    """Rows of a mapped tensor. A large one is told not to read ahead meanwhile: 100 rows of 8 kB in a cold file of
    1 GB took 1.30 s with reading ahead and 0.18 s without."""
    size = tensor.untyped_storage().nbytes()
    if size < LARGE or not hasattr(mmap, "MADV_RANDOM"):
        return _taken(tensor, rows)
    address, advise = ctypes.c_void_p(tensor.untyped_storage().data_ptr() & -mmap.PAGESIZE), ctypes.CDLL(None).madvise
    advise(address, ctypes.c_size_t(size), mmap.MADV_RANDOM)  # only advice: where it fails, nothing is lost
    try:
        return _taken(tensor, rows)
    finally:
        advise(address, ctypes.c_size_t(size), mmap.MADV_NORMAL)


def _taken(tensor: Tensor, rows: Tensor) -> Tensor:
    # where rows lie together, 400 of 576 values take a quarter of the time by index_select (float32), a tenth (int8)
    return tensor.index_select(0, rows.cpu()) if tensor.is_contiguous() else tensor[rows.cpu()]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _widest(parts: Sequence[Lazy]) -> torch.dtype:
    return reduce(torch.promote_types, (part.read_dtype for part in parts))
