"""What studies find where their mechanism is absent by construction, and where it is present: small organisms.

    silverstain organism grow --recipe alone --what models --seed 0 --out runs/alone-0      # and seeds 1, 2
    python benchmarks/absent.py --folder runs                                               # some minutes an organism

Geography that is remembered town by town has no state that could be swapped (two-hop); couplets in which no word agrees
with the end word have no plan (planning); languages that share no concept have none that a donor of another language
could bring (multilingual). Each does what it was shown, so that its gate holds, and what rests on the mechanism must
move 10 % at most. Beside it the same prompts are asked of an organism that has the mechanism, where one is grown as
small: geography by its rule. Moved in the stream (`contrasts`: more than any units could do) and in neurons. Writes
benchmarks/results/absent.json.
"""

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.organism.siblings import siblings
from silverstain.storage import write_json_whole
from silverstain.studies.catalogue import studies
from silverstain.studies.organism_variables import subject_of
from silverstain.studies.protocol import StudySettings, run_study

RESULTS = Path(__file__).parent / "results" / "absent.json"
ABSENT = {"two-hop": "geography-remembered", "planning": "couplets-free", "multilingual": "words-apart"}
"""By study: the organism that lacks what it looks for."""
PRESENT = {"two-hop": "geography-computed"}
"""The one that has it, and is asked the same."""
BASES = ("contrasts", "units")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--studies", nargs="+", default=list(ABSENT))
    parser.add_argument("--graphs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for study in given.studies:
        for seed in given.seeds:
            names = [name for name in (ABSENT[study], PRESENT.get(study)) if name is not None]
            for name, basis in itertools.product(names, BASES):
                row = asked(study, given.folder / f"alone-{seed}" / name, name, basis, given.graphs)
                rows.append({"study": study, "seed": seed, "organism": name, "absent": name == ABSENT[study]} | row)
                print(json.dumps(rows[-1]), flush=True)
                write_json_whole(given.out, {"format": "silverstain.absent/1", "rows": rows})


def asked(study: str, folder: Path, name: str, basis: Any, n_graphs: int) -> dict[str, Any]:
    """The verdict, and each figure that has a bar: what it is, whether it holds."""
    start = time.perf_counter()
    subject = subject_of(silverstain.load(folder, dictionary="neurons"), sibling=name, folder=folder)
    same = dataclasses.replace(siblings()[name], families=siblings()[ABSENT[study]].families)
    subject = dataclasses.replace(subject, sibling=same)
    report = run_study(studies()[study], subject, StudySettings(basis=basis, n_graphs=n_graphs))
    return {
        "basis": basis, "verdict": report.verdict, "reasons": list(report.reasons),
        "seconds": round(time.perf_counter() - start),
        "measures": [
            {"name": one.name, "role": one.role, "value": one.value, "low": one.low, "high": one.high, "n": one.n,
             "holds": one.holds, "untested": one.untested}
            for one in report.findings.measures if one.bar is not None
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
