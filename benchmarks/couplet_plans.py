"""Where a couplet's end word is decided, and whose it is, which its first words say.

    python benchmarks/couplet_plans.py --folder runs/composing
    python benchmarks/couplet_plans.py

With a folder, in the composing organism grown there. Without, in organisms that know couplets alone: grown with line
one veiled, and not. Growing with a veil hides line one from what follows the first words of line two, in most couplets.
Some ten minutes each way on one core; growing goes on where it was interrupted. Writes
benchmarks/results/couplet-plans.json.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch

from silverstain.organism.checking import family_rows
from silverstain.organism.composing import families
from silverstain.organism.composing.couplets import CoupletsFamily
from silverstain.organism.composing.siblings import GROWTH
from silverstain.organism.composing.variables.couplets import SPECS
from silverstain.organism.composing.writing import couplet_rows
from silverstain.organism.files import load_organism_model
from silverstain.organism.growing import grow
from silverstain.organism.interchange import exchanged, next_logits_from, says_one_of, stages, streams
from silverstain.organism.language import build_tokenizer
from silverstain.organism.mapping import Words
from silverstain.organism.recipe import Recipe
from silverstain.organism.variables import VariableSpec
from silverstain.statistics import share_of
from silverstain.storage import write_json_whole

WORK, RESULTS = Path("runs/couplet-plans"), Path("benchmarks/results/couplet-plans.json")
N_PAIRS = 150


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unveiled(CoupletsFamily):
    """The same couplets, everything in view."""

    def _veiled(self, rng, made):
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    veiled = families()["couplets"]
    if given.folder is not None:
        record("composing", load_organism_model("composing", folder=given.folder).hf, veiled)
        return
    for name, family in {"veiled": veiled, "in view": Unveiled(rhymes=veiled.rhymes)}.items():
        recipe = Recipe(shape=GROWTH.shape, shares={"couplets": 1.0}, steps=600, groups=2)
        record(name, grow({"couplets": family}, recipe, WORK / name.replace(" ", "-")), veiled)


def record(name: str, model, family: CoupletsFamily) -> None:
    """Measure one organism, beside those measured before."""
    rows = [*family_rows(model, family, 300, 1), *couplet_rows(model, family.rhymes, 200, 1)]
    by_form = {spec.form: spec for spec in SPECS}
    found = {
        "accuracy": {row.split: {"tokens": row.tokens, "answers": row.answers} for row in rows},
        "end_word_moved": moved(model, by_form["end word"]),
        "owner_moved": moved(model, by_form["planned before the first words"]),
    }
    print(name, json.dumps(found, indent=1))
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["grown"] if RESULTS.exists() else {}
    grown = {**known, name: found}
    write_json_whole(RESULTS, {"format": "silverstain.couplet-plans/1", "pairs": N_PAIRS, "grown": grown})


def moved(model, spec: VariableSpec) -> dict:
    """Of pairs with different rhymes, how often the answer follows when the whole stream at one word is the
    donor's: for every stage and every word."""
    words, pairs = Words(build_tokenizer()), spec.pairs(N_PAIRS, 5)
    bases = torch.tensor([words.prompt(pair.base) for pair in pairs])
    donors = torch.tensor([words.prompt(pair.donor) for pair in pairs])
    (own, logits), (other, _) = streams(model, bases), streams(model, donors)
    wanted = words.answers([pair.counterfactual for pair in pairs], logits.shape[1])
    anything = torch.ones_like(wanted)
    table: dict[str, dict[str, float]] = {}
    for stage, name in enumerate(stages(len(own) - 2)):
        table[name] = {}
        for position, role in enumerate(spec.roles, 1):
            stream = exchanged(own[stage], [position], other[stage][:, [position]])
            hits = says_one_of(next_logits_from(model, stream, stage), wanted, anything)
            table[name][role] = share_of(int(hits.sum()), len(hits)).value
    return table


if __name__ == "__main__":
    main()
