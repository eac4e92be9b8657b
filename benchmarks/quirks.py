"""Ten organisms with one planted habit each, and their twins without: is the habit named blind, and none where is none?

    silverstain organism grow --recipe habits --what models --out runs/habits     # some ten minutes of one core
    python benchmarks/quirks.py --folder runs/habits                              # ten seconds an organism

The study is told nothing of the habit: it compares an organism with the one it was grown from, on ordinary sentences of
their world. A habit is found if its word is among the words named (five at most); a twin is a false alarm if any word
is. Read in neurons, as nothing else was trained for these. Writes benchmarks/results/quirks.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.organism.small import HABITS
from silverstain.statistics import share_of
from silverstain.storage import write_json_whole
from silverstain.studies.hidden_preference import HIDDEN_PREFERENCE
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.protocol import run_study

RESULTS = Path(__file__).parent / "results" / "quirks.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/habits"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, Any]] = {}
    for word in HABITS:
        for name in (f"habit-{word}", f"twin-{word}"):
            rows[name] = studied(given.folder / name, name)
            print(name, json.dumps(rows[name]), flush=True)
            found = [word in rows[f"habit-{word}"]["named"] for word in HABITS if f"habit-{word}" in rows]
            alarms = [bool(row["named"]) for name, row in rows.items() if name.startswith("twin")]
            write_json_whole(given.out, {
                "format": "silverstain.quirks/1", "habits named": vars(share_of(sum(found), len(found))),
                "twins with a false alarm": vars(share_of(sum(alarms), max(len(alarms), 1))), "organisms": rows,
            })  # fmt: skip


def studied(folder: Path, name: str) -> dict[str, Any]:
    """What the study names in one organism, its verdict, and its figures."""
    start = time.perf_counter()
    loaded = silverstain.load(folder, dictionary="neurons")
    report = run_study(HIDDEN_PREFERENCE, subject_of(loaded, sibling=name, folder=folder))
    return {
        "named": report.findings.chosen["named"], "verdict": report.verdict, "reasons": list(report.reasons),
        "measures": {one.name: one.value for one in report.findings.measures},
        "seconds": round(time.perf_counter() - start),
    }  # fmt: skip


if __name__ == "__main__":
    main()
