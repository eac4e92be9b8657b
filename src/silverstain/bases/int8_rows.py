"""Rows stored as whole numbers of eight bits with one scale a row: a quarter of the bytes of float32.

A value is its number times the scale of its row, where a row is what lies along the last axis: a feature's encoder
row, what it writes to one layer, in older sets an output of a skip. The scale is the largest size in the row / 127,
kept to 17 significant bits. A product of these with the seven bits of a number is exact in float32, so that what is
read is the same wherever it is multiplied out, and storing it again gives the same bytes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from silverstain.bases.lazy import Lazy, Rows, gathered
from silverstain.errors import UsageError

KEYS = ("W_enc", "W_dec", "W_skip")
"""What may be stored so. Biases and thresholds are one value a row, and stay float32."""
WRITTEN = ("W_enc", "W_dec")
"""What we store so. A skip reads inputs of very different sizes (a norm's gain may be a thousandth of another's), with
weights as different along each row, of which one scale keeps the largest alone; it is stored as bfloat16."""
NUMBERS, SCALE = ".int8", ".scale"
"""What follows a tensor's name in the file. Under the bare name other programs would take the numbers for weights."""
LARGEST = 127
SMALLEST = torch.finfo(torch.float32).tiny
"""The least scale, that of a row of zeros too."""
DROPPED_BITS = 7
"""Of a scale's 24 significant bits: as many as a number has."""


class Int8Rows(NamedTuple):
    """A tensor as it is stored."""

    numbers: Int8[Tensor, "*row d"]
    scales: Float[Tensor, "*row"]


def rounded(values: Float[Tensor, "*row d"]) -> Int8Rows:
    """The nearest numbers; scales are not finite where a value is not, or is too large for float32."""
    least, most = torch.aminmax(values, dim=-1)
    exact = torch.maximum(-least, most).to(torch.float32) / LARGEST
    half, mask = 1 << (DROPPED_BITS - 1), -1 << DROPPED_BITS
    scales = ((exact.view(torch.int32) + half) & mask).view(torch.float32).clamp_min(SMALLEST)
    wide = torch.promote_types(values.dtype, torch.float32)
    return Int8Rows((values.to(wide) / scales.to(wide).unsqueeze(-1)).round_().to(torch.int8), scales)


def multiplied_out(stored: Int8Rows) -> Float[Tensor, "*row d"]:
    """What the stored rows stand for, exactly."""
    return stored.numbers.to(torch.float32).mul_(stored.scales.unsqueeze(-1))


def is_stored_so(tensors: Mapping[str, Tensor], name: str) -> bool:
    """Whether a file has the rows of this tensor as int8."""
    return name + NUMBERS in tensors


def lazy_rows(tensors: Mapping[str, Tensor], name: str, where: str) -> Lazy:
    """A tensor of a mapped file, multiplied out by row as it is read; UsageError where its numbers and scales do not go
    together, and, when they are read, for scales that are no numbers above 0."""
    stored = _checked(tensors, name, where)

    def read(rows: Rows) -> Tensor:
        some = stored if rows is None else Int8Rows(*(gathered(tensor, rows) for tensor in stored))
        _check_scales(some.scales, name, where)
        return multiplied_out(some)

    return Lazy(tuple(stored.numbers.shape), torch.int8, read, where)


def _checked(tensors: Mapping[str, Tensor], name: str, where: str) -> Int8Rows:
    if name in tensors:
        raise UsageError(f"{where} has {name} twice, as it is and as int8 rows ({name}{NUMBERS}); fetch it again")
    if name + SCALE not in tensors:
        raise UsageError(
            f"{where} has {name}{NUMBERS} and no {name}{SCALE}: numbers of eight bits mean nothing without the scales "
            f"of their rows; fetch it again"
        )
    numbers, scales = tensors[name + NUMBERS], tensors[name + SCALE]
    for suffix, tensor, wanted in ((NUMBERS, numbers, torch.int8), (SCALE, scales, torch.float32)):
        if tensor.dtype != wanted:
            seen, needed = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, wanted))
            raise UsageError(f"{where}: {name}{suffix} is stored as {seen}, {needed} needed; fetch it again")
    if not numbers.ndim or scales.shape != numbers.shape[:-1]:
        raise UsageError(
            f"{where}: {name}{SCALE} has shape {list(scales.shape)}, and {name}{NUMBERS} {list(numbers.shape)}: one "
            f"scale a row is needed; fetch it again"
        )
    return Int8Rows(numbers, scales)


def _check_scales(scales: Tensor, name: str, where: str) -> None:
    bad = ~(scales.isfinite() & (scales > 0))
    if bad.any():
        raise UsageError(
            f"{name}{SCALE} in {where} is damaged: {int(bad.sum())} of its values are not above 0 and finite, the "
            f"first is {float(scales[bad][0]):.3g}; fetch the dictionary again, or convert it anew"
        )
