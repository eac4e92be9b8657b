"""What automatic groups are worth: variables separated, circuits, stability, edges between groups tested.

    python benchmarks/groups.py organism [--model organism/general] [--quick] [--out FILE]
    python benchmarks/groups.py circuits --out FILE [--model organism/composing]   # in a file of the first line, anew
    python benchmarks/groups.py variables [--out FILE]
    python benchmarks/groups.py edges [--model organism/composing] [--out FILE]
    python benchmarks/groups.py collection
    python benchmarks/groups.py nothing

Groups are found in the graphs of half of a family's combinations (which town, which pair of digits …); every figure is
of the other half, which nothing was chosen on. No concept, label or value is given to the grouping.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

import silverstain
from silverstain.attribution.secant import contrast_graph, find_contrast
from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.graphs import Graph, GroupRoles, Roles, collapse, find_roles, influence, merge
from silverstain.graphs.merging import Merged
from silverstain.graphs.roles import explained_by_features
from silverstain.graphs.stability import stability
from silverstain.loading import ReplacementModel
from silverstain.models import harvest_mlps
from silverstain.organism.causal_map import CausalMap
from silverstain.organism.files import model_path
from silverstain.organism.mapping import Words
from silverstain.organism.probing import SHRINKAGE
from silverstain.organism.siblings import siblings
from silverstain.organism.variables import Case, Pair, VariableSpec
from silverstain.statistics import rank_correlation
from silverstain.verification import graph_run
from silverstain.verification.contrast import Patching, find_circuit, pair_of_groups, places_of
from silverstain.verification.contrast.circuits import PairOfGroups

TRACED, GROUPED_PAIRS, SEARCHED_PAIRS, TESTED_PAIRS, HELD_OUT = 60, 16, 4, 16, 200
SHUFFLES, INNER = 10, 4
SHARES = (0.01, 0.02, 0.05, 0.1)
"""Least shares of the target's input, at which the figures of edges are told again."""
MOST_READ = 12
"""Groups that are read, the most influential, and all roles."""


