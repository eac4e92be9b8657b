"""Groups of contrasts of a pretrained model: found on some contrasts of a kind, tried on others.

    python -m benchmarks.contrast_groups [--model smollm2-135m] [--kinds capital,plural] [--out FILE]

For each kind of contrast in `contrasts.json` that the model answers rightly: groups are found in the merged graph of
the contrasts of the development half, a circuit is searched on these, and all figures are of contrasts of the other
half, in which the same groups are found again. Beside the circuit's two figures (`silverstain circuit`) stand

    transferred  the circuit's units have the other prompt's activations: the share of prompts in which the other
                 prompt's answer is then likelier than the prompt's own
    brought      the other way round: they have this prompt's activations in the other prompt's run

and both of as many members drawn at random, out of all groups and out of all units. In these two attention is live:
patterns that a circuit has are not exchanged.

A kind is written to the file when it is complete; the same line goes on with the kinds that are not there.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from benchmarks.contrast_table import TokenContrast, contrasts_of

import silverstain
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import contrast_graph, find_contrast
from silverstain.errors import UsageError
from silverstain.graphs import Graph, GroupRoles, find_roles, merge
from silverstain.loading import ReplacementModel
from silverstain.verification.contrast import Patching, find_circuit, pair_of_groups, places_of
from silverstain.verification.contrast.circuits import PairOfGroups
from silverstain.verification.contrast.patching import BASE, CONTRAST, Patch

FIGURES = ("necessity", "sufficiency", "transferred", "brought", "units")
BESIDE = ("random", "direct", "writers_alone")


def traced(loaded: ReplacementModel, tokens: TokenContrast) -> tuple[Patching, Graph]:
    """The contrast's runs and its graph, of one pass over both prompts."""
    target = DifferenceTarget(token=tokens.contrast_answer, minus=tokens.base_answer)
    base, other = list(tokens.base), list(tokens.contrast)
    found = find_contrast(loaded.model, loaded.dictionary, base, other, targets=(target,))
    return Patching(found), contrast_graph(found)


def exchanged(pairs: Sequence[PairOfGroups], units: Sequence[torch.Tensor]) -> dict[str, float]:
    """In what share of the pairs the answer goes with some units, in either direction."""
    transferred, brought = [], []
    for pair, members in zip(pairs, units, strict=True):
        some = members[members < pair.n_units]  # behind these are patterns
        value = pair.patching.run([Patch(run=BASE, units=some), Patch(run=CONTRAST, units=some)]).value
        transferred.append(float(value[0]) > 0)
        brought.append(float(value[1]) < 0)
    return {"transferred": statistics.mean(transferred), "brought": statistics.mean(brought)}


def drawn(some: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """So many of some units."""
    return some[torch.randperm(len(some), generator=torch.Generator().manual_seed(seed))[:n]]


def kind_measured(
    loaded: ReplacementModel, developed: Sequence[TokenContrast], figures: Sequence[TokenContrast]
) -> dict[str, Any]:
    """What the groups of one kind's development contrasts do in the others."""
    start = perf_counter()
    pairs = [traced(loaded, one) for one in developed]
    merged = merge([graph for _, graph in pairs]).graph
    roles = find_roles(merged)
    finder, only = GroupRoles.of(merged, roles.groups), [one.only_writes for one in roles.supernodes]

    def grouped(pair: tuple[Patching, Graph]) -> PairOfGroups:
        patching, graph = pair
        return pair_of_groups(patching, places_of(graph, finder.found_in(graph)), only_write=only)

    searched, tested = [grouped(pair) for pair in pairs], [grouped(traced(loaded, one)) for one in figures]
    cpu, labels = process_time(), [group.label for group in roles.groups]
    found = find_circuit(searched, labels, allowed=[not one for one in only], tested=tested)
    cpu = process_time() - cpu
    circuits = [pair.of(found.groups) for pair in tested]
    grouped_units = [torch.cat(pair.members).unique() for pair in tested]
    every = [torch.arange(pair.n_units) for pair in tested]
    random = {
        name: exchanged(
            tested, [drawn(some, len(c), i) for i, (some, c) in enumerate(zip(pool, circuits, strict=True))]
        )
        for name, pool in (("of_groups", grouped_units), ("of_all", every))
    }
    return {
        **found.to_json(), "steps": [], "contrasts": [len(developed), len(figures)], **exchanged(tested, circuits),
        "exchanged_random": random, "cpu_seconds": cpu, "seconds": perf_counter() - start,
    }  # fmt: skip


def measured(model: str, kinds: Sequence[str] | None, out: Path | None) -> dict[str, Any]:
    loaded = silverstain.load(model)
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out and out.exists() else []
    by_kind: dict[str, dict[str, list[TokenContrast]]] = defaultdict(lambda: defaultdict(list))
    for one in contrasts_of(loaded.model):
        if one.counts:
            by_kind[one.tokens.row.kind][one.tokens.row.split].append(one.tokens)
    for kind, splits in by_kind.items():
        wanted = kinds is None or kind in kinds
        if (
            not wanted
            or any(row["kind"] == kind for row in rows)
            or not all(splits[s] for s in ("development", "figures"))
        ):
            continue
        try:
            found = kind_measured(loaded, splits["development"], splits["figures"])
        except UsageError as error:  # nothing can be grouped: said, and the others go on
            found = {"remark": str(error)}
        rows.append({"kind": kind, **found})
        print(json.dumps(rows[-1]), flush=True)
        if out:
            out.write_text(json.dumps(report(model, rows), indent=1) + "\n", encoding="utf-8")
    return report(model, rows)


def report(model: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over contrasts."""
    some = [row for row in rows if "necessity" in row]
    weights = [row["contrasts"][1] for row in some]

    def mean(values: Sequence[float]) -> float:
        return sum(v * w for v, w in zip(values, weights, strict=True)) / max(sum(weights), 1)

    summary: dict[str, Any] = {"kinds": len(some), "contrasts": sum(weights)}
    summary |= {name: mean([row[name] for row in some]) for name in FIGURES}
    for pool in ("of_groups", "of_all"):
        for name in ("transferred", "brought"):
            summary[f"{name}, random {pool}"] = mean([row["exchanged_random"][pool][name] for row in some])
    for what in BESIDE:
        summary[what] = {
            name: mean([row[what][name] for row in some]) for name in ("necessity", "sufficiency", "turned")
        }
    return {"model": model, "summary": summary, "rows": list(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--kinds")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kinds = given.kinds.split(",") if given.kinds else None
    print(json.dumps(measured(given.model, kinds, given.out)["summary"], indent=1))


if __name__ == "__main__":
    main()
