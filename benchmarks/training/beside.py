"""Trainers side by side on a machine that others use: they take turns, a step each, and the steps of a turn compare.

What a CPU second does changes from minute to minute there, by more than what is to be measured; within a turn it hardly
does. One thread; the median over turns of (their CPU seconds ÷ ours), and of our products alone ÷ ours, which says how
much of our step is the dense search that nobody can do without. Writes benchmarks/results/training-beside.json.

    python benchmarks/training/beside.py --peers runs/peers
"""

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

from case import SHAPES, make_case
from run import FORMAT, TRAINERS, Trainer, process_of

from silverstain.training.products import faster_products

RESULTS = Path("benchmarks/results/training-beside.json")
ALL = {**TRAINERS, "products alone": Trainer("product.py", ("per-layer", "cross-layer"))}
ROWS = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--only", nargs="*", choices=ALL, default=["sparsify", "dense reference", "products alone"])
    parser.add_argument("--kind", choices=("per-layer", "cross-layer"), default="per-layer")
    parser.add_argument("--features", type=int, nargs="*", default=[1024, 8192])
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    data = make_case(SHAPES[options.shape], Path(f"runs/training-case-{options.shape}.safetensors"))
    for features in options.features:
        seconds = take_turns(["ours", *options.only], options, features, data)
        row = {
            "shape": options.shape, "kind": options.kind, "features": features, "rows": ROWS, "turns": options.turns,
            "load": os.getloadavg()[0], "products": faster_products(SHAPES[options.shape].d_model),
            "cpu_seconds": seconds, "times_ours": times_ours(seconds),
        }  # fmt: skip
        print(json.dumps(row["times_ours"]))
        write(row)


def take_turns(names: list[str], options: argparse.Namespace, features: int, data: Path) -> dict[str, list[float]]:
    """The CPU seconds of each trainer's step in each turn."""
    processes = {}
    for name in names:
        case = (name, options.kind, features, ROWS, 1)
        command, environment = process_of(ALL[name], case, SHAPES[options.shape], data, options.peers)
        processes[name] = subprocess.Popen(
            [*command, "--paced"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    for process in processes.values():
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None, process.args
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.turns):
        for name, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[name].append(float(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return seconds


def times_ours(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {
        name: statistics.median(theirs / ours for theirs, ours in zip(found, seconds["ours"], strict=True))
        for name, found in seconds.items()
        if name != "ours"
    }


def key(row: dict) -> tuple:
    return row.get("shape", "small"), row["kind"], row["features"]


def write(row: dict) -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    rows = [old for old in rows if key(old) != key(row)] + [row]
    RESULTS.write_text(json.dumps({"format": FORMAT, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
