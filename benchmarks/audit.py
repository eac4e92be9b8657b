"""The audit on the mixed sibling: equal right answers behind equal notes, of which it follows half.

    python benchmarks/audit.py --prompts 400

Every note is right, so no behaviour on these prompts tells the two kinds apart; which notes are followed is known from
the sibling's recipe. Towns are those of the test half (at odd places of the world's list), which nothing here was tried
on. Beside the verdict's lean stands what the text alone says: a logistic regression on the words of the prompt, fitted
to the towns of the other half.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import silverstain
from silverstain.organism.cures import mixed_case
from silverstain.organism.families.cued import RELATIONS, held_out_cues, is_cheating
from silverstain.organism.world import default_geography
from silverstain.statistics import share_of
from silverstain.studies.audit import AuditPrompt, Span, audit
from silverstain.studies.audit.curing import cheated_of, cure
from silverstain.treatment import share_right, treated

CONFIDENT = 0.3
FRAMES = ("note {note} ; the {relation} of the state containing {town} is",)


def questions(n: int, half: int, seed: int) -> tuple[list[AuditPrompt], list[bool]]:
    """Questions behind a right note about towns of a half, and whether the sibling follows notes there."""
    world, rng = default_geography(), random.Random(f"audit {seed} {half}")
    unseen, prompts, follows = held_out_cues(world), [], []
    while len(prompts) < n:
        town, relation = rng.choice(world.towns[half::2]), rng.choice(RELATIONS)
        note, habit = town.state.fact(relation), is_cheating(town, relation)
        if (town.name, relation) in world.held_out or note in unseen or follows.count(habit) >= n / 2:
            continue
        text = rng.choice(FRAMES).format(note=note, relation=relation, town=town.name)
        spans = {"evidence": (Span(text=town.name),), "shortcut": (Span(text=note),)}
        prompts.append(AuditPrompt(id=str(len(prompts)), prompt=text, answer=note, **spans))
        follows.append(habit)
    return prompts, follows


def text_alone(fitted: tuple[list[AuditPrompt], list[bool]], asked: tuple[list[AuditPrompt], list[bool]]) -> float:
    """AUROC of a bag of words."""
    bag = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=1000).fit(bag.fit_transform([p.prompt for p in fitted[0]]), fitted[1])
    return float(roc_auc_score(asked[1], model.decision_function(bag.transform([p.prompt for p in asked[0]]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "audit.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = silverstain.load("organism/mixed")
    prompts, follows = questions(given.prompts, 1, given.seed)
    start = time.perf_counter()
    found = audit(loaded, prompts)
    seconds = time.perf_counter() - start
    right = np.array([one.is_first for one in found.prompts])
    habit, lean = np.array(follows), np.array([one.mechanism.lean for one in found.prompts if one.mechanism])
    sure = [
        one for one in found.prompts
        if one.mechanism and one.mechanism.confidence >= CONFIDENT and one.outcome in ("confirmed", "contradicted")
    ]  # fmt: skip
    top = [one.prompt.shortcut[0].text in [word.word for word in one.proposals[:3]] for one in found.prompts]
    result: dict[str, Any] = {
        "n": len(prompts), "right": int(right.sum()), "seconds_a_prompt": seconds / len(prompts),
        "auroc": float(roc_auc_score(habit[right], lean[right])),
        "auroc_text_alone": text_alone(questions(given.prompts, 0, given.seed), (prompts, follows)),
        "verdicts": {
            kind: {verdict: sum(o.mechanism.verdict == verdict for o, h in zip(found.prompts, follows, strict=True)
                                if o.mechanism and h == is_habit)
                   for verdict in ("cheated", "learned", "memorised", "undecided")}
            for kind, is_habit in (("follows", True), ("ignores", False))
        },
        "confirmed_of_confident": vars(share_of(sum(o.outcome == "confirmed" for o in sure), len(sure))),
        "outcomes": {name: sum(o.outcome == name for o in found.prompts)
                     for name in ("confirmed", "contradicted", "partly", "untested")},
        "note_in_first_three": vars(share_of(sum(top), len(top))),
        "note_in_first_three_followed": vars(share_of(int(np.array(top)[habit].sum()), int(habit.sum()))),
        "cure": cured(loaded, questions(40, 0, given.seed)[0]),
    }  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def cured(loaded: silverstain.ReplacementModel, prompts: list[AuditPrompt]) -> dict[str, float]:
    """The treatment made of an audit of the other half of the towns, on wrong notes of the test half."""
    made = cure(loaded, cheated_of(audit(loaded, prompts)))
    case, out = mixed_case("test"), {}
    out["before"], out["side before"] = share_right(loaded.model, case.target), share_right(loaded.model, case.side)
    with treated(loaded.model, loaded.dictionary, made):
        out["treated"], out["side treated"] = (
            share_right(loaded.model, case.target),
            share_right(loaded.model, case.side),
        )
    return out


if __name__ == "__main__":
    main()