def auroc(score: np.ndarray, is_positive: np.ndarray) -> float:
    from scipy.stats import rankdata

    n = int(is_positive.sum())
    ranks = rankdata(score)
    return float((ranks[is_positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def read_values(x: np.ndarray, values: np.ndarray, tested: np.ndarray) -> float:
    """Mean AUROC, over values, of a linear reader fitted on the other cases (shrunk discriminant, equal priors)."""
    fitted = ~tested
    mean, spread = x[fitted].mean(0), x[fitted].std(0)
    z = (x - mean) / np.where(spread > 1e-6, spread, np.inf)
    names = [v for v in np.unique(values[fitted]) if (values[fitted] == v).sum() >= 2]
    means = np.stack([z[fitted & (values == v)].mean(0) for v in names])
    known = fitted & np.isin(values, names)
    within = z[known] - means[[names.index(v) for v in values[known]]]
    covariance = (1 - SHRINKAGE) * within.T @ within / len(within) + SHRINKAGE * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, means.T)
    scores = z @ weights - 0.5 * (means.T * weights).sum(0)
    found = []
    for i, v in enumerate(names):
        positive = values[tested] == v
        if 1 <= positive.sum() < tested.sum():
            margin = scores[tested, i] - np.delete(scores[tested], i, 1).max(1) if len(names) > 1 else scores[tested, i]
            found.append(auroc(margin, positive))
    return statistics.mean(found) if found else 0.5


class Family:
    """One variable's prompts, halved by combination, with the groups of the first half."""

    def __init__(self, loaded: ReplacementModel, spec: VariableSpec, *, held_out: int, traced: int) -> None:
        self.loaded, self.spec, self.words = loaded, spec, Words(loaded.model.tokenizer)
        pairs = [p for p in spec.pairs(2 * held_out, 11) if self.length(p.base) == self.length(p.donor)]
        common = Counter(self.length(p.base) for p in pairs).most_common(1)[0][0]
        self.pairs = [p for p in pairs if self.length(p.base) == common]
        self.is_searched = self._half(self.pairs)
        self.searched = [p for p in self.pairs if self.is_searched[p.base.combination]]
        self.tested = [p for p in self.pairs if not self.is_searched[p.base.combination]]
        self.graphs = [loaded.trace(self.words.prompt(p.base)) for p in self.searched[:traced]]
        self.merged: Merged = merge(self.graphs)
        self.roles: Roles = find_roles(self.merged.graph)
        self.finder = GroupRoles.of(self.merged.graph, self.roles.groups)

    def length(self, case: Case) -> int:
        return len(self.words.prompt(case))

    @staticmethod
    def _half(pairs: Sequence[Pair]) -> dict[str, bool]:
        """Combinations dealt in two, those of one value into both halves where it has several."""
        by_value: dict[str, list[str]] = defaultdict(list)
        for case in (case for pair in pairs for case in (pair.base, pair.donor)):
            if case.combination not in by_value[case.value]:
                by_value[case.value].append(case.combination)
        rng, dealt = random.Random(5), {}
        turn = 0
        for value in sorted(by_value):
            some = sorted(by_value[value])
            rng.shuffle(some)
            for combination in some:
                dealt.setdefault(combination, turn % 2 == 0)
                turn += 1
        return dealt

    def separated(self) -> dict[str, Any]:
        """How well the best group separates the variable's values on held-out cases, beside shuffled values."""
        cases = [case for p in self.pairs for case in (p.base, p.donor)]
        values = np.array([case.value for case in cases])
        tested = np.array([not self.is_searched[case.combination] for case in cases])
        combinations = np.array([case.combination for case in cases])
        written = self._written([self.words.prompt(case) for case in cases])
        rng = np.random.default_rng(0)

        def best(names: np.ndarray) -> tuple[float, int, float]:
            """Chosen within the searched half alone, then read on the other."""
            folds = {c: i % INNER for i, c in enumerate(rng.permutation(np.unique(combinations[~tested])))}
            inner = np.array([folds.get(c, -1) for c in combinations])[~tested]
            chosen = [
                statistics.mean(read_values(x[~tested], names[~tested], inner == fold) for fold in range(INNER))
                for x in written
            ]
            at = int(np.argmax(chosen))
            return read_values(written[at], names, tested), at, chosen[at]

        found, at, _ = best(values)
        shuffled = []
        for _ in range(SHUFFLES):
            distinct = np.unique(combinations)
            drawn = dict(zip(distinct, rng.permutation([values[combinations == c][0] for c in distinct]), strict=True))
            shuffled.append(best(np.array([drawn[c] for c in combinations]))[0])
        chance = float(np.quantile(shuffled, 0.95))
        name, n_units = self._candidates[at]
        return {
            "auroc": found, "shuffled_95": chance, "group": name, "units": len(n_units),
            "held_out": int(tested.sum()), "values": len(set(values)),
            "recalled": bool(found >= 0.9 and found > chance),
        }  # fmt: skip

    @property
    def _candidates(self) -> list[tuple[str, list[int]]]:
        """What is read: the most influential groups, and roles of several groups, as their members."""
        groups = [(group.label, list(group.members)) for group in self.roles.groups]
        several = [some for some in self.roles.roles.values() if len(some) > 1]
        joined = [("role: " + groups[some[0]][0], [m for i in some for m in groups[i][1]]) for some in several]
        return [*groups[:MOST_READ], *joined]

    def _written(self, ids: Sequence[list[int]]) -> list[np.ndarray]:
        """What each group writes in each case."""
        model, dictionary = self.loaded.model, self.loaded.dictionary
        batch = torch.tensor(ids)
        inputs = torch.cat(
            [harvest_mlps(model, part, reads_at=dictionary.reads_at).mlp_inputs for part in batch.split(128)], 1
        )
        nodes = self.merged.graph.nodes
        found = []
        for _, members in self._candidates:
            total = torch.zeros(len(batch), model.d_model, dtype=torch.float64)
            places: dict[tuple[int, int], list[int]] = defaultdict(list)
            for member in members:
                places[int(nodes.layer[member]), int(nodes.position[member])].append(int(nodes.feature[member]))
            for (layer, position), features in places.items():
                some = torch.tensor(features)
                acts = dictionary.encode_layer(layer, inputs[layer, :, position])[:, some]
                total += (acts @ dictionary.decoder_rows(layer, some).sum(1)).double()
            found.append(total.numpy())
        return found

    def rand_index(self) -> dict[str, float]:
        """Adjusted Rand index of groups against the variable that explains most of each unit's variance.

        Which variable a unit follows is measured in one run of all cases of both halves. `reliability` is what two
        halves of these cases have in common when they are asked the same: no grouping can be told to be better than
        that. In the sixty prompts that are traced alone it is about .5, as most towns occur once.
        """
        from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure

        cases = [case for p in self.pairs for case in (p.base, p.donor)]
        nodes = self.merged.graph.nodes
        units = [(m, i, s.role) for i, s in enumerate(self.roles.supernodes) for m in s.group.members]
        units = [one for one in units if nodes.kinds[one[0]] == "feature" and int(self.merged.node_counts[one[0]]) >= 3]
        active = self._activations([one[0] for one in units], [self.words.prompt(case) for case in cases])

        def followed(rows: np.ndarray) -> list[str]:
            variables = self._variables([cases[row] for row in rows])
            return [follows(column, variables) for column in active[rows].T]

        order = np.random.default_rng(0).permutation(len(cases))
        truth, halves = followed(order), [followed(part) for part in np.array_split(order, 2)]
        found: dict[str, float] = {}
        for name, parts in (("groups", [one[1] for one in units]), ("roles", [one[2] for one in units])):
            found[name] = float(adjusted_rand_score(truth, parts))
            same, whole, _ = homogeneity_completeness_v_measure(truth, parts)
            found |= {f"{name}_homogeneity": float(same), f"{name}_completeness": float(whole)}
        return found | {
            "reliability": float(adjusted_rand_score(*halves)), "units": float(len(units)),
            "variables": float(len(set(truth))), "cases": float(len(cases)),
        }  # fmt: skip

    def _activations(self, units: Sequence[int], ids: Sequence[list[int]]) -> np.ndarray:
        """[case, unit] activations of units of the merged graph, at their places."""
        nodes, dictionary = self.merged.graph.nodes, self.loaded.dictionary
        inputs = torch.cat(
            [
                harvest_mlps(self.loaded.model, part, reads_at=dictionary.reads_at).mlp_inputs
                for part in torch.tensor(ids).split(128)
            ], 1,
        )  # fmt: skip
        found = np.zeros((len(ids), len(units)))
        places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for column, unit in enumerate(units):
            places[int(nodes.layer[unit]), int(nodes.position[unit])].append(column)
        for (layer, position), columns in places.items():
            features = [int(nodes.feature[units[column]]) for column in columns]
            found[:, columns] = dictionary.encode_layer(layer, inputs[layer, :, position])[:, features].numpy()
        return found

    @staticmethod
    def _variables(cases: Sequence[Case]) -> dict[str, np.ndarray]:
        columns = {f"word {i}": [case.words[i] for case in cases] for i in range(min(len(c.words) for c in cases))}
        columns |= {"value": [case.value for case in cases], "answer": [sorted(case.answers)[0] for case in cases]}
        found: dict[str, np.ndarray] = {}
        for name, column in columns.items():
            codes = np.unique(column, return_inverse=True)[1]
            if codes.max() > 0 and not any(np.array_equal(codes, other) for other in found.values()):
                found[name] = codes
        return found

    def contrasts(self, pairs: Sequence[Pair]) -> Iterator[tuple[Patching, Graph]]:
        """The exact contrasts of some pairs, without those whose prompts have one answer."""
        for pair in pairs:
            base, other = (self.words.prompt(case) for case in (pair.base, pair.donor))
            try:
                found = find_contrast(self.loaded.model, self.loaded.dictionary, base, other)
            except UsageError:  # both prompts have one answer
                continue
            yield Patching(found), contrast_graph(found)

    def circuit(self) -> dict[str, Any]:
        """A circuit of groups, attention among them, of the contrasts of the first half, and what it does in others."""
        searched = list(self.contrasts(self.searched[:SEARCHED_PAIRS]))
        merged = merge(
            [graph for _, graph in [*searched, *self.contrasts(self.searched[SEARCHED_PAIRS:GROUPED_PAIRS])]]
        )
        roles = find_roles(merged.graph)
        finder, only_write = GroupRoles.of(merged.graph, roles.groups), [one.only_writes for one in roles.supernodes]

        def grouped(pair: tuple[Patching, Graph]) -> PairOfGroups:
            patching, graph = pair
            return pair_of_groups(patching, places_of(graph, finder.found_in(graph)), only_write=only_write)

        pairs = [grouped(pair) for pair in searched]
        tested = [grouped(pair) for pair in self.contrasts(self.tested[:TESTED_PAIRS])]
        labels = [group.label for group in roles.groups]
        start, cpu = perf_counter(), process_time()
        found = find_circuit(pairs, labels, allowed=[not only for only in only_write], tested=pairs)
        took = perf_counter() - start, process_time() - cpu
        scored = find_circuit(pairs, labels, allowed=[i in found.groups for i in range(len(labels))], tested=tested)
        return {"seconds": took[0], "cpu_seconds": took[1], "only_write": sum(only_write), "of_groups": len(labels),
                **scored.to_json(), "steps": []}  # fmt: skip


def follows(activation: np.ndarray, variables: dict[str, np.ndarray]) -> str:
    """The variable that explains most of a unit's variance, corrected for how many values it has."""
    spread = activation.std()
    if spread <= 0.1 * abs(activation.mean()):
        return "wording"
    best, name = 0.3, "wording"
    for variable, codes in variables.items():
        k, n = codes.max() + 1, len(codes)
        if k >= n:
            continue
        means = np.bincount(codes, activation, k) / np.maximum(np.bincount(codes, minlength=k), 1)
        left = ((activation - means[codes]) ** 2).sum() / ((activation - activation.mean()) ** 2).sum()
        explained = 1 - left * (n - 1) / (n - k)
        if explained > best:
            best, name = explained, variable
    return name


def edges_tested(loaded: ReplacementModel, graphs: Sequence[Graph]) -> dict[str, Any]:
    """Edges between the groups of each graph, beside what removing one does to another in the model."""
    predicted, measured, signs = [], [], []
    for graph in graphs:
        groups = [one.group for one in find_roles(graph).supernodes[:10]]
        between, run = collapse(graph, groups), graph_run(loaded.model, loaded.dictionary, graph)
        features = torch.tensor(sorted({m for group in groups for m in group.members}))
        column = {int(node): i for i, node in enumerate(features)}
        edits = [run.scaled(group.members, 0.0) for group in groups]
        found = run.measured(edits, run.readouts(features), attention="live")
        reached, activation = influence(graph), graph.nodes.activation.double()
        for target, group in enumerate(groups):
            members = list(group.members)
            weight = reached[members] / reached[members].sum().clamp_min(1e-12)
            own = activation[members].clamp_min(1e-6)
            for source in range(len(groups)):
                share = float(between.weights[target, source])
                if source == target or abs(share) < 0.01:
                    continue
                change = found.features[source, [column[m] for m in members]].double() / own
                effect = float((change * weight).sum())
                predicted.append(-share)
                measured.append(effect)
                signs.append((effect < 0) == (share > 0))
    by_share = {}
    for least in SHARES:
        some = [i for i, share in enumerate(predicted) if abs(share) >= least]
        by_share[str(least)] = {
            "edges": len(some),
            "sign": sum(signs[i] for i in some) / max(len(some), 1),
            "spearman": rank_correlation([predicted[i] for i in some], [measured[i] for i in some]),
        }
    return {
        "edges": len(signs),
        "sign": sum(signs) / max(len(signs), 1),
        "spearman": rank_correlation(predicted, measured),
        "by_share": by_share,
    }


def variables_of(model: str) -> list[tuple[str, VariableSpec]]:
    """The measured variables of an organism with their verdicts: computed ones first, then the others in turn, so that
    a run that is stopped has some of all."""
    sibling = model.partition("/")[2] or "general"
    verdicts = {
        (v.family, v.variable, v.form): v.verdict.kind
        for v in CausalMap.load(model_path(sibling) / "causal-map.json").variables
    }
    order = {"computed": 0, "gathered": 1, "output": 2}
    seen: Counter[str] = Counter()
    ranked = []
    for spec in siblings()[sibling].variables():
        kind = verdicts[spec.family, spec.variable, spec.form]
        if kind in order:
            ranked.append((0 if kind == "computed" else 1 + seen[kind], order[kind], kind, spec))
            seen[kind] += 1
    return [(kind, spec) for _, _, kind, spec in sorted(ranked, key=lambda one: one[:2])]


def organism(model: str, quick: bool, out: Path | None) -> dict[str, Any]:
    loaded = silverstain.load(model)
    rows, graphs = [], []
    for kind, spec in variables_of(model)[: 2 if quick else None]:
        family = Family(loaded, spec, held_out=HELD_OUT, traced=TRACED)
        start = perf_counter()
        find_roles(family.graphs[0])
        row = {"variable": spec.name, "verdict": kind, "group_seconds": perf_counter() - start}
        row |= {"separated": family.separated(), "rand": family.rand_index()}
        row |= {"stability": stability(family.graphs).to_json(), "circuit": family.circuit()}
        rows.append(row)
        graphs += family.graphs[:3]
        print(json.dumps(row), file=sys.stderr, flush=True)
        if out:  # a run that is stopped leaves what it has
            out.write_text(json.dumps({"model": model, "summary": summary(rows), "rows": rows}, indent=1) + "\n")
    return {"model": model, "summary": summary(rows), "edges": edges_tested(loaded, graphs[:24]), "rows": rows}


def circuits(model: str, out: Path | None) -> dict[str, Any]:
    """The circuits of a file that `organism` wrote, searched again; all else in it stays."""
    if out is None:
        raise SystemExit("circuits needs the file whose circuits are searched again: --out FILE")
    loaded, known = silverstain.load(model), json.loads(out.read_text())
    rows = {row["variable"]: row for row in known["rows"]}
    for _, spec in variables_of(model):
        if spec.name in rows:
            rows[spec.name]["circuit"] = Family(loaded, spec, held_out=HELD_OUT, traced=2).circuit()
            known["summary"] = summary(known["rows"])
            print(json.dumps(rows[spec.name]["circuit"]), file=sys.stderr, flush=True)
            out.write_text(json.dumps(known, indent=1) + "\n")
    return known


def variables(model: str, out: Path | None) -> dict[str, Any]:
    """Groups against variables, and stability, alone: the two that need neither readers nor interventions."""
    loaded = silverstain.load(model)
    rows: list[dict[str, Any]] = []
    for kind, spec in variables_of(model)[:6]:
        family = Family(loaded, spec, held_out=HELD_OUT, traced=TRACED)
        rows.append({
            "variable": spec.name, "verdict": kind, "rand": family.rand_index(),
            "stability": stability(family.graphs).to_json(),
        })  # fmt: skip
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        if out:
            out.write_text(json.dumps({"model": model, "rows": rows}, indent=1) + "\n")
    return {"model": model, "rows": rows}


def edges(model: str) -> dict[str, Any]:
    """Edges between groups alone, in three graphs of each of the first eight variables."""
    loaded = silverstain.load(model)
    words = Words(loaded.model.tokenizer)
    some = [pair.base for _, spec in variables_of(model)[:8] for pair in spec.pairs(3, 11)]
    return {"model": model, "graphs": len(some), **edges_tested(loaded, [loaded.trace(words.prompt(c)) for c in some])}


def collection() -> dict[str, Any]:
    """A thousand graphs of the organism in one folder, and how long a question takes."""
    from silverstain.graphs import collect, query
    from silverstain.organism.prompts import graph_prompts

    loaded = silverstain.load("organism")
    prompts = [prompt for _, prompt in graph_prompts(siblings()["general"].families(), n=12, seed=1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graphs = [loaded.trace(prompt) for prompt in prompts]
        for i in range(1000):
            one = graphs[i % len(graphs)]
            one.save(folder / f"{i:04d}.safetensors")
        start = perf_counter()
        made = collect(folder)
        first, start = perf_counter() - start, perf_counter()
        collect(folder)
        again, start = perf_counter() - start, perf_counter()
        sql = """
            SELECT unit, count(*) AS prompts FROM (
                SELECT graph, unit, sum(share) AS share FROM nodes JOIN graphs USING (graph)
                WHERE unit <> '' AND prompt LIKE '%state containing%' GROUP BY ALL)
            WHERE share >= 0.05 GROUP BY unit
            HAVING prompts >= 0.3 * (SELECT count(*) FROM graphs WHERE prompt LIKE '%state containing%')"""
        answer = query(folder, sql)
        asked, cpu = perf_counter() - start, process_time()
        query(folder, sql)
        size = sum(path.stat().st_size for path in (folder / "collection").iterdir())
        return {
            "graphs": made.graphs, "distinct": len(graphs), "collect_seconds": first, "collect_again_seconds": again,
            "query_seconds": asked, "query_cpu_seconds": process_time() - cpu, "rows": len(answer.rows),
            "megabytes": size / 1e6,
        }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("computed", "gathered", "output"):
        some = [row for row in rows if row["verdict"] == kind]
        if some:
            found[kind] = {
                "variables": len(some), "recall": statistics.mean(r["separated"]["recalled"] for r in some),
                "rand_groups": statistics.mean(r["rand"]["groups"] for r in some),
                "rand_roles": statistics.mean(r["rand"]["roles"] for r in some),
                "jaccard": statistics.mean(r["stability"]["jaccard"] for r in some),
                "random_jaccard": statistics.mean(r["stability"]["random"] for r in some),
                "circuits": {
                    what: {name: statistics.mean(read(r["circuit"], what)[name] for r in some)
                           for name in ("necessity", "sufficiency", "units")}
                    for what in ("circuit", "random", "direct", "writers_alone")
                },
                "seconds": statistics.median(r["circuit"]["cpu_seconds"] for r in some),
            }  # fmt: skip
    return found


def read(circuit: dict[str, Any], what: str) -> dict[str, float]:
    return circuit if what == "circuit" else circuit[what]


def nothing() -> dict[str, Any]:
    """A random model with random dictionaries of several scales: is it told that there is nothing to read?"""
    model = silverstain.load("organism/untrained").model
    d, n = model.d_model, 1024
    told = []
    for scale in (0.02, 0.1, 0.3, 1.0):
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int, by: float = scale, generator: torch.Generator = generator) -> torch.Tensor:
            return torch.randn(*shape, generator=generator) * by

        layers = range(model.n_layers)
        drawn = Dictionary.from_tensors(
            W_enc=[draw(n, d, by=d**-0.5) for _ in layers], b_enc=[draw(n, by=0.0) - 1.5 for _ in layers],
            W_dec=[draw(n, 1, d) for _ in layers], b_dec=[draw(d, by=0.0) for _ in layers],
            name="random", model_hash=model.hash,
        )  # fmt: skip
        loaded = ReplacementModel(model=model, dictionary=drawn)
        for prompt in ("the capital of the state containing dallas is", "calc : 12 + 34 ="):
            graph = loaded.trace(prompt)
            roles = find_roles(graph)
            told.append({
                "scale": scale, "prompt": prompt, "remark": roles.remark, "groups": len(roles.supernodes),
                "replacement": graph.scores().replacement, "explained": explained_by_features(graph),
            })  # fmt: skip
    return {"told": told, "share": statistics.mean(bool(one["remark"]) for one in told)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["organism", "circuits", "variables", "edges", "collection", "nothing"])
    parser.add_argument("--model")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "organism":
        report = organism(given.model or "organism/general", given.quick, given.out)
    elif given.what == "circuits":
        report = circuits(given.model or "organism/composing", given.out)
    elif given.what == "variables":
        report = variables(given.model or "organism/general", given.out)
    elif given.what == "edges":
        report = edges(given.model or "organism/composing")
    elif given.what == "collection":
        report = collection()
    else:
        report = nothing()
    text = json.dumps(report, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
