"""The demonstration's swap over many questions: how often the answer becomes the other state's, and what controls do.

    python benchmarks/demo_swaps.py [--model organism] [--dictionary cross-layer] [--pairs 240] [--out FILE]

Town, relation and other state are drawn; asked is about towns whose own answer the model gives, where the other state's
is another. Each is swapped by the features that the demonstration moves, and by all that differ.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.errors import UsageError
from silverstain.interventions import Edit
from silverstain.loading import ReplacementModel
from silverstain.organism.two_hop import WORDING, RecordedQuestions, questions
from silverstain.organism.world import RELATIONS, default_geography
from silverstain.statistics import share_of
from silverstain.studies.demo import MOST_MOVED, SwapQuestion, SwapTried, swap_of

RESULTS = Path(__file__).parent / "results" / "demo-swaps.json"
N_CONTROLS = 2


def drawn(loaded: ReplacementModel, seed: int) -> Iterator[tuple[RecordedQuestions, SwapQuestion]]:
    """Questions that the model answers rightly, each with what its features do for towns of both states."""
    rng, world = random.Random(f"demo swaps {seed}"), default_geography()
    known: dict[int, RecordedQuestions | None] = {}
    while True:
        town, relation, other = rng.choice(world.towns), rng.choice(RELATIONS), rng.choice(world.states)
        own, theirs = town.state.fact(relation), other.fact(relation)
        prompt = WORDING.format(relation=relation, town=town.name)
        length = len(loaded.model.tokenize(prompt))
        if length not in known:
            known[length] = recorded_as(loaded, prompt)
        recorded = known[length]
        if own == theirs or recorded is None or not is_right(loaded, prompt, own):
            continue
        if all(len(recorded.about(state, without=town.name)) for state in (town.state.name, other.name)):
            yield (
                recorded,
                SwapQuestion(
                    prompt=prompt, town=town.name, relation=relation, state=town.state.name, other_state=other.name,
                    answer=own, other_answer=theirs,
                ),
            )  # fmt: skip


def recorded_as(loaded: ReplacementModel, prompt: str) -> RecordedQuestions | None:
    """What the model does on all questions as long as this one; None where hardly any is."""
    try:
        return RecordedQuestions.of(loaded.model, loaded.trained, questions(loaded.model, like=prompt))
    except UsageError:
        return None


def is_right(loaded: ReplacementModel, prompt: str, answer: str) -> bool:
    with torch.no_grad():
        logits = loaded.model.hf(input_ids=torch.tensor([loaded.model.tokenize(prompt)]), use_cache=False).logits
    return int(logits[0, -1].argmax()) == loaded.model.token_id(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="organism")
    parser.add_argument("--dictionary", default="cross-layer")
    parser.add_argument("--pairs", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = silverstain.load(given.model, dictionary=given.dictionary)
    ways: dict[str, int | None] = {f"{MOST_MOVED} features": MOST_MOVED, "all that differ": None}
    found: dict[str, list[tuple[SwapQuestion, SwapTried]]] = {way: [] for way in ways}
    source = drawn(loaded, given.seed)
    for _ in range(given.pairs):
        recorded, question = next(source)
        for way, most in ways.items():
            found[way].append((question, swap_of(recorded, question, most=most, n_controls=N_CONTROLS)))
    report = {way: summary(loaded, some) for way, some in found.items()}
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    known[f"{given.model}, {given.dictionary}"] = report
    given.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def summary(loaded: ReplacementModel, some: list[tuple[SwapQuestion, SwapTried]]) -> dict[str, Any]:
    turned = [tried.swap.edited[0].id == loaded.model.token_id(question.other_answer) for question, tried in some]
    random_ones = [control.is_changed for _, tried in some for control in tried.controls]
    active = [control.is_changed for _, tried in some for control in tried.active_controls]
    moved = [len(edit.features) for _, tried in some for edit in tried.swap.edits if isinstance(edit, Edit)]
    return {
        "the other state's answer": shown(turned),
        "random features change the answer": shown(random_ones),
        "other active features change the answer": shown(active),
        "features moved": sum(moved) / len(some),
    }


def shown(hits: list[bool]) -> list[float]:
    """A share with the ends of its 95 % interval."""
    share = share_of(sum(hits), len(hits))
    return [round(value, 3) for value in (share.value, share.low, share.high)]


if __name__ == "__main__":
    main()
