"""Running out of memory during a trace: what smaller setting would have fitted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from silverstain.errors import OutOfMemory, is_out_of_memory

COLUMNS_HELD, VALUES_HELD = 4, 3
"""An edge is held this many times over as a number of 4 bytes, and as a value, when rows are joined (8.3 million edges
with 4-byte values: 30 bytes each)."""
SPARED = 0.7
"""Share of the free memory that a suggestion may count on."""


@contextmanager
def saying_what_fits(
    *, n_features: int, n_others: int, n_targets: int, itemsize: int, device: torch.device
) -> Iterator[None]:
    """Turn running out of memory into OutOfMemory with a number of features that would fit.

    `n_features` were to get rows, beside `n_targets`, over themselves and `n_others` other sources.
    """
    free = free_bytes(device)  # before anything is made: afterwards the failed tensors are still there
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fits = most_features(SPARED * free, n_features=n_features, n_others=n_others, itemsize=itemsize)
        fits = min(fits, n_features // 2)  # the estimate may be wrong; what was tried surely did not fit
        advice = f"max_features={fits} (--max-features {fits}) should fit" if fits else "shorten the prompt"
        raise OutOfMemory(
            f"out of memory: rows for {n_features} features and {n_targets} targets do not fit in the "
            f"{free / 1e9:.1f} GB that were free; {advice}"
        ) from error


def bytes_of_rows(n_rows: int, n_columns: int, itemsize: int) -> int:
    """What rows take at most while they are made: about half of all edges run upwards."""
    return (4 * COLUMNS_HELD + itemsize * VALUES_HELD) * n_rows * n_columns // 2


def most_features(room: float, *, n_features: int, n_others: int, itemsize: int) -> int:
    """The largest number of expanded features whose rows take no more than `room` bytes."""
    low, high = 0, n_features
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_of_rows(middle, middle + n_others, itemsize) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))  # with what caches would give back
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
