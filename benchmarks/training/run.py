"""Silverstain's training step beside open trainers and a dense reference of our own: the same data, shape and rows.

Peers live in an environment of their own, their code in folders beside it:

    python -m venv runs/peers/env
    runs/peers/env/bin/pip install sae-lens==6.54.12 natsort simple-parsing schedulefree
    for peer in eai-sparsify==1.3.3 dictionary-learning==0.1.0 decode-clt==0.0.1; do
        runs/peers/env/bin/pip install --no-deps --target runs/peers/${peer%%=*} $peer; done
    python benchmarks/training/run.py --peers runs/peers

Each trainer runs in a process of its own, all in one order and then in the other; the better of two counts, ours and
theirs alike. Writes benchmarks/results/training.json after every process. `--only ours sparsify` measures these again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from case import SHAPES, Shape, make_case

HERE = Path(__file__).parent
RESULTS = Path("benchmarks/results/training.json")
FORMAT = "silverstain.benchmark/1"


class Trainer(NamedTuple):
    """A script, the kinds it trains, and where a peer's code lies (none: it runs in our own environment)."""

    script: str
    kinds: tuple[str, ...]
    folder: str | None = None
    variant: tuple[str, str] | None = None


BOTH = ("per-layer", "cross-layer")
SMALL = SHAPES["small"]
TRAINERS = {
    "ours": Trainer("ours.py", BOTH),
    "dense reference": Trainer("dense.py", BOTH),
    "sparsify": Trainer("sparsify_peer.py", BOTH[:1], "eai-sparsify"),
    "SAELens topk": Trainer("saelens_peer.py", BOTH[:1], "", ("SAELENS_VARIANT", "topk")),
    "SAELens batchtopk": Trainer("saelens_peer.py", BOTH[:1], "", ("SAELENS_VARIANT", "batchtopk")),
    "dictionary_learning topk": Trainer(
        "dictionary_learning_peer.py", BOTH[:1], "dictionary-learning", ("DICTIONARY_LEARNING_VARIANT", "topk")
    ),
    "dictionary_learning batchtopk": Trainer(
        "dictionary_learning_peer.py", BOTH[:1], "dictionary-learning", ("DICTIONARY_LEARNING_VARIANT", "batchtopk")
    ),
    "crosslayer-coding": Trainer("crosslayer_coding_peer.py", BOTH[1:], "decode-clt"),
    "CLT-Forge stand-in dense": Trainer("clt_forge_standin.py", BOTH, None, ("FORGE_VARIANT", "dense")),
    "CLT-Forge stand-in gather": Trainer("clt_forge_standin.py", BOTH, None, ("FORGE_VARIANT", "gather")),
}
WARM_UP = {"ours": 40}
"""Our thresholds need some steps to settle; the others do the same work from the first step on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder with env/ and the peers' code")
    parser.add_argument("--work", type=Path, default=Path("runs/training-case.safetensors"))
    parser.add_argument("--only", nargs="*", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--features", type=int, nargs="*", default=[1024, 8192])
    parser.add_argument("--rows", type=int, nargs="*", default=[2048])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--orders", type=int, default=2, help="1 runs each trainer once")
    options = parser.parse_args()
    data = make_case(SMALL, options.work)
    cases = [
        (name, kind, features, rows, threads)
        for features in options.features
        for rows in options.rows
        for threads in options.threads
        for name in options.only
        for kind in TRAINERS[name].kinds
    ]
    found = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    measured = {key(row): [] for row in found if key(row) in cases}
    found = [row for row in found if key(row) not in measured]
    for case in [*cases, *reversed(cases)][: options.orders * len(cases)]:
        run = once(case, data, options)
        measured.setdefault(case, []).append(run)
        print(*case, json.dumps({k: run.get(k) for k in ("tokens_per_cpu_second", "tokens_per_second", "failed")}))
        write(found + [summary(case, runs) for case, runs in measured.items() if runs])


def key(row: dict) -> tuple:
    return row["trainer"], row["kind"], row["features"], row["rows"], row["threads"]


def once(case: tuple, data: Path, options: argparse.Namespace) -> dict:
    """One process; what it says of itself, or how it failed."""
    command, environment = process_of(TRAINERS[case[0]], case, SMALL, data, options.peers)
    done = subprocess.run([*command, "--steps", str(options.steps)], env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def process_of(
    trainer: Trainer, case: tuple, shape: Shape, data: Path, peers: Path
) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a trainer's process."""
    name, kind, features, rows, threads = case
    python = sys.executable if trainer.folder is None else str(peers / "env" / "bin" / "python")
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if trainer.folder:
        environment["PYTHONPATH"] = str((peers / trainer.folder).resolve())
    if trainer.variant:
        environment[trainer.variant[0]] = trainer.variant[1]
    command = [
        python, str(HERE / trainer.script), str(data), kind, "--features", str(features), "--rows", str(rows),
        "--k", str(shape.k), "--threads", str(threads), "--warm-up", str(WARM_UP.get(name, 1)),
    ]  # fmt: skip
    return command, environment


def summary(case: tuple, runs: list[dict]) -> dict:
    """The better of the runs, and all of them."""
    name, kind, features, rows, threads = case
    good = [run for run in runs if "failed" not in run]
    row = {"trainer": name, "kind": kind, "features": features, "rows": rows, "threads": threads, "runs": runs}
    if good:
        row["tokens_per_cpu_second"] = max(run["tokens_per_cpu_second"] for run in good)
        row["tokens_per_second"] = max(run["tokens_per_second"] for run in good)
    return row


def operations(kind: str, features: int, *, dense: bool) -> int:
    """Counted operations a token: 2 a multiplication and addition; encode densely, all else dense or on K features."""
    layers, d_model, k = SMALL.n_layers, SMALL.d_model, SMALL.k
    pairs = layers * (layers + 1) // 2 if kind == "cross-layer" else layers
    encode = 2 * layers * d_model * features
    touched = features if dense else k
    encoder_again = 0 if dense else 2 * layers * d_model * k  # the values of what was chosen, with their gradients
    return encode + encoder_again + 2 * layers * d_model * touched + 3 * 2 * pairs * d_model * touched


def add_shares(rows: list[dict]) -> None:
    """The share of the best product rate seen in any run (what the machine can do when it is left alone)."""
    rate = max((run.get("product_rate") or 0 for row in rows for run in row["runs"]), default=0)
    for row in rows:
        if row["trainer"] in ("ours", "dense reference") and row["threads"] == 1 and "tokens_per_cpu_second" in row:
            counted = operations(row["kind"], row["features"], dense=row["trainer"] != "ours")
            row["share_of_rate"] = counted * row["tokens_per_cpu_second"] / rate


def write(rows: list[dict]) -> None:
    add_shares(rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"format": FORMAT, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
