"""Ctrl-C during long work: held back until the state is whole, so that what is saved can be gone on from."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function given is called: in the middle of a step the state is not whole."""
    pending = False

    def note(_: int, __: object) -> None:
        nonlocal pending
        pending = True

    def check() -> None:
        if pending:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check  # signals reach the main thread alone
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
