"""How fast cards are made, in how much room, and how well their labels stand tests on contexts held out.

    python -m benchmarks.cards organism [--tokens 1000000]    speed, memory, labels of features with influence
    python -m benchmarks.cards neurons --model smollm2-135m --text FILE --tokens 20000

Results go to benchmarks/results/cards-*.json. Labels are made and tested on rows that are told apart by a hash of their
tokens; the text is drawn with a seed that nothing was chosen on.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import silverstain
from silverstain.bases import Dictionary
from silverstain.cli.feature_texts import rows_to_describe
from silverstain.cli.text_options import TextOptions
from silverstain.features.assembling import CardSettings, assemble
from silverstain.features.naming import label_cards
from silverstain.features.streaming import stream

RESULTS = Path(__file__).parent / "results"
SEED = 1707


def made(model: Any, basis: Any, reading: TextOptions, tokens: int, seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """Cards without neighbours, what they were made from, and the time of each step, in seconds of the processor (the
    machine is shared) and of the wall."""
    rows, about = rows_to_describe(model, reading, tokens=tokens, seed=seed)
    start, wall = time.process_time(), time.perf_counter()
    seen = stream(model, basis, rows, n_tokens=tokens)
    read, read_wall = time.process_time() - start, time.perf_counter() - wall
    start = time.process_time()
    cards = assemble(seen, model, basis, settings=CardSettings(near=0, drivers=False, nearest=False), meta=about)
    assembled = time.process_time() - start
    start = time.process_time()
    cards = label_cards(cards, seen, model, basis)
    return cards, seen, {
        "places": seen.text.n_places,
        "seconds_cpu": {"read": read, "assemble": assembled, "label": time.process_time() - start},
        "seconds_wall_read": read_wall,
        "tokens_per_cpu_second": seen.text.n_places / read,
        "tokens_per_wall_second": seen.text.n_places / read_wall,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "state_gb": seen.tally.sizes.n_bytes / 1e9,
    }  # fmt: skip


def label_figures(cards: Any, chosen: set[tuple[int, int]] | None = None) -> dict[str, Any]:
    """What the first labels score, of all features or of chosen ones; those without a label or a test are counted."""
    entries: list[dict[str, Any]] = []
    n, unlabelled, untested = 0, 0, 0
    layers, features = (cards.table[name].to_pylist() for name in ("layer", "feature"))
    for layer, feature, labels in zip(layers, features, cards.table["labels"].to_pylist(), strict=True):
        if chosen is not None and (layer, feature) not in chosen:
            continue
        n += 1
        unlabelled += not labels
        if labels:
            untested += labels[0]["score"] is None
            entries.append(json.loads(labels[0]["scores"]))
    figures: dict[str, Any] = {"features": n, "without_label": unlabelled, "too_few_contexts_to_test": untested}
    for name in ("detection", "contrast", "fuzzing", "intruder", "precision", "recall"):
        values = [entry[name] for entry in entries if entry.get(name) is not None]
        if values:
            figures[name] = {"mean": float(np.mean(values)), "median": float(np.median(values)), "n": len(values)}
    counted = [entry["detection"] for entry in entries if entry.get("detection") is not None]
    known = n - untested
    if known:  # a feature without any label is a guess
        figures["detection_unlabelled_as_half"] = float((sum(counted) + 0.5 * (known - len(counted))) / known)
    return figures


def written_label_figures(cards: Any) -> dict[str, Any]:
    """Detection of labels made from written tokens, wherever they stand."""
    values = [
        label["score"]
        for labels in cards.table["labels"].to_pylist()
        for label in labels or ()
        if label["kind"] == "writes" and label["score"] is not None
    ]
    return {"labels": len(values), "detection": float(np.mean(values)) if values else None}


def influential(loaded: Any, n: int, share: float) -> set[tuple[int, int]]:
    """Features that carry at least this share of influence in one of n prompts of the organism."""
    from silverstain.graphs import influence
    from silverstain.organism.prompts import graph_prompts
    from silverstain.organism.siblings import sibling_of

    sibling = sibling_of(loaded.model.name)
    assert sibling is not None
    families = sibling.families()
    found: set[tuple[int, int]] = set()
    for _, prompt in graph_prompts(families, n=max(1, n // len(families)), seed=SEED):
        graph = loaded.trace(prompt)
        reached, is_feature = influence(graph), graph.nodes.is_kind("feature")
        strong = (is_feature & (reached >= share * float(reached[is_feature].sum()))).nonzero().flatten().tolist()
        found |= {(int(graph.nodes.layer[i]), int(graph.nodes.feature[i])) for i in strong}
    return found


def with_random_decoder(basis: Dictionary) -> Dictionary:
    """The same features, writing random rows of the same lengths."""

    def rows(layer: int, features: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(layer)
        every = torch.randn(basis.n_features, *own.shape[1:], generator=generator)[features]
        return every * own.norm(dim=-1, keepdim=True) / every.norm(dim=-1, keepdim=True)

    return basis.with_decoder(rows)


def with_random_readers(basis: Dictionary, model: Any) -> Dictionary:
    """Features that read random directions, each active as often as the real one of its number (by a threshold)."""
    from silverstain.features.visiting import visit_layers

    generator = torch.Generator().manual_seed(0)
    layers = range(basis.n_layers)
    W_enc = [torch.randn(basis.n_features, basis.d_model, generator=generator) for _ in layers]
    zeros = torch.zeros(basis.n_features)
    given = {"W_dec": [basis.W_dec(layer) for layer in layers], "b_dec": list(basis.b_dec)}
    plain = Dictionary.from_tensors(W_enc=W_enc, b_enc=[zeros] * len(layers), **given)
    rows, _ = rows_to_describe(model, TextOptions(), tokens=2000, seed=SEED + 1)
    real: list[list[torch.Tensor]] = [[] for _ in layers]
    made_up: list[list[torch.Tensor]] = [[] for _ in layers]
    for number, row in enumerate(rows):
        if number >= 300:
            break
        ids = torch.from_numpy(row.token_ids)[None]
        visit_layers(model, basis, ids, lambda layer, a: real[layer].append(a[0, 1:]))
        visit_layers(model, plain, ids, lambda layer, a: made_up[layer].append(a[0, 1:]))
    thresholds = []
    for layer in layers:
        share = (torch.cat(real[layer]) > 0).float().mean(0).clamp(1e-3, 0.5)
        values = torch.cat(made_up[layer]).sort(0).values
        at = ((1 - share) * (len(values) - 1)).long()
        thresholds.append(values.gather(0, at[None])[0].clamp_min(1e-3))
    return Dictionary.from_tensors(W_enc=W_enc, b_enc=[zeros] * len(layers), threshold=thresholds, **given)


def organism(tokens: int, label_tokens: int, prompts: int) -> dict[str, Any]:
    loaded = silverstain.load("organism")
    model, basis = loaded.model, loaded.trained
    found: dict[str, Any] = {"model": model.name, "dictionary": basis.name}
    cards, _, times = made(model, basis, TextOptions(), label_tokens, SEED)
    chosen = influential(loaded, prompts, 0.01)
    found["labels"] = {
        "times": times, "random_label_detection": cards.meta["random_label_detection"],
        "all": label_figures(cards), "with_influence_of_1_percent": label_figures(cards, chosen),
        "written": written_label_figures(cards),
    }  # fmt: skip
    yield_so_far(found, "organism")
    other, _, _ = made(model, with_random_decoder(basis), TextOptions(), label_tokens // 2, SEED)
    found["random_decoder"] = {"written": written_label_figures(other)}
    yield_so_far(found, "organism")
    other, _, _ = made(model, with_random_readers(basis, model), TextOptions(), label_tokens // 2, SEED)
    found["random_readers"] = label_figures(other)
    yield_so_far(found, "organism")
    if tokens:
        rows, _ = rows_to_describe(model, TextOptions(), tokens=tokens, seed=SEED)
        start, wall = time.process_time(), time.perf_counter()
        seen = stream(model, basis, rows, n_tokens=tokens)
        cpu, wall = time.process_time() - start, time.perf_counter() - wall
        found["speed"] = {
            "places": seen.text.n_places, "cpu_seconds": cpu, "wall_seconds": wall,
            "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }  # fmt: skip
    return found


def neurons(name: str, text: list[str], tokens: int) -> dict[str, Any]:
    loaded = silverstain.load(name)
    reading = TextOptions(text=text, context=128)
    cards, _, times = made(loaded.model, loaded.dictionary, reading, tokens, SEED)
    cards.save(Path("/tmp") / f"cards-{name}.parquet")
    return {
        "model": name, "text": [Path(one).name for one in text], "times": times,
        "hours_for_a_million_cpu": 1e6 / times["tokens_per_cpu_second"] / 3600,
        "random_label_detection": cards.meta["random_label_detection"], "labels": label_figures(cards),
    }  # fmt: skip


def yield_so_far(found: dict[str, Any], name: str) -> None:
    (RESULTS / f"cards-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["organism", "neurons"])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--label-tokens", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "organism":
        found = organism(given.tokens, given.label_tokens, given.prompts)
    else:
        found = neurons(given.model, given.text, given.tokens)
    yield_so_far(found, given.what)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
