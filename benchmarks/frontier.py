"""Cross-layer and per-layer dictionaries of the organism at equal parameters, over the number of active features.

    python benchmarks/frontier.py --out runs/frontier    # into results/frontier.json and docs/frontier.png

Both kinds read the same sentences in the same order and have the same steps; the per-layer one gets as many more
features as give it the parameters of the other. Runs are short: what is compared is kinds, not what either can reach.
What is trained already is only measured, so the same command goes on after an interruption.
"""

import argparse
import dataclasses
import platform
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from silverstain.evaluation.frontier import at_equal_parameters, sweep
from silverstain.evaluation.plots import FrontierPoint, draw_frontier
from silverstain.organism import load_organism_model
from silverstain.organism.corpus import evaluation_batches, training_batches
from silverstain.organism.prompts import graph_prompts
from silverstain.organism.siblings import siblings
from silverstain.storage import write_json_whole
from silverstain.training import TrainingConfig
from silverstain.training.planning import count_parameters

ROOT = Path(__file__).parent
RESULTS, PICTURE = ROOT / "results" / "frontier.json", ROOT.parent / "docs" / "frontier.png"
FORMAT = "silverstain.frontier-benchmark/1"
SPARSITIES = (6, 10, 16)
FEATURES = 768
"""A layer, of the cross-layer dictionaries."""
SENTENCES, PROMPTS = 60, 4
"""A family: sentences measured on, half of them held-out combinations, and prompts traced."""


def measure(out: Path, steps: int, finetune_steps: int) -> dict[str, Any]:
    model, families = load_organism_model("general"), siblings()["general"].families()
    cross = TrainingConfig(
        n_features=FEATURES, steps=steps, rows=1024, pool_rows=65536, finetune_steps=finetune_steps, seed=0
    )
    configs = [cross, at_equal_parameters(model, cross, dataclasses.replace(cross, kind="per-layer"))]

    def tell(point: FrontierPoint) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in point.figures.items())
        print(f"{point.series} at {point.aim:g}: L0 {point.l0:.2f}, {figures}", flush=True)

    found = sweep(
        model, lambda: training_batches(families, seed=0), evaluation_batches(families, n=SENTENCES), configs,
        SPARSITIES, out, prompts=graph_prompts(families, n=PROMPTS), on_point=tell,
        data={"model_hash": model.hash, "text": None, "seed": 0},
    )  # fmt: skip
    draw_frontier(found.points, PICTURE, references=found.references)
    Image.open(PICTURE).quantize(32).save(PICTURE, optimize=True)  # lines and words need no more: a third of the bytes
    return {
        "kinds": [
            {"kind": config.kind, "n_features": config.n_features, "parameters": count_parameters(model, config),
             "config": config.to_json()} for config in configs
        ],
        "sentences_a_family": SENTENCES, "prompts_a_family": PROMPTS,
        "references": dict(found.references), "points": [dataclasses.asdict(point) for point in found.points],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT.parent / "runs" / "frontier")
    parser.add_argument("--steps", type=int, default=250, help="of reconstruction")
    parser.add_argument("--finetune-steps", type=int, default=80, help="of the second phase")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(given.out, given.steps, given.finetune_steps)
    machine = {"machine": platform.machine(), "torch": str(torch.__version__), "threads": 1}
    write_json_whole(RESULTS, {"format": FORMAT, **machine, **found})


if __name__ == "__main__":
    main()
