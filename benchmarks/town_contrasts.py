"""Contrasts of two towns of the organism: the account at the last word beside exchanges and patches there.

    python benchmarks/town_contrasts.py     # one thread, some minutes; writes benchmarks/results/town_contrasts.json

Goes on where it stopped, basis by basis. Pairs of towns of different states, half of them asked about in each of the
organism's two-hop wordings, all prompts of one length, both answered rightly. The target is the logit of the contrast
town's capital less that of the base's. The last word is the same in both prompts.

Layers: what the account says comes through the attention and the MLP of each layer at the last word, beside the change
of the target when that output alone is exchanged for the other run's, the rest live: in the base, in the contrast (sign
turned), and the mean of both. The same for the stream: `m0` is the stream at the last word behind the attention of
layer 0, before any MLP, where the pieces of the town are gathered and nothing is computed yet, and `r1` … is the stream
behind each block. What exchanging the stream does counts only beyond what exchanging m0 does. (In a dictionary, what it
misses, and what features write to later layers, goes past the stream in the account.) Other predictions beside the
account: every layer given what comes through m0 (`m0`); every layer given the mean of what is measured there on the
other pairs; the gradient of the run that is changed.

Swap: units at the last word patched into the base, and how often the contrast town's capital is then the likeliest of
all tokens, beside as many units at random, those of the largest change, the whole exchange of streams and outputs, and
mean differences between towns of the two states: of units (as `verification.py swap` has it) and of the stream at m0,
which is the floor, and behind block 3.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

import silverstain
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import Basis, Dictionary, NeuronBasis
from silverstain.interventions import Edit, intervene_many
from silverstain.models import LanguageModel, harvest
from silverstain.organism.families.geography import TWO_HOP
from silverstain.organism.world import RELATIONS
from silverstain.statistics import Estimate, estimates, finite, line, moments, rank_correlation, share_of
from silverstain.storage import write_json_whole
from silverstain.verification.contrast import Patch, Patching
from silverstain.verification.contrast.patching import BASE, CONTRAST
from silverstain.verification.contrast.rankings import account, changes, order_by, write_sizes

sys.path.insert(0, str(Path(__file__).parent))
from town_pairs import (
    ASKED,
    ByTemplate,
    Case,
    Outputs,
    Site,
    draw_cases,
    of_state,
    outputs,
    questions_of,
    sites_of,
    stream_mean_differences,
    streams_of,
)
from town_tables import shown

sys.path.remove(str(Path(__file__).parent))  # what imports this keeps its own path

RESULTS = Path(__file__).parent / "results" / "town_contrasts.json"
FORMAT = "silverstain.town-contrasts/1"
BASES = ("neurons", "cross-layer", "per-layer")
KS = (10, 20, 50, 100)
DIRECTIONS = ("base", "contrast", "both")
MEAN_OF_OTHERS = "mean of the other pairs"


# the account of one pair, and its units patched


def contrast_of(model: LanguageModel, basis: Basis, case: Case) -> Contrast:
    target = DifferenceTarget(token=case.answers[1], minus=case.answers[0])
    return find_contrast(model, basis, *case.token_ids, targets=(target,))


def account_at(contrast: Contrast, sites: Sequence[Site]) -> list[float]:
    """What comes through each output at the last word."""
    found = contrast.contributions
    parts = {"attention": found.attention_outputs, "mlp": found.mlp_outputs}
    return [float(parts[kind][layer, 0, -1]) for kind, layer in sites]


def at_last(contrast: Contrast) -> Tensor:
    """Which units stand at the last word."""
    return torch.cat([units.position == contrast.pair.n_positions - 1 for units in contrast.flow.units])


def account_of_streams(contrast: Contrast) -> list[float]:
    """What comes through the stream at the last word: m0, r1 …, but the last block's, through which all comes."""
    found = contrast.contributions
    return [float(found.attention_outputs[0, 0, -1]), *found.streams[1:, 0, -1].tolist()]


