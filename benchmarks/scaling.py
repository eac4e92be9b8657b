"""How the time of a trace grows: with tokens, with expanded features, with layers. Random models of width 128.

    python benchmarks/scaling.py

Writes benchmarks/results/scaling.json: CPU seconds of one thread, and the exponent of each curve.
"""

import json
import math
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "circuit_tracer"))

from case import Shape, make_case, prompt_of  # noqa: E402

import silverstain  # noqa: E402
from measuring import measured, product_rate  # noqa: E402
from silverstain.bases import open_dictionary  # noqa: E402
from silverstain.models import load_model  # noqa: E402

RESULTS = HERE / "results" / "scaling.json"
WORK = Path("runs/scaling-cases")
TOKENS = (8, 16, 32, 64, 128, 256, 512)
FEATURES = (128, 256, 512, 1024, 2048)
LAYERS = (4, 8, 12, 16, 24)


def seconds_of(n_layers: int, n_tokens: int, n_features: int) -> float:
    shape = Shape(name=f"scaling-{n_layers}", n_layers=n_layers, d_model=128, n_heads=4)
    folder = make_case(shape, WORK / shape.name, kinds=("per-layer",))
    model = load_model(folder / "model", dtype=torch.float32)
    dictionary = open_dictionary(folder / "per-layer")
    prompt = prompt_of(n_tokens)
    _, seconds = measured(lambda: silverstain.trace(model, dictionary, prompt, max_features=n_features), 3)
    return seconds["cpu_seconds"]


def curve(name: str, values: tuple[int, ...], at: dict[str, int]) -> dict:
    points = [(value, seconds_of(**{**at, name: value})) for value in values]
    for value, seconds in points:
        print(f"{name} {value}: {seconds:.2f} s", flush=True)
    (first, last) = points[len(points) // 2], points[-1]
    slope = math.log(last[1] / first[1]) / math.log(last[0] / first[0])
    return {"over": name, "at": at, "points": points, "exponent_of_upper_half": slope}


def main() -> None:
    torch.set_num_threads(1)
    curves = [
        curve("n_tokens", TOKENS, {"n_layers": 12, "n_features": 512}),
        curve("n_features", FEATURES, {"n_layers": 12, "n_tokens": 64}),
        curve("n_layers", LAYERS, {"n_tokens": 64, "n_features": 512}),
    ]
    result = {
        "format": "silverstain.benchmark/1",
        "silverstain": silverstain.__version__,
        "torch": str(torch.__version__),
        "product_rate": product_rate(),
        "load": os.getloadavg()[0],
        "curves": curves,
    }
    RESULTS.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
