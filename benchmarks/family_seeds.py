"""Where a family's variables are computed, in three organisms that know it alone and differ in their seed alone.

One growth could have found a way of its own. Writes benchmarks/results/family-seeds.json; three to ten minutes a family
on one core. Growing goes on where an interrupted run stopped.

    python benchmarks/family_seeds.py geography "composing causes" "composing refusal"
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from silverstain.cli.organism import variables_table
from silverstain.organism.checking import family_rows
from silverstain.organism.composing.siblings import GROWTH
from silverstain.organism.growing import grow
from silverstain.organism.language import build_tokenizer
from silverstain.organism.mapping import causal_map
from silverstain.organism.recipe import Recipe
from silverstain.organism.siblings import siblings
from silverstain.storage import write_json_whole

SEEDS = (0, 1, 2)
WORK = Path("runs/family-seeds")
RESULTS = Path("benchmarks/results/family-seeds.json")


@dataclass(frozen=True, kw_only=True)
class Alone:
    """One family of the world of a sibling, and how it is grown alone."""

    sibling: str
    family: str
    recipe: Recipe


def _composing(family: str, steps: int) -> Alone:
    recipe = replace(GROWTH, shares={family: 1.0}, steps=steps, groups=2, cooldown=0.5, checkpoints=())
    return Alone(sibling="composing", family=family, recipe=recipe)


FAMILIES: Mapping[str, Alone] = {
    "geography": Alone(
        sibling="general", family="geography",
        recipe=Recipe(shares={"geography": 1.0}, steps=900, groups=2, weight_decay=0.4, cooldown=0.5),
    ),
    "composing causes": _composing("causes", 500),
    "composing refusal": _composing("refusal", 300),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", choices=FAMILIES)
    parser.add_argument("--steps", type=int, help="another length of growth, to try one")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.families:
        alone = FAMILIES[name]
        if given.steps:
            alone = replace(alone, recipe=replace(alone.recipe, steps=given.steps))
        seeds = {str(seed): grown(alone, seed, given.work / name.replace(" ", "-") / str(seed)) for seed in SEEDS}
        known = json.loads(given.out.read_text(encoding="utf-8"))["families"] if given.out.exists() else {}
        found = {**known, name: {"steps": alone.recipe.steps, "seeds": seeds}}
        write_json_whole(given.out, {"format": "silverstain.family-seeds/1", "families": found})


def grown(alone: Alone, seed: int, folder: Path) -> dict[str, Any]:
    """One organism of one seed: what it can do, and its map."""
    sibling = siblings()[alone.sibling]
    family = sibling.families()[alone.family]
    specs = [spec for spec in sibling.variables() if spec.family == alone.family]
    model = grow({alone.family: family}, replace(alone.recipe, seed=seed), folder, n_workers=1)
    rows = family_rows(model, family, 400, 1)
    print(f"seed {seed}: {[(row.split, round(row.tokens, 3), round(row.answers, 3)) for row in rows]}", flush=True)
    mapped = causal_map(model, build_tokenizer(), only=specs)
    print(variables_table(mapped), flush=True)
    shown = [
        {
            "variable": item.name, "verdict": asdict(item.verdict), "bag_of_tokens": asdict(item.bag_of_tokens),
            "places": [asdict(places) for places in item.places],
        }
        for item in mapped.variables
    ]  # fmt: skip
    return {"accuracy": [asdict(row) for row in rows], "map": shown}


if __name__ == "__main__":
    main()
