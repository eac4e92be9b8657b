"""Silverstain beside circuit-tracer: the same weights, prompts and one thread each, in both orders.

circuit-tracer lives in an environment of its own:

    python -m venv runs/circuit-tracer && runs/circuit-tracer/bin/pip install circuit-tracer==0.5.0
    python benchmarks/circuit_tracer/run.py --peer runs/circuit-tracer/bin/python

Writes benchmarks/results/circuit-tracer.json: CPU seconds, peak memory above the loaded model, and how far the edges
between features agree. (Error and token columns are compared on the golden cases, by tests/attribution/test_golden.py.)
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from case import SHAPES, make_case
from safetensors.torch import load_file

HERE = Path(__file__).parent
RESULTS = Path("benchmarks/results/circuit-tracer.json")
ROWS = (  # shape, kind, tokens, features, repeats
    ("small", "per-layer", 32, "all", 3),
    ("small", "cross-layer", 32, "all", 3),
    ("gpt2-small", "per-layer", 8, "all", 1),
    ("gpt2-small", "per-layer", 32, "512", 1),
    ("gpt2-small", "cross-layer", 8, "512", 1),
    ("gpt2-small", "cross-layer", 16, "512", 1),
    ("gpt2-small", "per-layer", 16, "all", 1),
    ("gpt2-small", "cross-layer", 8, "all", 1),
)
BATCH = 64  # circuit-tracer's best on a processor


def once(python: str, script: str, folder: Path, row: tuple, out: Path) -> dict:
    _, kind, tokens, features, repeats = row
    command = [python, str(HERE / script), str(folder), kind, str(tokens), features, str(BATCH), str(repeats), str(out)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    return json.loads(out.with_suffix(".json").read_text())


def agreement(ours: dict, theirs: dict) -> float:
    """‖ours − theirs‖ ÷ ‖theirs‖ over edges between features that both expanded."""
    their_features = {tuple(place): n for n, place in enumerate(theirs["features"].tolist())}
    our_features = {tuple(place): n for n, place in enumerate(ours["features"].tolist())}
    both = sorted(set(their_features) & set(our_features))
    n = len(ours["kinds"])
    dense = torch.sparse_coo_tensor(torch.stack((ours["rows"], ours["columns"])), ours["values"], (n, n)).to_dense()
    mine = torch.tensor([our_features[place] for place in both])
    other = torch.tensor([their_features[place] for place in both])
    left, right = dense[mine][:, mine], theirs["adjacency"][other][:, other]
    return float((left - right).norm() / right.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="Python of the environment with circuit-tracer")
    parser.add_argument("--work", type=Path, default=Path("runs/circuit-tracer-cases"))
    parser.add_argument("--rows", type=int, nargs="*", help="measure only these rows again (0 is the first)")
    options = parser.parse_args()
    wanted = range(len(ROWS)) if options.rows is None else options.rows
    found = [] if options.rows is None else json.loads(RESULTS.read_text())["rows"]
    for index in wanted:
        row = ROWS[index]
        folder = make_case(SHAPES[row[0]], options.work / row[0])
        ours_at, theirs_at = options.work / "ours", options.work / "theirs"
        first = [
            once(sys.executable, "ours.py", folder, row, ours_at),
            once(options.peer, "theirs.py", folder, row, theirs_at),
        ]
        again = [
            once(options.peer, "theirs.py", folder, row, theirs_at),
            once(sys.executable, "ours.py", folder, row, ours_at),
        ]
        ours, theirs = (first[0], again[1]), (first[1], again[0])
        line = {
            "shape": row[0], "kind": row[1], "tokens": row[2], "features": row[3],
            "ours": ours, "theirs": theirs,
            "times_faster": [t["cpu_seconds"] / o["cpu_seconds"] for o, t in zip(ours, theirs, strict=True)],
            "memory_ratio": max(o["peak_bytes"] for o in ours) / max(t["peak_bytes"] for t in theirs),
            "edges_differ": agreement(*(load_file(at.with_suffix(".safetensors")) for at in (ours_at, theirs_at))),
            "share_of_rate": [o["share_of_rate"] for o in ours],
            "load": os.getloadavg()[0],
        }  # fmt: skip
        found[index : index + 1] = [line]
        print(json.dumps({k: v for k, v in line.items() if k not in ("ours", "theirs")}), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            json.dumps({"format": "silverstain.benchmark/1", "peer": "circuit-tracer 0.5.0", "rows": found}, indent=1)
        )


if __name__ == "__main__":
    main()
