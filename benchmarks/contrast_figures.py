"""The figures of contrasts on a pretrained model: how few units turn the answer, beside what the account must beat.

    python benchmarks/contrast_figures.py smollm2-135m --split figures --out benchmarks/results/contrasts
    python benchmarks/contrast_figures.py smollm2-135m --dictionary FOLDER

Goes on where it stopped: one line a contrast in OUT/MODEL-SPLIT.jsonl, and a summary in OUT/MODEL-SPLIT.json. One
thread. For every contrast that the model answers rightly on both sides:

- the difference of logits with 5 … 500 units of the base run patched, by each order, and the fewest that turn it;
- the same curves for units behind the changed tokens in the upper two thirds of the layers;
- everything patched but the first K; the rank correlation of each score with patches of single units, both ways;
- seconds of the account, of integrated gradients with 5 steps, and of the two plain runs.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from contrast_table import SPLITS, Answered, contrasts_of

from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import Basis
from silverstain.loading import load
from silverstain.models import LanguageModel
from silverstain.verification.contrast import KS, Patch, Patching, Region
from silverstain.verification.contrast.curves import curves, first_turned, smallest
from silverstain.verification.contrast.patching import BASE, CONTRAST
from silverstain.verification.contrast.proof import claims_of, necessity_of, orders_of, scores_of
from silverstain.verification.contrast.rankings import STEPS, gradient_scores

SINGLE = 48
"""Units that are patched alone."""


def figures_of(model: LanguageModel, basis: Basis, one: Answered) -> dict[str, Any]:
    """Everything that is measured of a contrast."""
    row, tokens = one.tokens.row, one.tokens
    target = DifferenceTarget(token=tokens.contrast_answer, minus=tokens.base_answer)
    contrast, seconds = _timed(model, basis, tokens.base, tokens.contrast, target)
    patching, everywhere = Patching(contrast), Region()
    upper = Region(from_layer=model.n_layers // 3, after_change=True)
    scores = scores_of(contrast)
    base, end = (float(v) for v in patching.ends().value)
    found: dict[str, Any] = {
        "kind": row.kind,
        "base_prompt": row.base,
        "contrast_prompt": row.contrast,
        "answers": [row.base_answer, row.contrast_answer],
        "tokens": len(tokens.base),
        "changed": list(tokens.changed),
        "base": base,
        "contrast": end,
        "first_choice_on_both_sides": one.is_first_choice,
        "account": float(contrast.contributions.total[0]),
        "rest_share": rest_share(contrast),
        "seconds": seconds,
    }
    for name, region in (("everywhere", everywhere), ("upper", upper)):
        within = region.units(contrast)
        if not bool(within.any()):
            continue
        orders = orders_of(contrast, scores, within, max(KS), seed=0)
        orders["random"] = orders["random"][:1]
        drawn = {curve.method: curve for curve in curves(patching, orders)}
        part: dict[str, Any] = {
            "curves": {method: dict(curve.values) for method, curve in drawn.items()},
            "areas": {method: curve.area(base, end) for method, curve in drawn.items()},
            "first_of_the_curve": {method: first_turned(curve) for method, curve in drawn.items()},
        }
        if not region.is_everywhere:
            part["all_of_it"] = float(patching.run([Patch(run=BASE, units=within.nonzero().flatten())]).value[0])
        else:
            part["smallest"] = smallest(patching, orders["signed"][0], known=drawn["signed"]).to_json()
            (back,) = curves(patching, {"signed": orders["signed"]}, run=CONTRAST)
            part["back"] = {"curve": dict(back.values), "first": first_turned(back, run=CONTRAST)}
            kept = {"signed": orders["signed"], "random": orders["random"]}
            part["necessity"] = {curve.method: dict(curve.values) for curve in necessity_of(patching, kept, KS)}
            _, part["spearman"] = claims_of(patching, None, (), scores, within, SINGLE)
        found[name] = part
    return found


def rest_share(contrast: Contrast) -> float:
    """What the rest of each layer (a dictionary's errors) carries of all that is carried there, by size."""
    found = contrast.contributions
    rests, units = float(found.rests.abs().sum()), sum(float(layer.abs().sum()) for layer in found.units)
    return rests / max(rests + units, 1e-30)


def _timed(
    model: LanguageModel, basis: Basis, base: Any, other: Any, target: DifferenceTarget
) -> tuple[Any, dict[str, float]]:
    """The contrast, and how long it takes beside the two plain runs and integrated gradients."""
    ids = torch.tensor([list(base), list(other)])
    model.logits(ids)
    start = perf_counter()
    model.logits(ids)
    plain = perf_counter() - start
    start = perf_counter()
    contrast = find_contrast(model, basis, list(base), list(other), targets=(target,))
    account = perf_counter() - start
    start = perf_counter()
    for step in range(STEPS):
        gradient_scores(contrast, [(step + 0.5) / STEPS])
    one_by_one = perf_counter() - start
    start = perf_counter()
    gradient_scores(contrast, [(step + 0.5) / STEPS for step in range(STEPS)])
    in_a_batch = perf_counter() - start
    said = {"two_runs": plain, "account": account, "ig_one_by_one": one_by_one, "ig_in_a_batch": in_a_batch}
    return contrast, said


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and shares over the contrasts."""
    found: dict[str, Any] = {"contrasts": len(rows)}
    for part in ("everywhere", "upper"):
        there = [row[part] | {"base": row["base"], "contrast": row["contrast"]} for row in rows if part in row]
        methods = there[0]["areas"] if there else {}
        found[part] = {
            "contrasts": len(there),
            "turned_with_100": {m: _share([_within(row, m, 100) for row in there]) for m in methods},
            "turned_with_500": {m: _share([_within(row, m, 500) for row in there]) for m in methods},
            "mean_area": {m: _mean([row["areas"][m] for row in there]) for m in methods},
            "way_at_100": {m: _mean([_way(row, row["curves"][m]["100"]) for row in there]) for m in methods},
        }
    smallest_k = [row["everywhere"]["smallest"]["k"] for row in rows]
    found["median_smallest_k"] = median(1e9 if k is None else k for k in smallest_k)
    found["first_choice_when_turned"] = _share([row["everywhere"]["smallest"]["first_choice"] for row in rows])
    found["turned_back_with_100"] = _share([(row["everywhere"]["back"]["first"] or 1e9) <= 100 for row in rows])
    found["spearman"] = {
        name: {w: _mean([row["everywhere"]["spearman"][name][w] for row in rows]) for w in ("base", "contrast", "both")}
        for name in rows[0]["everywhere"]["spearman"]
    }
    found["necessity_way_left_without_100"] = {
        m: _mean([_way(row, row["everywhere"]["necessity"][m]["100"]) for row in rows]) for m in ("signed", "random")
    }
    if all("rest_share" in row for row in rows):
        found["mean_rest_share"] = _mean([row["rest_share"] for row in rows])
    found["exactness_worst"] = max(
        abs(row["account"] - (row["contrast"] - row["base"])) / abs(row["contrast"] - row["base"]) for row in rows
    )
    found["seconds_median"] = {name: median(row["seconds"][name] for row in rows) for name in rows[0]["seconds"]}
    ratios = {
        "account_to_two_runs": median(row["seconds"]["account"] / row["seconds"]["two_runs"] for row in rows),
        "account_to_ig_one_by_one": median(row["seconds"]["account"] / row["seconds"]["ig_one_by_one"] for row in rows),
        "account_to_ig_and_its_two_runs": median(
            row["seconds"]["account"] / (row["seconds"]["ig_one_by_one"] + row["seconds"]["two_runs"]) for row in rows
        ),
        "account_to_ig_in_a_batch": median(row["seconds"]["account"] / row["seconds"]["ig_in_a_batch"] for row in rows),
    }
    kinds = sorted({row["kind"] for row in rows})
    by_kind = {kind: [row["everywhere"]["smallest"]["k"] for row in rows if row["kind"] == kind] for kind in kinds}
    return found | {"ratios_median": ratios, "smallest_k_by_kind": by_kind}


def _within(row: dict[str, Any], method: str, most: int) -> bool:
    """Whether a curve turns the answer with so many units."""
    first = row["first_of_the_curve"][method]
    return first is not None and first <= most


def _way(row: dict[str, Any], value: float) -> float:
    """Which share of the way from the base to the contrast a value is."""
    return (value - row["base"]) / (row["contrast"] - row["base"])


def _share(flags: list[bool]) -> float:
    return sum(flags) / max(len(flags), 1)


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--dictionary", help="its features in place of the model's neurons")
    parser.add_argument("--split", choices=SPLITS, default="figures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "contrasts")
    parser.add_argument("--every", type=int, default=1, help="only each so manieth contrast, for a slow basis")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many; the same command goes on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(options.model, dictionary=options.dictionary)
    model = loaded.model
    options.out.mkdir(parents=True, exist_ok=True)
    of = "" if options.dictionary is None else f"-{Path(options.dictionary).name}"
    name = f"{Path(options.model).name}{of}-{options.split}"
    log = options.out / f"{name}.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known, began = {row["base_prompt"] + row["contrast_prompt"] for row in done}, perf_counter()
    rows = contrasts_of(model, options.split)
    able = [one for one in rows if one.counts][:: options.every]
    for one in able:
        row = one.tokens.row
        if row.base + row.contrast in known:
            continue
        if perf_counter() - began > 60 * options.minutes:
            break
        start = perf_counter()
        with log.open("a") as file:
            found = figures_of(model, loaded.dictionary, one)
            done.append(json.loads(json.dumps(found)))
            file.write(json.dumps(found) + "\n")
        k = found["everywhere"]["smallest"]["k"]
        said = f"{row.kind}: {row.base_answer} → {row.contrast_answer}, {k} units"
        print(f"{len(done)}/{len(able)} {perf_counter() - start:.1f} s  {said}", flush=True)
    facts = {
        "model": {"name": model.name, "hash": model.hash},
        "rows_of_the_split": len(rows),
        "right_on_both_sides": len(able),
    }
    (options.out / f"{name}.json").write_text(json.dumps(facts | summary(done), indent=1) + "\n")


if __name__ == "__main__":
    main()
