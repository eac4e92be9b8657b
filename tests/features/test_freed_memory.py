"""Freed memory between small arrays that stay goes back to the system."""

from pathlib import Path

import numpy as np
import pytest

from silverstain.features.freed_memory import _trim, give_back


@pytest.mark.skipif(_trim() is None, reason="the C library has no malloc_trim")
def test_what_was_freed_between_arrays_that_stay_is_given_back():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    kept, freed = [], []
    for _ in range(1000):  # below the size from which arrays have pages of their own
        freed.append(np.ones(100_000, dtype=np.uint8))
        kept.append(np.ones(2_000, dtype=np.uint8))
    freed.clear()
    before = resident()
    give_back()
    assert before - resident() > 50_000_000
    assert all(one.all() for one in kept)
