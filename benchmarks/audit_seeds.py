"""Learned, or memorised? Organisms that know geography alone, by its rule or town by town, three seeds of each.

    for seed in 0 1 2; do silverstain organism grow --recipe alone --sibling geography-computed \\
        --sibling geography-remembered --what models --seed $seed --out runs/alone/$seed; done
    python benchmarks/audit_seeds.py --folder runs/alone

Some ten minutes of one core. All questions are ones that both were shown and answer, so that no answer tells them
apart: which is which is known from what they were grown on. The audit is told where the town and the relation stand;
as it asks for a shortcut too, a word that tells nothing is named as one. What is scored is how little of the answer is
carried by units that the less used of the two drives; beside it, the verdicts. Read in neurons. Writes
benchmarks/results/audit-seeds.json.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score

import silverstain
from silverstain.organism.families.memorised import memorised_geography
from silverstain.organism.world import default_geography
from silverstain.storage import write_json_whole
from silverstain.studies.audit import AuditPrompt, AuditSettings, Span, audit

RESULTS = Path(__file__).parent / "results" / "audit-seeds.json"
KINDS = {"geography-computed": "learned", "geography-remembered": "memorised"}
FORM = "the {relation} of the state containing {town} is"


def questions(n: int, seed: int) -> list[AuditPrompt]:
    """The one question about each of n towns that the organism that remembers was shown."""
    world = default_geography()
    family, prompts = memorised_geography(world), []
    for town in random.Random(f"audit seeds {seed}").sample(world.towns, n):
        relation = family.relation_of[town.name]
        text = FORM.format(relation=relation, town=town.name)
        spans = {"evidence": (Span(text=town.name), Span(text=relation)), "shortcut": (Span(text="containing"),)}
        prompts.append(AuditPrompt(id=town.name, prompt=text, answer=town.state.fact(relation), **spans))
    return prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/alone"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    is_memorised, scores = [], []
    for seed in given.seeds:
        for name, kind in KINDS.items():
            loaded = silverstain.load(given.folder / str(seed) / name, dictionary="neurons")
            found = audit(loaded, questions(given.prompts, seed), AuditSettings(checks=False))
            right = [one for one in found.prompts if one.is_first and one.mechanism is not None]
            least = [min(one.mechanism.carried) for one in right if one.mechanism is not None]
            verdicts = [one.mechanism.verdict for one in right if one.mechanism is not None]
            is_memorised += [kind == "memorised"] * len(least)
            scores += [-value for value in least]
            rows[f"{name}, seed {seed}"] = {
                "right": len(right), "of": len(found.prompts), "least part, mean": sum(least) / max(len(least), 1),
                "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
            }  # fmt: skip
            print(f"{name}, seed {seed}", json.dumps(rows[f"{name}, seed {seed}"]), flush=True)
    auroc = float(roc_auc_score(is_memorised, scores))
    print(f"AUROC {auroc:.3f} of {len(scores)}")
    write_json_whole(given.out, {"format": "silverstain.audit-seeds/1", "auroc": auroc, "n": len(scores), "runs": rows})


if __name__ == "__main__":
    main()
