"""Speed and memory of a contrast on a real model, as ratios measured in one run on one thread.

    python benchmarks/contrast_speed.py smollm2-135m

- all contributions (both runs recorded, the flow, one pass down) beside the two plain runs;
- the graph of 500 nodes with all its edges beside one backward pass of autograd a target;
- memory above the loaded model.

    python benchmarks/contrast_speed.py smollm2-135m --tokens 512

One graph with default settings of a plain text of so many tokens with one of them exchanged in the middle: seconds, and
the most memory of the whole process, the model included. It takes minutes.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import contrast, contrast_graph, find_contrast
from silverstain.bases import NeuronBasis
from silverstain.loading import load
from silverstain.models import LanguageModel

BASE = "My friend from Paris told me that the capital of the country France is"
OTHER = "My friend from Paris told me that the capital of the country Spain is"
TIMES, PASSES = 5, 20
TEXT = (
    "The river comes down from the hills in the north and passes the old mill, two bridges and the market before it "
    "reaches the sea. In spring the water is high, and the farmers wait for it to fall before they sow. The road "
    "along the river was built by traders who brought salt, cloth and iron to the villages. "
)
MIDDLE = "My friend was born in {} and moved here as a child. "
QUESTION = "My friend was born in the country whose capital is"
WORDS, ANSWERS = (" France", " Spain"), (" Paris", " Madrid")


def seconds(function: Callable[[], Any], times: int = TIMES) -> float:
    """The median of several calls, after one that is not counted."""
    function()
    found = []
    for _ in range(times):
        start = perf_counter()
        function()
        found.append(perf_counter() - start)
    return median(found)


def one_backward_pass(model: LanguageModel, ids: list[int]) -> Callable[[], Any]:
    """A gradient of one target at every MLP's output, by autograd, the graph kept for the next."""
    embeds = model.hf.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_()
    outputs: list[torch.Tensor] = []
    handles = [
        model.mlp(i).register_forward_hook(lambda *parts: outputs.append(parts[2])) for i in range(model.n_layers)
    ]
    with torch.enable_grad():
        target = model.hf(inputs_embeds=embeds, use_cache=False).logits[0, -1, 0]
    for handle in handles:
        handle.remove()
    return lambda: torch.autograd.grad(target, [embeds, *outputs], retain_graph=True)


def memory(name: str) -> float:
    """What the process holds now (VmRSS), or the most since `forget_peak` (VmHWM), in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def forget_peak() -> None:
    """Let the most memory be counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def long_pair(model: LanguageModel, n_tokens: int) -> tuple[list[int], list[int]]:
    """A plain text of so many tokens, and the same with one token in the middle exchanged."""
    plain, question = model.tokenize(TEXT), model.tokenize(QUESTION)
    around = n_tokens - len(question)
    half = (plain * (around // len(plain) + 1))[: around // 2]
    both = []
    for word in WORDS:
        middle = model.tokenize(MIDDLE.format(word.strip()))
        rest = (plain * (around // len(plain) + 1))[: around - len(half) - len(middle)]
        both.append([*half, *middle, *rest, *question])
    return both[0], both[1]


def long_graph(model: LanguageModel, n_tokens: int) -> dict[str, Any]:
    """Seconds and memory of one graph with default settings."""
    base, other = long_pair(model, n_tokens)
    target = DifferenceTarget(token=ANSWERS[1], minus=ANSWERS[0])
    start = perf_counter()
    graph = contrast(model, NeuronBasis(model), base, other, targets=(target,))
    return {
        "model": model.name,
        "tokens": len(base),
        "changed": graph.meta["contrast"]["changed"],
        "targets": len(graph.row_nodes),
        "exactness": graph.exactness(),
        "seconds": {**graph.meta["seconds"], "total": perf_counter() - start},
        "peak_memory_gb": memory("VmHWM") / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, help="measure one graph of a text of so many tokens")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "contrasts" / "speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.model).model
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.tokens is not None:
        report = long_graph(model, options.tokens)
        write(options.out, known | {f"graph_of_{options.tokens}_tokens": report})
        return
    basis = NeuronBasis(model)
    base, other = model.tokenize(BASE), model.tokenize(OTHER)
    model.logits(torch.tensor([base, other]))
    forget_peak()
    before = memory("VmRSS")
    graph = contrast_graph(find_contrast(model, basis, base, other))
    above = memory("VmHWM") - before
    plain = seconds(lambda: model.logits(torch.tensor([base, other])))
    account = seconds(lambda: find_contrast(model, basis, base, other))
    found = find_contrast(model, basis, base, other)
    edges = seconds(lambda: contrast_graph(found), times=3)
    a_pass = seconds(one_backward_pass(model, base), times=PASSES)
    n_targets = len(graph.row_nodes)
    report = known | {
        "model": model.name,
        "tokens": len(base),
        "targets": n_targets,
        "exactness": graph.exactness(),
        "seconds": {"two_runs": plain, "contributions": account, "graph": edges, "one_backward_pass": a_pass},
        "contributions_to_two_runs": account / plain,
        "backward_passes_to_graph": a_pass * n_targets / edges,
        "memory_above_model_gb": above / 2**30,
    }
    write(options.out, report)


def write(path: Path, report: dict[str, Any]) -> None:
    """To a file, and on the screen."""
    print(json.dumps(report, indent=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
