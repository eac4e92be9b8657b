"""One measurement of Silverstain.

python ours.py CASE_FOLDER per-layer|cross-layer N_TOKENS N_FEATURES|all BATCH REPEATS OUT
"""

import sys
from pathlib import Path

import torch
from case import prompt_of, write_result
from torch.utils.flop_counter import FlopCounterMode

import silverstain
from measuring import measured, peak_bytes, product_rate, reset_peak
from silverstain.bases import open_dictionary
from silverstain.models import load_model


def main() -> None:
    folder, kind, n_tokens, n_features, _, repeats, out = sys.argv[1:]
    torch.set_num_threads(1)
    model = load_model(Path(folder) / "model", dtype=torch.float32)
    dictionary = open_dictionary(Path(folder) / kind)
    prompt = prompt_of(int(n_tokens))
    limit = None if n_features == "all" else int(n_features)
    silverstain.trace(model, dictionary, prompt[:3], max_features=1)  # weights are read when first used
    before = reset_peak()

    def run():
        return silverstain.trace(model, dictionary, prompt, max_features=limit)

    graph, seconds = measured(run, int(repeats))
    peak = peak_bytes() - before
    with FlopCounterMode(display=False) as counted:
        run()
    figures = {
        **seconds, "peak_bytes": peak, "nodes": graph.n_nodes, "edges": graph.n_edges,
        "exactness": graph.exactness(), "operations": counted.get_total_flops(), "product_rate": product_rate(),
    }  # fmt: skip
    figures["share_of_rate"] = figures["operations"] / figures["cpu_seconds"] / figures["product_rate"]
    n = graph.nodes
    features = n.is_kind("feature")
    places = torch.stack((n.layer, n.position, n.feature), 1)[features]
    rows = torch.repeat_interleave(graph.row_nodes, graph.indptr.diff())
    tensors = {
        "features": places,
        "rows": rows,
        "columns": graph.indices.long(),
        "values": graph.values,
        "kinds": n.kind,
    }
    write_result(Path(out), figures, tensors)


if __name__ == "__main__":
    main()
