"""How fast cards are made, in how much room, and how well their labels stand tests on contexts held out.

    python -m benchmarks.cards organism --tokens 100000
    python -m benchmarks.cards neurons --model smollm2-135m --text FILE --tokens 20000
    python -m benchmarks.cards contrasts --model smollm2-135m --cards smollm2-135m-neurons

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
from silverstain.features.chance import ChanceAccuracy
from silverstain.features.label_tests import FEWEST
from silverstain.features.naming import _written, labels_of, random_label_control, units_of
from silverstain.features.rules import TokenClasses
from silverstain.features.streaming import stream

RESULTS = Path(__file__).parent / "results"
SEED = 1707
USED = 30
"""Neurons of a contrast, the most influential."""


def read(model: Any, basis: Any, reading: TextOptions, tokens: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """What one pass leaves, and its time in seconds of the processor (the machine is shared) and of the wall."""
    rows, _ = rows_to_describe(model, reading, tokens=tokens, seed=seed)
    start, wall = time.process_time(), time.perf_counter()
    seen = stream(model, basis, rows, n_tokens=tokens)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    return seen, {
        "places": seen.text.n_places, "cpu_seconds": cpu, "wall_seconds": wall,
        "places_per_cpu_second": seen.text.n_places / cpu,
        "minutes_for_a_million_cpu": 1e6 / seen.text.n_places * cpu / 60,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "state_gb": seen.tally.sizes.n_bytes / 1e9,
    }  # fmt: skip


def label_figures(
    seen: Any, model: Any, basis: Any, chosen: set[tuple[int, int]], *, decoder: Any = None
) -> dict[str, Any]:
    """What the first label of each side of some features scores, the same labels shuffled, and labels by written
    tokens alone (of another decoder, where one is given)."""
    classes = TokenClasses(model.token_strings(range(model.d_vocab)))
    chance = ChanceAccuracy.of(seen, classes)
    sides, tested, scores, written = 0, [], [], []
    for layer in range(basis.n_layers):
        features = sorted(feature for of, feature in chosen if of == layer)
        writes = _written(model, decoder or basis, layer, features, seen.tally.sizes.sides)
        for unit in units_of(seen, layer, features):
            sides += 1
            some = labels_of(unit, classes, writes.get((unit.feature, unit.sign)), chance)
            written += [one["score"] for one in some if one["kind"] == "writes" and one["score"] is not None]
            if some and some[0]["score"] is not None:
                scores.append(json.loads(some[0]["scores"]))
                tested.append((json.loads(some[0]["evidence"])["rule"], unit.held))
            elif len(unit.held.active) >= FEWEST:
                scores.append({"detection": 0.5})  # no label is a guess
    figures: dict[str, Any] = {"features": len(chosen), "sides_with_contexts": sides, "tested": len(scores)}
    for name in ("detection", "contrast", "fuzzing", "intruder", "precision", "recall"):
        values = [entry[name] for entry in scores if entry.get(name) is not None]
        if values:
            figures[name] = {"mean": float(np.mean(values)), "median": float(np.median(values)), "n": len(values)}
    figures["random_label_detection"] = random_label_control(tested, classes)
    figures["written_tokens"] = {"labels": len(written), "detection": float(np.mean(written)) if written else None}
    return figures


def some_features(seen: Any, n: int) -> set[tuple[int, int]]:
    """Active features drawn at random."""
    layers, features = (seen.tally.arrays["count"] > 0).nonzero()
    rows = np.random.default_rng(SEED).permutation(len(layers))[:n]
    return {(int(layers[row]), int(features[row])) for row in rows}


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


def organism(tokens: int, prompts: int, features: int) -> dict[str, Any]:
    loaded = silverstain.load("organism")
    model, basis = loaded.model, loaded.trained
    found: dict[str, Any] = {"model": model.name, "dictionary": basis.name, "seed": SEED}
    seen, found["reading"] = read(model, basis, TextOptions(), tokens, SEED)
    some = some_features(seen, features)
    found["any_features"] = label_figures(seen, model, basis, some)
    keep(found, "organism")
    found["influence_of_1_percent"] = label_figures(seen, model, basis, influential(loaded, prompts, 0.01))
    keep(found, "organism")
    found["random_decoder"] = label_figures(seen, model, basis, some, decoder=with_random_decoder(basis))[
        "written_tokens"
    ]
    keep(found, "organism")
    other = with_random_readers(basis, model)
    seen, _ = read(model, other, TextOptions(), tokens // 2, SEED)
    found["random_readers"] = label_figures(seen, model, other, some_features(seen, features // 2))
    return found


def neurons(name: str, text: list[str], tokens: int, features: int) -> dict[str, Any]:
    loaded = silverstain.load(name)
    reading = TextOptions(text=text, context=128)
    seen, times = read(loaded.model, loaded.dictionary, reading, tokens, SEED)
    found = {"model": name, "text": [Path(one).name for one in text], "seed": SEED, "reading": times}
    keep(found, "neurons")
    found["any_neurons"] = label_figures(seen, loaded.model, loaded.dictionary, some_features(seen, features))
    return found


def contrasts(name: str, cards: str, most: int) -> dict[str, Any]:
    """The labels of the neurons that contrasts use, as cards that are there have them: the strongest of each of the
    contrasts that development never saw."""
    from benchmarks.contrast_table import contrasts_of

    from silverstain.attribution.requests import DifferenceTarget
    from silverstain.attribution.secant import find_contrast
    from silverstain.features import CardTable
    from silverstain.features.card_files import named_cards
    from silverstain.verification.contrast.rankings import account

    loaded, table = silverstain.load(name), CardTable.load(named_cards(cards))
    table.check_fits(loaded.dictionary)
    used: set[tuple[int, int]] = set()
    tokens = [one.tokens for one in contrasts_of(loaded.model) if one.counts and one.tokens.row.split == "figures"]
    tokens = tokens[:: -(-len(tokens) // most)]
    for number, one in enumerate(tokens):
        target = DifferenceTarget(token=one.contrast_answer, minus=one.base_answer)
        found = find_contrast(loaded.model, loaded.dictionary, list(one.base), list(one.contrast), targets=(target,))
        units = found.flow.units
        layer = torch.cat([torch.full((len(some),), some.layer) for some in units])
        feature = torch.cat([some.feature for some in units])
        strongest = account(found).argsort(descending=True)[:USED].tolist()
        used |= {(int(layer[i]), int(feature[i])) for i in strongest}
        print(f"{number + 1} of {len(tokens)}: {len(used)} neurons", flush=True)
    firsts = [(table.row(*one) or {}).get("labels") or [None] for one in sorted(used)]
    scored = [label for label in (some[0] for some in firsts) if label is not None and label["score"] is not None]
    scores = [label["score"] for label in scored] + [0.5] * (len(used) - len(scored))  # no label is a guess
    by_context = [label["score"] for label in scored if label["kind"] == "context"]
    return {
        "model": name, "places": table.meta["places"], "contrasts": len(tokens), "neurons": len(used),
        "detection": float(np.mean(scores)), "named_by_contexts": len(by_context),
        "detection_of_those": float(np.mean(by_context)), "at_least_75": float(np.mean(np.array(scores) >= 0.75)),
        "random_label_detection": table.meta["random_label_detection"],
    }  # fmt: skip


def keep(found: dict[str, Any], name: str) -> None:
    (RESULTS / f"cards-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["organism", "neurons", "contrasts"])
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=1000, help="drawn at random, whose labels are tested")
    parser.add_argument("--prompts", type=int, default=60, help="traced, for features with influence; or contrasts")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--cards", default="smollm2-135m-neurons", help="a file of cards, or a name of installed ones")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "organism":
        found = organism(given.tokens, given.prompts, given.features)
    elif given.what == "contrasts":
        found = contrasts(given.model, given.cards, given.prompts)
    else:
        found = neurons(given.model, given.text, given.tokens, given.features)
    keep(found, given.what)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
