"""Seconds and bytes of one process."""

import statistics
from collections.abc import Callable
from pathlib import Path
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


def reset_peak() -> int:
    """Let the peak of this process begin again (loading a model may have needed more); the bytes it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most this process has held since `reset_peak`."""
    return _status("VmHWM")


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
