"""Variables of an organism swapped by thirty units, beside neurons, mean differences and what stands before any MLP.

    python benchmarks/swaps.py --sibling composing                # every variable that its map calls computed
    python benchmarks/swaps.py --sibling composing --variable cause

Place, layers and strength are fixed on development pairs, for each way of its own; the shares are of test pairs of
combinations that development never shows. The floor is the causal map's: the variable's part exchanged at the
embedding or at m0, which attention has gathered and no MLP has touched. Writes benchmarks/results/swaps.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.bases import NeuronBasis
from silverstain.organism.causal_map import VariableMap
from silverstain.organism.variables.pairs import VariableSpec
from silverstain.statistics import Share
from silverstain.storage import write_json_whole
from silverstain.studies.organism_variables import subject_of, variable_of
from silverstain.studies.protocol import LAST, Subject, Trial
from silverstain.studies.protocol.carriers import Carrier, Stream, Units
from silverstain.studies.protocol.controls import CONTROLS
from silverstain.studies.protocol.division import TrialSettings
from silverstain.studies.protocol.trial import share_of_hits

RESULTS = Path(__file__).parent / "results" / "swaps.json"
MOST = 30
N_PLACES = 3
"""Words that are tried beside the last."""
COUNTED = ("random units", "random units, the other way", "other active units")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sibling", default="composing")
    parser.add_argument("--variable", action="append", help="only this one; may be repeated")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = silverstain.load(f"organism/{given.sibling}")
    subject = subject_of(loaded)
    assert subject.truth is not None, f"{given.sibling} has no causal map"
    assert subject.sibling is not None
    carriers: dict[str, Carrier] = {
        "units": Units(loaded.trained, MOST),
        "neurons": Units(NeuronBasis(loaded.model), MOST),
        "all neurons": Units(NeuronBasis(loaded.model)),
        "mean difference": Stream(loaded.model.n_layers),
    }
    known = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    found: dict[str, Any] = known.get(given.sibling, {})
    for spec in subject.sibling.variables():
        about = subject.truth.of(spec.family, spec.variable, spec.form)
        if (given.variable or about.verdict.kind == "computed") and (
            not given.variable or spec.variable in given.variable
        ):
            name = about.name
            found[name] = swaps(subject, spec, about, carriers, given.pairs)
            print(name, json.dumps(found[name]), flush=True)
            write_json_whole(given.out, {"format": "silverstain.swaps/1", **known, given.sibling: found})


def swaps(
    subject: Subject, spec: VariableSpec, about: VariableMap, carriers: dict[str, Carrier], n: int
) -> dict[str, Any]:
    """What each way of swapping one variable moves, and of thirty units the controls."""
    start = time.perf_counter()
    variable = variable_of(spec, places=places_of(spec, about))
    found: dict[str, Any] = {
        "verdict": about.verdict.kind, "before any MLP": shown(about.before_any_mlp.part),
        "part of the stream": shown(about.places_at(about.verdict.stage).part),
    }  # fmt: skip
    for name, carrier in carriers.items():
        trial = Trial(subject, carrier, variable, TrialSettings(n=n))
        if not trial.tested:
            return {**found, "untested": "no pairs of held-out combinations"}
        trial.fix(trial.choose(sets=[(place,) for place in variable.places]))  # thirty units at one word, not at each
        moved = share_of_hits(trial.swapped(trial.tested, trial.setting))
        found[name] = {"moved": shown(moved), "setting": str(trial.setting)}
        if name == "units":
            found[name] |= {
                control.name: shown(share_of_hits(control.run(trial, trial.setting)))
                for control in CONTROLS if control.name in COUNTED
            }  # fmt: skip
    return {**found, "seconds": round(time.perf_counter() - start)}


def places_of(spec: VariableSpec, about: VariableMap) -> tuple[str, ...]:
    """The last token, and the other words that the map's verdict names or at which it moves most answers. Where the map
    knows a word token by token (`b tens`), the word."""
    words = list(variable_of(spec).draw(1, 0)[0].base.spans)
    moved = {role: max(site.part.value for site in about.sites if site.role == role) for role in about.roles}
    ranked = (*about.verdict.roles, *sorted(moved, key=lambda role: -moved[role]))
    wanted = dict.fromkeys(word for role in ranked for word in words if f"{role} ".startswith(f"{word} "))
    return (*[word for word in wanted if word != words[-1]][:N_PLACES], LAST)


def shown(share: Share | None) -> list[float] | None:
    return None if share is None else [round(value, 3) for value in (share.value, share.low, share.high)]


if __name__ == "__main__":
    main()
