"""Where a town's state is computed, in three organisms that know geography alone and differ in their seed alone.

One growth could have found a way of its own. Writes benchmarks/results/geography-seeds.json; about ten minutes on two
cores. Growing goes on where an interrupted run stopped.

    python benchmarks/geography_seeds.py
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from silverstain.cli.organism import variables_table
from silverstain.organism.checking import family_rows
from silverstain.organism.families import families
from silverstain.organism.growing import grow
from silverstain.organism.language import build_tokenizer
from silverstain.organism.mapping import causal_map
from silverstain.organism.recipe import Recipe
from silverstain.organism.variables import variables
from silverstain.storage import write_json_whole

SEEDS = (0, 1, 2)
WORK = Path("runs/geography-seeds")
RESULTS = Path("benchmarks/results/geography-seeds.json")


def main() -> None:
    torch.set_num_threads(1)
    geography = families()["geography"]
    specs = [spec for spec in variables() if spec.family == geography.name]
    found = {}
    for seed in SEEDS:
        recipe = Recipe(
            shares={geography.name: 1.0}, steps=900, sentences=128, groups=2, seed=seed, weight_decay=0.4, cooldown=0.5
        )
        model = grow({geography.name: geography}, recipe, WORK / str(seed))
        rows = family_rows(model, geography, 400, 1)
        mapped = causal_map(model, build_tokenizer(), only=specs)
        print(f"seed {seed}: {[(row.split, round(row.tokens, 3), round(row.answers, 3)) for row in rows]}")
        print(variables_table(mapped))
        shown = [_short(item) for item in mapped.variables]
        found[str(seed)] = {"accuracy": [asdict(row) for row in rows], "map": shown}
    write_json_whole(RESULTS, {"format": "silverstain.geography-seeds/1", "seeds": found})
    print(json.dumps(found, indent=1))


def _short(item) -> dict:
    """What the map shows of one variable."""
    return {
        "variable": item.name,
        "verdict": asdict(item.verdict),
        "bag_of_tokens": asdict(item.bag_of_tokens),
        "places": [asdict(places) for places in item.places],
    }


if __name__ == "__main__":
    main()
