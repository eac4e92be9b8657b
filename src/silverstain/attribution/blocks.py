"""Writes whose columns follow each other, found once so that their products are added as blocks.

Features stand in the order of nodes, by layer and position, and so do writes: what features write at one place goes to
a few runs of neighbouring columns. The few writes beside them (an error, a bias) are taken for all positions at once.
Where a budget gathers what many features write in few columns there are no such runs.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

SHORTEST = 4
"""Shorter runs are no blocks."""
MOST_SINGLE = 8
"""Where a position has more writes outside of blocks than this, blocks are not worth it."""


class Block(NamedTuple):
    """The writes start, …, stop − 1, whose columns follow each other from `column` on."""

    start: int
    stop: int
    column: int


class Blocks(NamedTuple):
    """All writes of one layer, as blocks and what is beside them."""

    at: tuple[tuple[Block, ...], ...]
    """The blocks of each position."""
    single: Int[Tensor, "pos some"]
    """The writes at each position that are in no block, filled up with −1."""


def blocks_of(columns: Int[Tensor, " write"], bounds: tuple[int, ...]) -> Blocks | None:
    """The blocks of writes sorted by position, those at p being `bounds[p] : bounds[p + 1]`; None if too few are."""
    at, single = [], []
    listed = columns.tolist()
    for first, last in pairwise(bounds):
        breaks = [i for i in range(first + 1, last) if listed[i] != listed[i - 1] + 1]
        runs = [run for run in pairwise([first, *breaks, last]) if run[0] < run[1]]
        at.append(tuple(Block(*run, listed[run[0]]) for run in runs if run[1] - run[0] >= SHORTEST))
        single.append([i for run in runs if run[1] - run[0] < SHORTEST for i in range(*run)])
        if len(single[-1]) > MOST_SINGLE:
            return None
    widest = max(map(len, single), default=0)
    filled = [[*some, *[-1] * (widest - len(some))] for some in single]
    return Blocks(tuple(at), torch.tensor(filled, dtype=torch.long, device=columns.device).view(len(at), widest))
