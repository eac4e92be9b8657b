"""One trainer in one process: `main` reads the case, makes the trainer, and times its steps.

A trainer is a function `make(case) -> step`; `step(inputs, outputs)`, both [layer, row, d_model], does all that one
optimiser step takes and returns its loss. Time is of whole steps, activations given. The CPU seconds of one thread are
the figure to compare on a machine that others use; wall seconds mean something only where nothing else runs.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import torch
from safetensors.torch import load_file
from torch import Tensor

Step = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is to be trained, on what."""

    inputs: Tensor
    outputs: Tensor
    kind: str
    n_features: int
    rows: int
    k: int

    @property
    def n_layers(self) -> int:
        return self.inputs.shape[0]

    @property
    def d_model(self) -> int:
        return self.inputs.shape[2]


def main(make: Callable[[Case], Step], facts: dict | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("kind", choices=("per-layer", "cross-layer"))
    parser.add_argument("--features", type=int, required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--paced", action="store_true", help="a step for each line read; prints its CPU seconds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = load_file(options.data)
    case = Case(
        inputs=data["inputs"], outputs=data["outputs"], kind=options.kind,
        n_features=options.features, rows=options.rows, k=options.k,
    )  # fmt: skip
    if options.paced:
        time_paced_steps(make(case), case, options.warm_up)
        return
    rate = product_rate() if options.threads == 1 else None
    wall, cpu, losses = time_steps(make(case), case, options.warm_up, options.steps)
    found = {
        "wall_seconds": statistics.median(wall), "best_wall_seconds": min(wall),
        "cpu_seconds": statistics.median(cpu), "best_cpu_seconds": min(cpu),
        "tokens_per_second": case.rows / statistics.median(wall),
        "tokens_per_cpu_second": case.rows / statistics.median(cpu),
        "losses": [losses[0], losses[-1]], "product_rate": rate, "load": os.getloadavg()[0], **(facts or {}),
    }  # fmt: skip
    print(json.dumps(found))


def time_steps(step: Step, case: Case, warm_up: int, steps: int) -> tuple[list[float], list[float], list[float]]:
    """Wall seconds, CPU seconds and losses of `steps` steps after `warm_up` more."""
    wall, cpu, losses = [], [], []
    for n in range(warm_up + steps):
        inputs, outputs = rows_of_step(case, n)
        begun, begun_cpu = perf_counter(), process_time()
        loss = step(inputs, outputs)
        if n >= warm_up:
            wall.append(perf_counter() - begun)
            cpu.append(process_time() - begun_cpu)
            losses.append(float(loss))
    return wall, cpu, losses


def rows_of_step(case: Case, n: int) -> tuple[Tensor, Tensor]:
    start = n * case.rows % (case.inputs.shape[1] - case.rows + 1)
    inputs, outputs = (x[:, start : start + case.rows].contiguous() for x in (case.inputs, case.outputs))
    return inputs, outputs


def time_paced_steps(step: Step, case: Case, warm_up: int) -> None:
    """Steps at the pace of the lines of standard input, so that trainers can take turns; see beside.py."""
    for n in range(warm_up):
        step(*rows_of_step(case, n))
    print("ready", flush=True)
    for n, _ in enumerate(sys.stdin, warm_up):
        inputs, outputs = rows_of_step(case, n)
        begun = process_time()
        step(inputs, outputs)
        print(process_time() - begun, flush=True)


def product_rate(side: int = 768, repeats: int = 15) -> float:
    """Operations a CPU second of this machine's own product of square matrices, the median."""
    left, right = torch.randn(side, side), torch.randn(side, side)
    seconds = []
    for _ in range(repeats):
        begun = process_time()
        left @ right
        seconds.append(process_time() - begun)
    return 2 * side**3 / statistics.median(seconds)
