"""A short command starts sooner: parts of torch that it never needs are loaded when they are first used, if ever, and
the garbage collector does not walk over what is being imported.

Measured on `silverstain show`: importing torch took 2.4 s of CPU, of which 0.8 s went into registering kernels for
tensors without data, `torch.export` and quantisation.
"""

import gc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LATE = (
    "torch._meta_registrations", "torch.distributed._meta_registrations", "torch.export", "torch.testing",
    "torch.quantization", "torch.nn.intrinsic", "torch.nn.qat", "torch.nn.quantizable", "torch.nn.quantized",
    "torch.masked", "torch._lobpcg", "torch._torch_docs", "torch._tensor_docs", "torch._storage_docs",
    "torch._size_docs", "torch.hub", "torch.profiler",
)  # fmt: skip
"""Modules that torch imports and that reading, pruning and drawing a graph do not use."""


class _LateFinder:
    """Finds the modules of LATE, each once, and puts off running them until something of theirs is asked for."""

    def __init__(self) -> None:
        self._waiting = set(LATE)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._waiting:
            return None
        self._waiting.discard(name)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def load_late() -> None:
    """From here on, load what LATE names only when it is used: for a process that neither trains nor loads models."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _LateFinder())


def collect_rarely() -> None:
    """Walk over the objects that a process has after every 100,000 new ones: imports alone make 600,000."""
    gc.set_threshold(100_000, 20, 20)


def collect_as_usual() -> None:
    """As Python does by itself, but for what was imported, which stays: to be called when all is loaded."""
    if gc.get_threshold()[0] == 100_000:
        gc.freeze()
        gc.set_threshold(700, 10, 10)
