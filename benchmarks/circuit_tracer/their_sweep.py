"""Single-feature ablations in circuit-tracer, run by the Python of its own environment.

python their_sweep.py GOLDEN_CASE ATTENTION N OUT
"""

import sys
from pathlib import Path
from time import perf_counter, process_time

import torch
from case import write_result
from safetensors.torch import load_file
from theirs import load


def main() -> None:
    folder, attention, n, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    model = load(folder, "transcoder")
    graph = load_file(folder / "graph.safetensors")
    tokens, features = graph["input_tokens"], graph["active_features"].tolist()
    chosen = [features[i * len(features) // n] for i in range(n)]
    frozen = attention == "frozen"

    def ablated(layer: int, position: int, feature: int) -> torch.Tensor:
        edits = [(layer, position, feature, 0.0)]
        return model.feature_intervention(tokens, edits, freeze_attention=frozen, return_activations=False)[0][0, -1]

    ablated(*chosen[0])
    wall, cpu = perf_counter(), process_time()
    with torch.no_grad():
        logits = torch.stack([ablated(*place) for place in chosen])
    figures = {"wall_seconds": perf_counter() - wall, "cpu_seconds": process_time() - cpu, "n": n}
    write_result(out, figures, {"logits": logits, "chosen": torch.tensor(chosen)})


if __name__ == "__main__":
    main()
