"""A short command starts sooner: the garbage collector does not walk over what is being imported.

Measured on `import torch, silverstain.graphs`, six runs each way: 2.9 s of CPU instead of 3.3 s.
"""

import gc

RARELY = 100_000
"""New objects between two walks; imports alone make 600,000."""


def collect_rarely() -> None:
    """Walk over the objects that a process has after every 100,000 new ones."""
    gc.set_threshold(RARELY, 20, 20)


def collect_as_usual() -> None:
    """As Python does by itself, but for what was imported, which stays: to be called when all is loaded."""
    if gc.get_threshold()[0] == RARELY:
        gc.freeze()
        gc.set_threshold(700, 10, 10)
