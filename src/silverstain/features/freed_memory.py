"""Memory that has been freed and that the allocator keeps, given back to the system.

Describing a basis makes arrays of megabytes for a moment, between small ones that stay. glibc's heap grows around
these: reading SmolLM2's neurons took 12 GB after 820,000 places; after 8,000 a quarter of one was in use, and more than
half of the heap was free.
"""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Give free pages of the heap back, where the C library can."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return None
