"""Histograms with bins that are the same for every unit: four an octave of the activation, on both sides of 0.

A bin is read off the bits of a float32, so counting costs little. From the bins come percentiles, with an error of at
most the width of a bin, a fifth of the value.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

LOWEST, HIGHEST = -16, 16
"""Powers of two; what is larger is counted in the outermost bins, and without signs what is smaller in the first."""
AN_OCTAVE = 4
SIDE = (HIGHEST - LOWEST) * AN_OCTAVE
"""Bins of one side."""
_SHIFT = 21
_FIRST = (LOWEST + 127) * AN_OCTAVE


def n_bins(is_signed: bool) -> int:
    """Bins in all: one side, or negative ones, what is smaller than all bounds, and positive ones."""
    return 2 * SIDE + 1 if is_signed else SIDE


def bins_of(values: Float[Tensor, "*any"], is_signed: bool) -> Int[Tensor, "*any"]:
    """The bin of each value, rising with it. Without signs, values are above 0."""
    bits = values.contiguous().view(torch.int32)
    at = (bits & 0x7FFFFFFF).bitwise_right_shift_(_SHIFT)
    if not is_signed:
        return at.sub_(_FIRST).clamp_(0, SIDE - 1)
    at.sub_(_FIRST - 1).clamp_(0, SIDE)  # 0: below the smallest bound
    sign = bits >> 31  # 0, or -1 of what is negative
    return at.bitwise_xor_(sign).sub_(sign).add_(SIDE)


@lru_cache
def edges(is_signed: bool) -> Float[np.ndarray, " edge"]:
    """The bounds of the bins, one more than there are bins."""
    side = 2.0 ** (LOWEST + np.arange(SIDE) // AN_OCTAVE) * (1 + np.arange(SIDE) % AN_OCTAVE / AN_OCTAVE)
    side = np.append(side, 2.0**HIGHEST)
    if not is_signed:
        return side
    return np.concatenate([-side[::-1], side])  # the middle bin, of 0, lies between the smallest of both sides


def percentile(counts: Integer[np.ndarray, " bin"], value: float, is_signed: bool) -> float:
    """The share of counted values that are below this one, in per cent; within its bin as if they lay evenly."""
    return float(percentiles(counts, np.array([value]), is_signed)[0])


def percentiles(
    counts: Integer[np.ndarray, " bin"], values: Float[np.ndarray, " value"], is_signed: bool
) -> Float[np.ndarray, " value"]:
    """The same of many values; not a number where nothing was counted."""
    below = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)])
    if not below[-1]:
        return np.full(len(values), np.nan)
    return 100 * np.interp(values, edges(is_signed), below) / below[-1]


def quantiles(
    counts: Integer[np.ndarray, " bin"], shares: Float[np.ndarray, " share"], is_signed: bool
) -> Float[np.ndarray, " share"]:
    """The values below which these shares of all lie; within a bin as if they lay evenly."""
    bounds, total = edges(is_signed), counts.sum()
    if not total:
        return np.full(len(shares), np.nan)
    below = np.concatenate([[0], np.cumsum(counts)])
    wanted = np.clip(np.asarray(shares), 0, 1) * total
    at = np.clip(np.searchsorted(below, np.maximum(wanted, 1e-9), side="left"), 1, len(below) - 1)
    step = np.maximum(below[at] - below[at - 1], 1)
    return bounds[at - 1] + (wanted - below[at - 1]) / step * (bounds[at] - bounds[at - 1])
