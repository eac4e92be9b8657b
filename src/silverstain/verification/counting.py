"""Progress of work that goes in steps."""

from collections.abc import Callable


def counting(on_progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    """A function to call after each of `total` steps; it tells (steps done, steps in all)."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    return step
