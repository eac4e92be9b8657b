"""Seconds and bytes of one process."""

import resource
import statistics
from collections.abc import Callable
from time import perf_counter, process_time


def measured(work: Callable[[], object], repeats: int) -> tuple[object, dict]:
    """The last result, and the medians of wall and CPU seconds."""
    wall, cpu, result = [], [], None
    for _ in range(repeats):
        result = None  # so that two results never lie in memory at once
        start, start_cpu = perf_counter(), process_time()
        result = work()
        wall.append(perf_counter() - start)
        cpu.append(process_time() - start_cpu)
    return result, {"wall_seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu), "repeats": repeats}


def product_rate(side: int = 768, repeats: int = 30) -> float:
    """Operations a CPU second of this machine's own product of square matrices, the median."""
    import torch

    left, right = torch.randn(side, side), torch.randn(side, side)
    _, seconds = measured(lambda: left @ right, repeats)
    return 2 * side**3 / seconds["cpu_seconds"]


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
