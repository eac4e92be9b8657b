"""A graph of a prompt of 2,000 tokens, traced, pruned and saved: time and peak memory of the whole process.

    python benchmarks/long_prompt.py [--tokens 2000] [--features 4096] [--width 256]

Random weights, 12 layers, about 32 active features a token and layer. Writes benchmarks/results/long-prompt.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "circuit_tracer"))

from case import Shape, make_case, prompt_of  # noqa: E402

import silverstain  # noqa: E402
from measuring import peak_bytes, product_rate  # noqa: E402
from silverstain.bases import open_dictionary  # noqa: E402
from silverstain.models import load_model  # noqa: E402

RESULTS = HERE / "results" / "long-prompt.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape(
        name=f"long-{options.width}", n_layers=12, d_model=options.width, n_heads=max(4, options.width // 64),
        n_context=2048,
    )  # fmt: skip
    folder = make_case(shape, Path("runs/long-cases") / shape.name, kinds=("per-layer",))
    model = load_model(folder / "model", dtype=torch.float32)
    dictionary = open_dictionary(folder / "per-layer")
    loaded, start, start_cpu = peak_bytes(), perf_counter(), process_time()
    with tempfile.TemporaryDirectory() as out:
        graph = silverstain.trace(
            model, dictionary, prompt_of(options.tokens), max_features=options.features,
            on_progress=lambda done, total: print(f"\r{done} of {total} rows", end="", file=sys.stderr),
        )  # fmt: skip
        pruned = graph.prune()
        path = Path(out) / "graph.safetensors"
        pruned.save(path)
        size = path.stat().st_size
    result = {
        "format": "silverstain.benchmark/1", "silverstain": silverstain.__version__, "torch": str(torch.__version__),
        "shape": {"layers": 12, "width": options.width, "heads": shape.n_heads}, "tokens": options.tokens,
        "active_features": graph.meta["active_features"], "expanded": options.features, "nodes": graph.n_nodes,
        "edges": graph.n_edges, "exactness": graph.exactness(), "unexplained": graph.meta["unexplained_influence"],
        "wall_seconds": perf_counter() - start, "cpu_seconds": process_time() - start_cpu, "file_bytes": size,
        "peak_bytes_of_process": peak_bytes(), "peak_bytes_loaded": loaded, "product_rate": product_rate(),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
