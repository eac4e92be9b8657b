"""How long a trace of a ten-token prompt takes, as a multiple of this machine's own matrix product.

Appends one line of JSON to runs/benchmarks.jsonl: device, versions, median and spread. Nothing is asserted: machines
differ, and a speed claim is a ratio measured in one run (design: why it is fast).

    make bench
"""

import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

import silverstain

PROMPT = "the capital of the state containing dallas is"
REPEATS = 15
SIDE = 512  # of the matrices that the machine is measured by
RESULTS = Path("runs/benchmarks.jsonl")


def seconds_of(work: Callable[[], object]) -> dict[str, float]:
    """Median and quartiles of REPEATS runs, after two that warm up."""
    times = []
    for repeat in range(REPEATS + 2):
        start = perf_counter()
        work()
        if repeat >= 2:
            times.append(perf_counter() - start)
    low, median, high = statistics.quantiles(times, n=4)
    return {"median": median, "low": low, "high": high}


def main() -> None:
    torch.set_num_threads(1)
    loaded = silverstain.load("organism")
    graph = loaded.trace(PROMPT)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    product = seconds_of(lambda: left @ right)
    rows = {"trace": seconds_of(lambda: loaded.trace(PROMPT)), "prune": seconds_of(graph.prune)}
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "silverstain": silverstain.__version__,
        "nodes": graph.n_nodes,
        "edges": graph.n_edges,
        f"product of {SIDE} x {SIDE}": product,
        **rows,
        "ratios": {name: row["median"] / product["median"] for name, row in rows.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result, indent=2))
    print(f"added to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
