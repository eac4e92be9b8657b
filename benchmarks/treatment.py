"""The organism's ill siblings cured: before, after, beside random controls and three other cures.

    python benchmarks/treatment.py            # writes benchmarks/results/treatment.json

Features and strengths are chosen on a development half of items (towns at even places, other draws); every figure is
of the other half.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import silverstain
from silverstain.organism.cures import Case, agreeing, cure_mixed, cure_quirk, mixed_case, quirk_case
from silverstain.storage import hash_tensors, write_json_whole
from silverstain.treatment import Treatment, baked, randomly_treated, share_right, treated
from silverstain.treatment.comparing import best_steering, fine_tuned
from silverstain.treatment.controls import N_CONTROLS

RESULTS = Path(__file__).parent / "results" / "treatment.json"


def figures(model: Any, cases: dict[str, Case]) -> dict[str, Any]:
    """Shares of right answers, of answers by habit, and of the side-effect set."""
    out: dict[str, Any] = {
        name: {"right": share_right(model, case.target), "habit": share_right(model, case.wrong)}
        for name, case in cases.items()
    }
    first = next(iter(cases.values()))
    n_clean = len(first.side) - 40 * 10 if len(first.side) > 400 else 0
    if n_clean:
        out["clean"] = share_right(model, first.side[:n_clean])
    out["families"] = share_right(model, first.side[n_clean:])
    return out


def examined(sibling: str, dev: Case, cases: dict[str, Case], cure: Any, has_cue: bool) -> dict[str, Any]:
    loaded = silverstain.load(f"organism/{sibling}")
    model, dictionary = loaded.model, loaded.dictionary
    stored = hash_tensors(dict(model.hf.state_dict()))
    report: dict[str, Any] = {"n": {name: len(case.target) for name, case in cases.items()}}
    report["before"] = figures(model, cases)
    treatment = cure(model, dictionary, dev)
    report["rules"] = [str(rule) for rule in treatment.rules]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cure.json"
        treatment.save(path)
        again = Treatment.load(path)
        report["bytes"], report["reloaded_equal"] = path.stat().st_size, again == treatment
    with treated(model, dictionary, again):
        report["treated"] = figures(model, cases)
        if sibling == "quirk":
            report["treated"]["agreeing"] = agreeing(model, next(iter(cases.values())))
    report["random_controls"] = []
    for seed in range(N_CONTROLS):
        with randomly_treated(model, dictionary, again, seed=seed):
            report["random_controls"].append(figures(model, cases))
    try:
        with baked(model, dictionary, again):
            report["baked"] = figures(model, cases)
    except silverstain.UsageError as reason:
        report["baked"] = str(reason)
    report["undone_bit_exactly"] = hash_tensors(dict(model.hf.state_dict())) == stored
    report["after_undoing_equal"] = figures(model, cases) == report["before"]
    if has_cue:
        report["deleting_the_cue"] = {name: share_right(model, case.cured) for name, case in cases.items()}
    steering = best_steering(model, dictionary, dev.target, dev.cured, dev.side)
    with treated(model, dictionary, steering.treatment):
        report["difference_of_means"] = figures(model, cases) | {"rule": str(steering.treatment.rules[0])}
    report["fine_tuned"] = figures(fine_tuned(model, dev.target), cases)
    return report


def main() -> None:
    results = {
        "mixed": examined("mixed", mixed_case("dev"), {
            "seen cues": mixed_case("test"),
            "seen cues, held-out pairs": mixed_case("test", pairs="held out"),
            "never-seen cues": mixed_case("test", cues="unseen"),
        }, cure_mixed, has_cue=True),
        "quirk": examined("quirk", quirk_case("dev"), {"couplets": quirk_case("test")}, cure_quirk, has_cue=False),
    }  # fmt: skip
    write_json_whole(RESULTS, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