def layer_units(contrast: Contrast) -> dict[str, Any]:
    """The units of each layer at the last word: what comes through all of them, and what patching them does."""
    patching, score, last = Patching(contrast), account(contrast), at_last(contrast)
    layers = torch.arange(contrast.flow.n_layers).repeat_interleave(torch.tensor(patching.offsets).diff())
    groups = [(last & (layers == layer)).nonzero().flatten() for layer in range(contrast.flow.n_layers)]
    values = patching.run([Patch(run=way, units=some) for way in (BASE, CONTRAST) for some in (*groups, groups[0][:0])])
    base, back = values.value.unflatten(0, (2, -1))
    there, here = base[:-1] - base[-1], back[-1] - back[:-1]
    return {
        "account": [float(score[some].sum()) for some in groups],
        "measured": torch.stack([there, here, (there + here) / 2], dim=1).tolist(),
    }


def swaps(contrast: Contrast, wanted: int, seed: int) -> dict[str, dict[str, Any]]:
    """By order and K (`all`: all there): whether the answer is the wanted one, and how many units that took."""
    patching, score, last = Patching(contrast), account(contrast), at_last(contrast)
    most = int(last.sum())
    able = (last & (changes(contrast) != 0)).nonzero().flatten()
    orders = {
        "signed": order_by(score, last, most),
        "absolute": order_by(score.abs(), last, most),
        "largest change": order_by(write_sizes(contrast), last, most),
        "random": able[torch.randperm(len(able), generator=torch.Generator().manual_seed(seed))],
    }
    names = [(name, k) for name in orders for k in (*map(str, KS), "all")]
    units = [orders[name] if k == "all" else orders[name][: int(k)] for name, k in names]
    said = patching.run([Patch(run=BASE, units=some) for some in units]).first.tolist()
    found: dict[str, dict[str, Any]] = {name: {} for name in orders}
    for (name, k), some, first in zip(names, units, said, strict=True):
        found[name][k] = {"turned": first == wanted, "units": len(some)}
    return found


def unit_mean_differences(found: Outputs, basis: Basis, questions: ByTemplate) -> dict[str, dict[str, Any]]:
    """Units at the last word moved from what they do for the town to their mean over towns of the contrast's state: in
    all layers by means over all relations, and behind the first block by means over the same question."""
    assert isinstance(basis, Dictionary | NeuronBasis)
    model, layers = found.model, range(basis.n_layers)
    at = {}
    for template, every in questions.items():
        reads = harvest(model, every.token_ids, reads_at=basis.reads_at).mlp_inputs[:, :, -1]
        at[template] = [basis.encode_layer(layer, reads[layer]) for layer in layers]
    ways = {"through the state": (layers, RELATIONS), "behind the first block": (layers[1:], (ASKED,))}
    turned = {}
    for name, (some, relations) in ways.items():
        listed = []
        for case in found.cases.cases:
            every, (one, other) = questions[case.template], case.towns
            come, leave = every.rows(of_state(other), relations), every.rows([one], relations)
            (row,) = every.rows([one], (ASKED,)).tolist()
            edits = []
            for layer in some:
                all_of_them = at[case.template][layer]
                difference = all_of_them[come].mean(0) - all_of_them[leave].mean(0)
                features = difference.nonzero().flatten()
                values = all_of_them[row, features] + difference[features]
                pairs = tuple((layer, feature) for feature in features.tolist())
                if pairs:
                    edits.append(Edit(op="patch", features=pairs, positions=(-1,), donor=tuple(values.tolist())))
            listed.append(edits)
        ids = [list(case.token_ids[0]) for case in found.cases.cases]
        results = intervene_many(model, basis, ids, listed, batch_size=50)
        wanted = [case.answers[1] for case in found.cases.cases]
        sizes = [sum(len(edit.features) for edit in edits) for edits in listed]
        hits = [result.edited[0].id == answer for result, answer in zip(results, wanted, strict=True)]
        turned[name] = {"turned": hits, "units": sizes}
    return turned


# figures


