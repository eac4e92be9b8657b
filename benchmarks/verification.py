"""How well graphs of the organism predict what the model does, on prompts of all its families.

    python benchmarks/verification.py claims --prompts 200        # writes benchmarks/results/verification.json
    python benchmarks/verification.py claims --norms linearised   # the same prompts, graphs of linearised norms
    python benchmarks/verification.py perturbations               # both dictionaries
    python benchmarks/verification.py swap
    python benchmarks/verification.py inhibition

Prompts are drawn by the organism's own generator, every second one of held-out combinations where a family has them.
The layer rule and the rules of verdicts were fixed on other prompts (seed "dev"); these are drawn with "test".
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import silverstain
from silverstain.attribution import Norms, norms_named, record_run
from silverstain.attribution.freezing import NORMS
from silverstain.interventions import Edit, intervene_many, random_control
from silverstain.models import harvest
from silverstain.organism.families.entities import people, question
from silverstain.organism.siblings import siblings
from silverstain.organism.two_hop import RecordedQuestions, questions
from silverstain.organism.world import RELATIONS, default_geography
from silverstain.statistics import line, moments, share_of
from silverstain.storage import write_json_whole
from silverstain.verification import Claim, agreement, divided, graph_run, inhibited_features, verify
from silverstain.verification.claims import counted
from silverstain.verification.perturbations import Passing, passed_on

RESULTS = Path(__file__).parent / "results" / "verification.json"
KINDS = ("cross-layer", "per-layer")


def prompts(n: int, seed: str, sibling: str = "general") -> Iterator[tuple[str, str]]:
    """(family, prompt) of n sentences, families in turn."""
    draw, everything = random.Random(seed), list(siblings()[sibling].families().items())
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


def test_claims(kind: str, n: int, seed: str, norms: Norms, log: Path, sibling: str) -> dict[str, Any]:
    """Verify n graphs and put their claims together; claims lie in `log` meanwhile, so that a stop loses nothing."""
    loaded = silverstain.load(f"organism/{sibling}", dictionary=kind, check_dictionary=False)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    start = time.perf_counter()
    for i, (family, prompt) in enumerate(prompts(n, seed, sibling)):
        if i < len(done):
            continue
        graph = loaded.trace(prompt, norms=norms).prune()
        groups = loaded.read(graph).groups_in(graph)
        found = verify(loaded.model, loaded.dictionary, graph, groups=groups, max_sources=24, max_claims=60,
                       n_controls=3, seed=i)  # fmt: skip
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
    out: dict[str, dict[str, float]] = {}
    for i, strength in enumerate(dose.strength for dose in claims[0].doses):
        predicted, measured = (
            torch.tensor([getattr(claim.doses[i], name) for claim in claims]) for name in ("predicted", "measured")
        )
        found = line(moments(predicted, measured))
        out[str(strength)] = {"slope": float(found.slope), "r2": float(found.r2)}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["claims", "perturbations", "swap", "inhibition"])
    parser.add_argument("--dictionary", default="cross-layer", help="cross-layer, per-layer, or the folder of another")
    parser.add_argument("--sibling", default="general", help="whose claims are tested")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", default="test")
    parser.add_argument("--norms", choices=NORMS, default="frozen", help="of the graphs whose claims are tested")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--log", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kind, n, seed = arguments.dictionary, arguments.prompts, arguments.seed
    arguments.log.mkdir(exist_ok=True)
    if arguments.what == "claims":
        norms = norms_named(arguments.norms)
        sibling = arguments.sibling
        of = "" if sibling == "general" else f"{sibling} "
        log = arguments.log / f"verification-{of.strip()}{Path(kind).name}-{seed}-{norms}.jsonl"
        part = "claims" if norms == "frozen" else f"claims, {norms} norms"
        record(arguments.out, f"{of}{kind}", {part: test_claims(kind, n, seed, norms, log, sibling)})
    elif arguments.what == "perturbations":
        for each in KINDS:
            record(arguments.out, each, {"perturbations": test_perturbations(each, n, seed)})
    elif arguments.what == "swap":
        record(arguments.out, kind, {"swap": test_swaps(kind, n, seed)})
    else:
        record(arguments.out, kind, {"inhibition": test_inhibition(kind, n, seed)})


def test_perturbations(kind: str, n: int, seed: str) -> dict[str, Any]:
    """Cosine and normalised error of changes passed on, by way and by distance; attention frozen in both models."""
    loaded, generator = silverstain.load("organism", dictionary=kind, check_dictionary=False), torch.Generator()
    generator.manual_seed(0)
    found: dict[str, list[Passing]] = {}
    for _, prompt in prompts(n, seed):
        tested = graph_run(loaded.model, loaded.dictionary, loaded.trace(prompt))
        for passing in passed_on(tested, n=4, generator=generator):
            found.setdefault(f"{passing.way}, {passing.distance} on", []).append(passing)
    parts = ("cosine", "error", "cosine_frozen", "error_frozen")
    return {"n_prompts": n, "seed": seed} | {
        name: {"n": len(some)}
        | {part: statistics.mean(getattr(one, part) for one in some) for part in parts}
        | {f"median_{part}": statistics.median(getattr(one, part) for one in some) for part in parts}
        for name, some in sorted(found.items())
    }


def test_swaps(kind: str, n: int, seed: str) -> dict[str, Any]:
    """Change the state between the town and the capital, in n ordered pairs of states.

    Features at the last position are moved from what they do for the prompt's town to their mean over the towns of the
    donor's state; embeddings are left alone. The donor of the same state is its other towns. Two moves:

    - `through_the_state`: features of all layers, means over all relations, so that no answer is carried along. Nearly
      every feature of layer 0 follows single towns, and only many towns together say their state.
    - `behind_the_first_block`: features of the layers that read the stream in which the causal map finds the state,
      means over the same question. What says the answer is carried along.
    """
    loaded, draw = silverstain.load("organism", dictionary=kind, check_dictionary=False), random.Random(seed)
    asked = questions(loaded.model, like="the capital of the state containing dallas is")
    recorded, world = RecordedQuestions.of(loaded.model, loaded.dictionary, asked), default_geography()
    towns = {s: sorted(set(asked.town[asked.state == s].tolist())) for s in asked.state.unique().tolist()}
    pairs = [(a, b) for a in towns for b in towns if a != b and len(towns[a]) > 2 and len(towns[b]) > 1]
    cases = [(draw.choice(towns[one]), one, other) for one, other in draw.sample(pairs, min(n, len(pairs)))]
    n_layers, capital = loaded.dictionary.n_layers, RELATIONS.index("capital")
    at = [recorded.activations(layer, -1) for layer in range(n_layers)]
    is_capital = asked.relation == capital
    row_of = {town: int(((asked.town == town) & is_capital).nonzero()[0]) for town, *_ in cases}

    def mean(layer: int, some: Sequence[int], among: torch.Tensor) -> torch.Tensor:
        return at[layer][torch.isin(asked.town, torch.tensor(some)) & among].mean(0)

    def edits(town: int, come: Sequence[int], layers: Sequence[int], among: torch.Tensor) -> list[Edit]:
        out = []
        for layer in layers:
            difference = mean(layer, come, among) - mean(layer, [town], among)
            features = difference.nonzero().flatten()
            values = (at[layer][row_of[town], features] + difference[features]).tolist()
            if values:
                out.append(Edit(op="patch", features=tuple((layer, f) for f in features.tolist()), positions=(-1,),
                                donor=tuple(values)))  # fmt: skip
        return out

    ids = [asked.token_ids[row_of[town]].tolist() for town, *_ in cases]
    own, wanted = ([loaded.model.token_id(world.states[case[i]].capital) for case in cases] for i in (1, 2))

    def run(listed: list[list[Edit]]) -> list[Any]:
        return intervene_many(loaded.model, loaded.dictionary, ids, listed, batch_size=50)

    def swapped(layers: Sequence[int], among: torch.Tensor) -> dict[str, Any]:
        swaps = [edits(town, towns[other], layers, among) for town, _, other in cases]
        same = [edits(town, [t for t in towns[one] if t != town], layers, among) for town, one, _ in cases]
        as_much = [
            random_control(record_run(loaded.model, loaded.dictionary, prompt), swap, seed=0)
            for prompt, swap in zip(ids, swaps, strict=True)
        ]
        right = [r.edited[0].id == answer for r, answer in zip(run(swaps), wanted, strict=True)]
        return {
            "layers": list(layers),
            "donors_capital": wilson(right),
            "changed_by_the_same_state": wilson([r.is_changed for r in run(same)]),
            "changed_by_as_much_of_random_features": wilson([r.is_changed for r in run([list(e) for e in as_much])]),
        }

    clean = [r.baseline[0].id == answer for r, answer in zip(run([[] for _ in ids]), own, strict=True)]
    return {
        "n_pairs": len(cases), "seed": seed, "position": "last", "right_before": wilson(clean),
        "through_the_state": swapped(range(n_layers), torch.ones_like(is_capital)),
        "behind_the_first_block": swapped(range(1, n_layers), is_capital),
    }  # fmt: skip


def test_inhibition(kind: str, n: int, seed: str) -> dict[str, Any]:
    """Are the suppressed features of known and unknown names among the first ten inhibited ones?

    What should be found is decided by contrast, on other names: features of the last position that fire on at least
    80 % of the one kind and at most 20 % of the other. Prompts on which it fires, or is not suppressed, do not count.
    """
    loaded, everyone, draw = (
        silverstain.load("organism", dictionary=kind, check_dictionary=False), people(), random.Random(seed),
    )  # fmt: skip
    pools = {"known": everyone.known, "unknown": everyone.unknown}
    found: dict[str, list[bool]] = {status: [] for status in pools}
    signs: list[bool] = []
    wakes: list[bool] = []
    for fact in ("sport", "drink"):
        firing = {status: _firing(loaded, pool[:40], fact, status) for status, pool in pools.items()}
        for status, other in (("known", "unknown"), ("unknown", "known")):
            suppressed = ((firing[other] >= 0.8) & (firing[status] <= 0.2)).nonzero().tolist()
            for i, person in enumerate(draw.sample(pools[status][55:], n // 4)):
                graph = loaded.trace(question(person, fact, i % 3, status=status).prompt).prune()
                first = inhibited_features(loaded.model, loaded.dictionary, graph, n=10)
                last, nodes = int(graph.nodes.position.max()), graph.nodes
                fires = {
                    (int(nodes.layer[k]), int(nodes.feature[k]))
                    for k in (nodes.is_kind("feature") & (nodes.position == last)).nonzero().flatten().tolist()
                }
                silent = {(layer, f) for layer, f in suppressed if (layer, f) not in fires}
                if silent:
                    found[status].append(any((one.layer, one.feature) in silent for one in first))
                signs += [edge.is_sign_right for one in first for edge in one.edges]
                wakes += [one.wakes for one in first]
    return {
        "seed": seed, "names": n, "edge_signs_right": wilson(signs), "ghosts_that_wake": wilson(wakes),
        **{f"{status}_name_in_top_10": wilson(hits) for status, hits in found.items()},
    }  # fmt: skip


def _firing(loaded: silverstain.ReplacementModel, pool: Sequence[Any], fact: str, status: str) -> torch.Tensor:
    """On which share of a pool's questions each feature fires at the last position, [layer, feature]."""
    active = []
    for i, person in enumerate(pool):
        ids = torch.tensor([loaded.model.tokenize(question(person, fact, i % 3, status=status).prompt)])
        x = harvest(loaded.model, ids, reads_at=loaded.dictionary.reads_at).mlp_inputs[:, 0, -1]
        active.append(torch.stack([loaded.dictionary.encode_layer(layer, x[layer]) > 0 for layer in range(len(x))]))
    return torch.stack(active).float().mean(0)


def wilson(outcomes: Sequence[bool]) -> dict[str, float | None]:
    """A share with its 95 % interval; of nothing, no share."""
    if not outcomes:
        return {"share": None, "low": None, "high": None, "n": 0}
    found = share_of(sum(outcomes), len(outcomes))
    return {"share": found.value, "low": found.low, "high": found.high, "n": found.n}


def record(path: Path, kind: str, found: dict[str, Any]) -> None:
    """Add what was found to the results."""
    results: dict[str, Any] = (
        json.loads(path.read_text()) if path.exists() else {"format": "silverstain.verification-benchmark/1"}
    )
    results.setdefault(kind, {}).update(found)
    write_json_whole(path, results)


if __name__ == "__main__":
    main()
