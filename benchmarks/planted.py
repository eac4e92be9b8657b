"""Known sparse features under superposition: does every kind of dictionary find them again?

    python benchmarks/planted.py                  # all kinds at d = 256 and d = 64, into results/planted.json
    python benchmarks/planted.py --only skip topk # some of them; the others' rows in the file stay

Inputs of two layers are sums of 4 of 512 random directions in 256 dimensions (and of 128 in 64); each feature writes to
its own layer and, cross-layer, to the next. Every dictionary has a quarter more features than were planted. Mixtures
of linear transforms have no features and are left out.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from silverstain.storage import write_json_whole
from silverstain.training import TrainingConfig
from silverstain.training.planting import Planted, recovery, train_on_planted

RESULTS = Path(__file__).parent / "results" / "planted.json"
FORMAT = "silverstain.planted-benchmark/1"
SIZES = {256: 512, 64: 128}
"""Width -> planted features a layer."""
KINDS: dict[str, dict[str, Any]] = {
    "cross-layer, batchtopk": {},
    "per-layer, batchtopk": {"kind": "per-layer"},
    "cross-layer, skip": {"skip": True},
    "cross-layer, reach 2 of 3 layers": {"reach": 2},
    "cross-layer, widths": {"widths": True},
    "cross-layer, topk": {"activation": "topk"},
    "cross-layer, jumprelu, l0": {"activation": "jumprelu", "sparsity_shape": "l0", "sparsity": 0.02},
    "cross-layer, relu, tanh": {"activation": "relu", "sparsity": 0.1},
}


def config_of(settings: dict[str, Any], n_planted: int, steps: int) -> TrainingConfig:
    n_features = n_planted + n_planted // 4
    settings = dict(settings)
    if settings.pop("widths", False):
        settings["widths"] = (n_features // 2,)
    return TrainingConfig(
        n_features=n_features, l0=4.0, steps=steps, rows=512, pool_rows=8192, lr=3e-3, anneal=0.3, end_to_end=None,
        **settings,
    )  # fmt: skip


def measure(name: str, d_model: int, steps: int) -> dict[str, Any]:
    n_planted = SIZES[d_model]
    config = config_of(KINDS[name], n_planted, steps)
    n_layers = 3 if config.reach else 2
    reach = 1 if config.kind == "per-layer" else config.reach or n_layers
    planted = Planted.draw(d_model=d_model, n_features=n_planted, n_active=4, n_layers=n_layers, reach=reach)
    start = time.process_time()
    *_, (_, learner) = train_on_planted(planted, config)
    found = asdict(recovery(planted, learner.weights))
    row = {"d_model": d_model, "n_planted": n_planted, "n_active": 4, "n_layers": n_layers, **found}
    return row | {"cpu_seconds": round(time.process_time() - start, 1), "config": config.to_json()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="kinds whose name contains one of these")
    parser.add_argument("--d", type=int, nargs="*", default=list(SIZES), help="widths")
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for d_model in given.d:
        for name in KINDS:
            if any(part in name for part in given.only):
                row = measure(name, d_model, given.steps)
                print(f"d={d_model} {name}: cosine {row['cosine']:.3f}, F1 {row['f1']:.3f}, NMSE {row['nmse']:.3f}, "
                      f"L0 {row['l0']:.2f}, {row['cpu_seconds']} s", flush=True)  # fmt: skip
                save(f"d={d_model}, {name}", row)


def save(name: str, row: dict[str, Any]) -> None:
    """Add a row to the file, or put it in the place of an older one."""
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
    machine = {"machine": platform.machine(), "torch": str(torch.__version__), "threads": 1}
    write_json_whole(RESULTS, {"format": FORMAT, **machine, "rows": {**rows, name: row}})


if __name__ == "__main__":
    main()