def agreement(predicted: Float[Tensor, "site pair"], measured: Float[Tensor, "site pair"]) -> dict[str, Any]:
    """Over sites and pairs together, with intervals over pairs; and Spearman over pairs at each site, and over sites in
    each pair, the mean of these."""
    ranks = [torch.from_numpy(rankdata(part).reshape(part.shape)) for part in (predicted, measured)]
    plain, ranked = (
        torch.stack([moments(p, m) for p, m in zip(one.T, other.T, strict=True)])
        for one, other in ((predicted, measured), ranks)
    )

    def figures(times: Float[Tensor, "draw pair"]) -> dict[str, Tensor]:
        of_values = line(times @ plain)
        return {
            "pearson": pearson(times @ plain),
            "spearman": pearson(times @ ranked),
            "slope": of_values.slope,
            "r2": of_values.r2,
        }

    found: dict[str, Any] = {
        name: _estimate(one) for name, one in estimates(figures, predicted.shape[1], draws=500).items()
    }
    in_pairs = _rank_correlations(predicted.T, measured.T)
    known = [value for value in in_pairs if value is not None]
    return found | {
        "spearman_at_each_site": _rank_correlations(predicted, measured),
        "mean_spearman_in_a_pair": sum(known) / len(known) if known else None,
    }


def _rank_correlations(predicted: Float[Tensor, "row n"], measured: Float[Tensor, "row n"]) -> list[float | None]:
    rows = zip(predicted.tolist(), measured.tolist(), strict=True)
    return [finite(rank_correlation(p, m)) for p, m in rows]


def pearson(sums: Float[Tensor, "draw six"]) -> Float[Tensor, " draw"]:
    """The correlation of the pairs whose `moments` these are."""
    n, p, m, pp, mm, pm = sums.unbind(-1)
    return (n * pm - p * m) / ((n * pp - p * p) * (n * mm - m * m)).sqrt()


def _estimate(one: Estimate) -> dict[str, float]:
    return {"value": one.value, "low": one.interval[0], "high": one.interval[1]}


def wilson(hits: Sequence[bool], units: Sequence[int] = ()) -> dict[str, Any]:
    """A share with its interval, and how many units it took on average."""
    share = share_of(sum(hits), len(hits))
    found = {"share": share.value, "low": share.low, "high": share.high, "n": share.n}
    return found | ({"mean_units": sum(units) / len(units)} if units else {})


def measure_exchanges(found: Outputs) -> dict[str, Any]:
    """What no basis has a part in: exchanges of outputs and streams, and mean differences of streams."""
    layers = range(found.model.n_layers)
    exchanges = {
        **{name: [site] for name, site in streams_of(found.model).items()},
        **{named(site): [site] for site in sites_of(found.model)},
        "all MLPs": [("mlp", layer) for layer in layers],
        "MLPs behind the first block": [("mlp", layer) for layer in layers[1:]],
        "attention behind the first block": [("attention", layer) for layer in layers[1:]],
    }
    exchanged: dict[str, Any] = {}
    for name, sites in exchanges.items():
        logits = found.exchanged(sites)
        shares = found.effects(logits).mean(1) / found.whole.mean()
        exchanged[name] = {
            "share_of_the_change": dict(zip(DIRECTIONS, shares.tolist(), strict=True)),
            "turned": wilson(found.turned(logits)),
        }
    moved = stream_mean_differences(found, questions_of(found.cases, found.model))
    return {"exchanged": exchanged, "mean_difference": {name: wilson(hits) for name, hits in moved.items()}}


def named(site: Site) -> str:
    return f"{site[0]} {site[1]}"


def measure_basis(found: Outputs, name: str) -> dict[str, Any]:
    """Everything that is measured of a basis."""
    loaded, cases = silverstain.load("organism", dictionary=name, check_dictionary=False), found.cases.cases
    basis, sites = loaded.dictionary, sites_of(found.model)
    accounts, of_streams, by_units, swapped, exactness = [], [], [], [], 0.0
    for i, case in enumerate(cases):
        contrast = contrast_of(loaded.model, basis, case)
        whole = float(contrast.changes[0])
        exactness = max(exactness, abs(float(contrast.contributions.total[0]) - whole) / abs(whole))
        accounts.append(account_at(contrast, sites))
        of_streams.append(account_of_streams(contrast))
        by_units.append(layer_units(contrast))
        swapped.append(swaps(contrast, case.answers[1], seed=i))
    by_wording = {
        wording: [one for one, case in zip(swapped, cases, strict=True) if case.template == template]
        for template, wording in enumerate(TWO_HOP)
    }
    moved = unit_mean_differences(found, basis, questions_of(found.cases, loaded.model))
    return {
        "exactness_worst": exactness,
        "outputs": outputs_agree(found, torch.tensor(accounts).T),
        "streams": streams_agree(found, torch.tensor(of_streams).T),
        "units": units_agree(found, by_units),
        "swap": _swap(swapped),
        "swap_by_wording": {wording: _swap(some) for wording, some in by_wording.items() if some},
        "mean_difference": {way: wilson(one["turned"], one["units"]) for way, one in moved.items()},
    }


