"""How well graphs of the organism predict what the model does, on prompts of all its families.

    python benchmarks/verification.py claims --prompts 200        # writes benchmarks/results/verification.json
    python benchmarks/verification.py claims --dictionary per-layer

Prompts are drawn by the organism's own generator, every second one of held-out combinations where a family has them.
The layer rule and the rules of verdicts were fixed on other prompts (seed "dev"); these are drawn with "test".
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.interventions.verification import Claim, agreement, divided, verify
from silverstain.interventions.verification.claims import counted
from silverstain.organism.families import families
from silverstain.storage import write_json_whole

RESULTS = Path(__file__).parent / "results" / "verification.json"
KINDS = ("cross-layer", "per-layer")


def prompts(n: int, seed: str) -> Iterator[tuple[str, str]]:
    """(family, prompt) of n sentences, families in turn."""
    draw, everything = random.Random(seed), list(families().items())
    for i in range(n):
        name, family = everything[i % len(everything)]
        yield name, family.sample(draw, held_out=bool(i // len(everything) % 2)).prompt


def balanced(claims: Sequence[Claim], seed: int = 0) -> list[Claim]:
    """All mostly indirect claims of each kind and as many direct ones, drawn at random: at least half are indirect."""
    draw, kept = random.Random(seed), []
    for kind in sorted({claim.kind for claim in claims}):
        far = [claim for claim in claims if claim.kind == kind and claim.is_indirect]
        near = [claim for claim in claims if claim.kind == kind and not claim.is_indirect]
        kept += far + draw.sample(near, min(len(near), len(far)))
    return kept


def test_claims(kind: str, n: int, seed: str, log: Path) -> dict[str, Any]:
    """Verify n graphs and put their claims together; claims lie in `log` meanwhile, so that a stop loses nothing."""
    loaded = silverstain.load("organism", dictionary=kind, check_dictionary=False)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    start = time.perf_counter()
    for i, (family, prompt) in enumerate(prompts(n, seed)):
        if i < len(done):
            continue
        graph = loaded.trace(prompt).prune()
        groups = loaded.read(graph).groups_in(graph)
        found = verify(loaded.model, loaded.dictionary, graph, groups=groups, max_sources=48, max_claims=80,
                       n_controls=4, seed=i)  # fmt: skip
        done.append({
            "family": family, "prompt": prompt, "direct_error": found.direct_error,
            "claims": [claim.to_json() for claim in found.claims],
        })  # fmt: skip
        with log.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        if i % 10 == 9:
            print(f"{i + 1} of {n} prompts, {time.perf_counter() - start:.0f} s", flush=True)
    return summarised(done[:n], seed)


def summarised(done: Sequence[dict[str, Any]], seed: str) -> dict[str, Any]:
    claims = [Claim.from_json(claim) for one in done for claim in one["claims"]]
    even = balanced(claims)
    return {
        "n_prompts": len(done),
        "families": sorted({one["family"] for one in done}),
        "seed": seed,
        "layer_rule": "features write where they write; nothing is held",
        "largest_error_of_direct_edges": max(one["direct_error"] for one in done),
        "verdicts": {name: counted(some) for name, some in by_kind(claims).items()},
        "all": {name: agreement(some).to_json() for name, some in divided(claims).items()},
        "half_indirect": {name: agreement(some).to_json() for name, some in by_kind(even).items()},
        "doses": {name: doses(some) for name, some in by_kind(claims).items()},
    }


def by_kind(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    return {kind: [claim for claim in claims if claim.kind == kind] for kind in sorted({c.kind for c in claims})}


def doses(claims: Sequence[Claim]) -> dict[str, dict[str, float]]:
    """Slope and R² at every strength."""
    import numpy as np

    from silverstain.interventions.verification.agreement import explained, slope

    out: dict[str, dict[str, float]] = {}
    for i, strength in enumerate(dose.strength for dose in claims[0].doses):
        predicted = np.array([claim.doses[i].predicted for claim in claims])
        measured = np.array([claim.doses[i].measured for claim in claims])
        out[str(strength)] = {"slope": slope(predicted, measured), "r2": explained(predicted, measured)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["claims"])
    parser.add_argument("--dictionary", choices=KINDS, default="cross-layer")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", default="test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--log", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.log.mkdir(exist_ok=True)
    log = arguments.log / f"verification-{arguments.dictionary}-{arguments.seed}.jsonl"
    found = {"claims": test_claims(arguments.dictionary, arguments.prompts, arguments.seed, log)}
    record(arguments.out, arguments.dictionary, found)


def record(path: Path, kind: str, found: dict[str, Any]) -> None:
    """Add what was found to the results."""
    results = json.loads(path.read_text()) if path.exists() else {"format": "silverstain.verification-benchmark/1"}
    results.setdefault(kind, {}).update(found)
    write_json_whole(path, results)


if __name__ == "__main__":
    main()