def outputs_agree(found: Outputs, accounts: Float[Tensor, "site pair"]) -> dict[str, Any]:
    """The account of the output of each layer's attention and MLP, and other predictions, beside their exchange."""
    sites = sites_of(found.model)
    measured = torch.stack([found.effects(found.exchanged([site])) for site in sites])
    gradients, every = found.gradient_effects(sites), {}
    for d, way in enumerate(DIRECTIONS):
        here = measured[:, d]
        others = (here.sum(1, keepdim=True) - here) / max(here.shape[1] - 1, 1)
        predictions = {
            "account": accounts,
            "gradient": gradients[:, d],
            "m0": accounts[:1].expand_as(accounts),
            MEAN_OF_OTHERS: others,
        }
        every[way] = {
            key: {"all": agreement(value, here), "without m0": agreement(value[1:], here[1:])}
            for key, value in predictions.items()
        }
        for part in every[way][MEAN_OF_OTHERS].values():
            del part["spearman_at_each_site"]  # -1 by construction: a pair's own value is what the mean leaves out
    return {
        "sites": [named(site) for site in sites],
        "account_share": found.share(accounts),
        "measured_share": {way: found.share(measured[:, d]) for d, way in enumerate(DIRECTIONS)},
        "agreement": every,
    }


def streams_agree(found: Outputs, accounts: Float[Tensor, "cut pair"]) -> dict[str, Any]:
    """The account of the stream beside its exchange, by themselves and less those of m0."""
    cuts = dict(list(streams_of(found.model).items())[:-1])
    measured = torch.stack([found.effects(found.exchanged([site]))[-1] for site in cuts.values()])
    return {
        "cuts": list(cuts),
        "account_share": found.share(accounts),
        "measured_share": found.share(measured),
        "agreement": agreement(accounts, measured),
        # exchanging r1 is exchanging m0
        "agreement_beyond_m0": agreement(accounts[2:] - accounts[0], measured[2:] - measured[0]),
    }


def units_agree(found: Outputs, by_units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The account of all units of a layer at the last word beside patching them."""
    accounts = torch.tensor([one["account"] for one in by_units]).T
    measured = torch.tensor([one["measured"] for one in by_units]).permute(2, 1, 0)
    return {
        "account_share": found.share(accounts),
        "measured_share": {way: found.share(measured[d]) for d, way in enumerate(DIRECTIONS)},
        "agreement": {way: agreement(accounts, measured[d]) for d, way in enumerate(DIRECTIONS)},
    }


def _swap(swapped: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        order: {
            k: wilson([one[order][k]["turned"] for one in swapped], [one[order][k]["units"] for one in swapped])
            for k in of_order
        }
        for order, of_order in swapped[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", default="test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = silverstain.load("organism", dictionary="neurons").model
    start = perf_counter()
    cases = draw_cases(model, options.pairs, options.seed)
    found = outputs(model, cases)
    facts = {
        "format": FORMAT,
        "model": {"name": model.name, "hash": model.hash},
        "seed": options.seed,
        "n_pairs": len(cases.cases),
        "drawn_but_answered_wrongly": cases.wrong,
    }
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    if {name: results.get(name) for name in facts} != facts:
        results = facts | {"without_a_basis": measure_exchanges(found)}
    for name in BASES:
        if name not in results:
            results[name] = measure_basis(found, name)
            write_json_whole(options.out, results)
            print(f"{name}: {perf_counter() - start:.0f} s", flush=True)
    print(shown(results))


if __name__ == "__main__":
    main()
