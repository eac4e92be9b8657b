"""A contrast put to the proof on the real model: units patched from one run into the other, live, beside controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.attribution import TraceSettings
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.secant import Contrast, find_contrast
from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Graph, Group
from silverstain.graphs.nodes import ATTENTION, FEATURE
from silverstain.models import LanguageModel
from silverstain.notation import name_of_id
from silverstain.statistics import rank_correlation
from silverstain.verification.contrast.curves import KS, Curve, Turned, curves, smallest
from silverstain.verification.contrast.patching import BASE, CONTRAST, Patch, Patching
from silverstain.verification.contrast.rankings import (
    STEPS,
    Region,
    account,
    gradient_scores,
    half_rule_scores,
    order_by,
    random_orders,
    write_sizes,
)
from silverstain.verification.counting import counting

Progress = Callable[[int, int], None]


@brief
@dataclass(frozen=True, kw_only=True)
class NodeClaim:
    """What the account says comes through a node or a group, beside what patching it alone does."""

    source: str
    kind: str
    """feature, attention or group."""
    predicted: float
    base: float
    """Change of the target when it is patched into the base."""
    contrast: float
    """Change when it is patched back in the contrast run, its sign turned: both would be the account, were the model
    linear."""

    @property
    def measured(self) -> float:
        """The mean of both directions."""
        return (self.base + self.contrast) / 2

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"measured": self.measured}


@brief
@dataclass(frozen=True, kw_only=True)
class ContrastProof:
    """What came of it."""

    graph_hash: str
    answers: tuple[str, str]
    base: float
    """The difference of logits in each run."""
    contrast: float
    region: Region
    region_share: float
    """What comes through the region's units, layer by layer at most, as a share of the whole change."""
    region_whole: float
    """The target with all units of the region patched into the base."""
    smallest: Mapping[str, Turned]
    """By order and direction: signed, absolute; signed_back, absolute_back."""
    curves: tuple[Curve, ...]
    necessity: tuple[Curve, ...]
    """Every unit patched into the base but the K first: how much of the change is gone without them."""
    claims: tuple[NodeClaim, ...]
    correlations: Mapping[str, Mapping[str, float]]
    """Spearman of each score with the measured effects of single units: base, contrast, both."""
    settings: Mapping[str, Any]

    def curve(self, method: str, run: int = BASE) -> Curve | None:
        return next((one for one in self.curves if one.method == method and one.run == run), None)

    def to_json(self) -> dict[str, Any]:
        """What `silverstain verify --json` prints."""
        there = [one for one in self.curves if one.run == BASE]
        back = [one for one in self.curves if one.run == CONTRAST]
        return {
            "kind": "proof of a contrast",
            "graph_hash": self.graph_hash,
            "answers": list(self.answers),
            "base": self.base,
            "contrast": self.contrast,
            "smallest_k": self.smallest["signed"].k,
            "smallest": {name: found.to_json() for name, found in self.smallest.items()},
            "curve": _by_k(there),
            "curve_back": _by_k(back),
            "areas": {one.method: one.area(self.base, self.contrast) for one in there},
            "necessity": _by_k(list(self.necessity)),
            "region": asdict(self.region) | {"share": self.region_share, "whole": self.region_whole},
            "spearman": {name: dict(values) for name, values in self.correlations.items()},
            "claims": [claim.to_json() for claim in self.claims],
            "settings": dict(self.settings),
        }


def _by_k(listed: Sequence[Curve]) -> list[dict[str, Any]]:
    ks = sorted({k for curve in listed for k in curve.values})
    return [{"k": k, **{curve.method: curve.values[k] for curve in listed if k in curve.values}} for k in ks]


def contrast_of(model: LanguageModel, basis: Basis, graph: Graph) -> Contrast:
    """The two runs of a contrast's graph, made again. UsageError for a graph of another model or basis, or one whose
    target is no difference of two tokens."""
    said = graph.meta["contrast"]
    for what, name, there in (("model", model.name, model.hash), ("dictionary", basis.name, basis.hash)):
        meant = graph.meta.get(what) or {}
        if meant.get("hash") not in (there, None):
            raise UsageError(
                f"the graph is of the {what} {meant.get('name')} ({meant.get('hash')}), and {name} has the hash "
                f"{there}; give --{what}"
            )
    target = graph.meta["targets"][0]
    if target["kind"] != "difference":
        raise UsageError(
            f"a contrast is proved by a difference of two tokens, and this graph explains the {target['kind']} "
            f"{target['name']!r}; trace it with --target diff:TOKEN,TOKEN"
        )
    plus, minus = target["ids"]
    wanted = DifferenceTarget(token=plus, minus=minus, position=target["position"])
    settings = TraceSettings(targets=(wanted,))
    return find_contrast(model, basis, said["token_ids"], said["contrast_token_ids"], settings)


def prove_contrast(
    model: LanguageModel,
    basis: Basis,
    graph: Graph,
    *,
    groups: Sequence[Group] = (),
    region: Region | None = None,
    max_sources: int = 64,
    ks: Sequence[int] = KS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ContrastProof:
    """Patch what a contrast's graph says matters, in both directions, and measure.

    Args:
        groups: supernodes that are patched as one.
        region: where units are looked for; by default everywhere.
        max_sources: nodes that are patched alone, the largest contributions first.

    UsageError for a graph of another model, and for a region without units.
    """
    found = contrast_of(model, basis, graph)
    return prove(found, graph, groups=groups, region=region, max_sources=max_sources, ks=ks, seed=seed,
                 on_progress=on_progress)  # fmt: skip


def scores_of(contrast: Contrast) -> dict[str, Float[Tensor, " unit"]]:
    """How each method ranks units, without those that draw."""
    account_of = account(contrast)
    found = {
        "signed": account_of,
        "absolute": account_of.abs(),
        "largest_change": write_sizes(contrast),
        "gradient": gradient_scores(contrast, [0.0]),
        "ig": gradient_scores(contrast, [(i + 0.5) / STEPS for i in range(STEPS)]),
    }
    half = half_rule_scores(contrast)
    return found if half is None else found | {"half": half}


def orders_of(
    contrast: Contrast, scores: Mapping[str, Tensor], within: Bool[Tensor, " unit"], most: int, seed: int
) -> dict[str, list[Int[Tensor, " some"]]]:
    """Each method's order of the units of a region."""
    orders = {name: [order_by(score, within, most)] for name, score in scores.items()}
    return orders | {"random": random_orders(contrast, within, most, torch.Generator().manual_seed(seed))}


def prove(
    contrast: Contrast,
    graph: Graph | None = None,
    *,
    groups: Sequence[Group] = (),
    region: Region | None = None,
    max_sources: int = 64,
    ks: Sequence[int] = KS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ContrastProof:
    """`prove_contrast` of runs that are there already."""
    region, patching = region or Region(), Patching(contrast)
    within = region.units(contrast)
    if not bool(within.any()):
        raise UsageError(
            f"there is no unit from layer {region.from_layer} on behind the changed tokens; the last token that "
            f"differs is at {max(contrast.pair.changed)} of {contrast.pair.n_positions}"
        )
    step = counting(on_progress, 6)
    scores = scores_of(contrast)
    orders = orders_of(contrast, scores, within, max(ks), seed)
    step()
    there = curves(patching, orders, run=BASE, ks=ks)
    step()
    # in the contrast run the same order undoes the change; the gradient is taken there
    there_gradient = {"gradient": [order_by(gradient_scores(contrast, [1.0]), within, max(ks))]}
    back = curves(patching, orders | there_gradient, run=CONTRAST, ks=ks)
    step()
    drawn = {(curve.method, curve.run): curve for curve in (*there, *back)}
    turned = {
        f"{name}{'_back' if run else ''}": smallest(patching, orders[name][0], run=run, known=drawn[name, run])
        for name in ("signed", "absolute")
        for run in (BASE, CONTRAST)
    }
    step()
    necessity = necessity_of(patching, {name: orders[name] for name in ("signed", "absolute", "random")}, ks)
    whole = patching.run([Patch(run=BASE, units=within.nonzero().flatten())]) if not region.is_everywhere else None
    step()
    claims, correlations = claims_of(patching, graph, groups, scores, within, max_sources)
    step()
    root = contrast.roots[0]
    values = patching.ends()
    texts = contrast.model.token_strings([root.facts["ids"][1], root.facts["ids"][0]])
    base, other = values.value.tolist()
    return ContrastProof(
        graph_hash="" if graph is None else graph.hash,
        answers=(texts[0], texts[1]),
        base=base,
        contrast=other,
        region=region,
        region_share=_share(contrast, within),
        region_whole=other if whole is None else float(whole.value[0]),
        smallest=turned,
        curves=(*there, *back),
        necessity=tuple(necessity),
        claims=tuple(claims),
        correlations=correlations,
        settings={"ks": list(ks), "seed": seed, "max_sources": max_sources, "random_orders": len(orders["random"])},
    )


def necessity_of(patching: Patching, orders: Mapping[str, list[Tensor]], ks: Sequence[int]) -> list[Curve]:
    """Everything patched into the base but the first K."""
    return curves(patching, orders, ks=ks, all_but=True)


def _share(contrast: Contrast, within: Bool[Tensor, " unit"]) -> float:
    """Σ of the account over the region's units at the layer where it is largest, over the whole change: units of
    different layers hand the same change on, so that a sum over layers would count it many times."""
    score, first, best = account(contrast), 0, 0.0
    whole = float((contrast.changes.double() * contrast.weights).sum())
    for units in contrast.flow.units:
        here = slice(first, first + len(units))
        found = float(score[here][within[here]].sum())
        best = found if abs(found) > abs(best) else best
        first += len(units)
    return best / whole if whole else 0.0


def claims_of(
    patching: Patching,
    graph: Graph | None,
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    within: Bool[Tensor, " unit"],
    most: int,
) -> tuple[list[NodeClaim], dict[str, dict[str, float]]]:
    """Single units with the largest |account|, patterns and groups of the graph; and how scores agree with them."""
    units = order_by(scores["absolute"], within, most)
    nothing = units[:0]
    patches = [Patch(run=run, units=unit[None]) for run in (BASE, CONTRAST) for unit in units]
    tested = [(patching_name(patching, int(unit)), "feature", float(scores["signed"][unit])) for unit in units]
    extra, extra_names = [], []
    if graph is not None:
        for name, some, pairs, predicted, kind in _of_graph(patching, graph, groups, most // 4, scores["signed"]):
            extra.append((some, pairs))
            extra_names.append((name, kind, predicted))
    patches += [Patch(run=run, units=some, pairs=pairs) for run in (BASE, CONTRAST) for some, pairs in extra]
    patches += [Patch(run=run, units=nothing) for run in (BASE, CONTRAST)]
    value = patching.run(patches).value
    clean = value[-2:]
    n, m = len(units), len(extra)
    base, back = value[:n] - clean[0], clean[1] - value[n : 2 * n]
    extra_base, extra_back = value[2 * n : 2 * n + m] - clean[0], clean[1] - value[2 * n + m : 2 * n + 2 * m]
    claims = [
        NodeClaim(source=name, kind=kind, predicted=predicted, base=b, contrast=c)
        for (name, kind, predicted), b, c in zip(
            [*tested, *extra_names],
            torch.cat([base, extra_base]).tolist(),
            torch.cat([back, extra_back]).tolist(),
            strict=True,
        )
    ]
    measured = {"base": base, "contrast": back, "both": (base + back) / 2}
    compared = {"account": "signed", "gradient": "gradient", "ig": "ig", "half": "half"}
    correlations = {
        name: {
            where: rank_correlation(scores[key][units].tolist(), effect.tolist()) for where, effect in measured.items()
        }
        for name, key in compared.items()
        if key in scores
    }
    return claims, correlations


def patching_name(patching: Patching, unit: int) -> str:
    """A unit in the notation."""
    layer = next(i for i, stop in enumerate(patching.offsets[1:]) if unit < stop)
    units, index = patching.contrast.flow.units[layer], unit - patching.offsets[layer]
    return f"L{layer}.F{int(units.feature[index])}@{int(units.position[index])}"


def _of_graph(
    patching: Patching, graph: Graph, groups: Sequence[Group], most: int, signed: Float[Tensor, " unit"]
) -> list[tuple[str, Tensor, Tensor, float, str]]:
    """The graph's largest changes of patterns, and its groups: name, units, pairs, account, kind."""
    nodes, contrast = graph.nodes, patching.contrast
    ids = nodes.ids()
    layers = range(contrast.flow.n_layers)
    of_pairs = [contrast.contributions.pairs(layer, contrast.weights) for layer in layers]
    indices = _unit_indices(patching, graph)

    def pair(node: int) -> tuple[int, int, int, int]:
        assert nodes.key is not None
        return (int(nodes.layer[node]), int(nodes.feature[node]), int(nodes.position[node]), int(nodes.key[node]))

    def through(layer: int, head: int, query: int, key: int) -> float:
        return float(of_pairs[layer][head, query, key])

    shown = [int(i) for i in ((nodes.kind == ATTENTION) & (nodes.feature >= 0)).nonzero().flatten()]
    strongest = sorted(shown, key=lambda node: -abs(through(*pair(node))))[:most]
    found = []
    for node in strongest:
        place = pair(node)
        none = torch.zeros(0, dtype=torch.long)
        found.append((name_of_id(ids[node]), none, torch.tensor([place]), through(*place), "attention"))
    for group in groups:
        members = group.members
        units = [indices[i] for i in members if int(nodes.kind[i]) == FEATURE and i in indices]
        pairs = [pair(i) for i in members if int(nodes.kind[i]) == ATTENTION and int(nodes.feature[i]) >= 0]
        if not units and not pairs:
            continue
        some = torch.tensor(units, dtype=torch.long)
        predicted = float(signed[some].sum()) + sum(through(*place) for place in pairs)
        found.append((group.label, some, torch.tensor(pairs, dtype=torch.long).reshape(-1, 4), predicted, "group"))
    return found


def _unit_indices(patching: Patching, graph: Graph) -> dict[int, int]:
    """The index among all units of each feature node."""
    nodes, found = graph.nodes, {}
    for layer, units in enumerate(patching.contrast.flow.units):
        here = ((nodes.kind == FEATURE) & (nodes.layer == layer)).nonzero().flatten()
        if not len(here):
            continue
        width = int(max(int(units.feature.max()), int(nodes.feature[here].max()))) + 1
        keys = units.position.long() * width + units.feature.long()
        wanted = nodes.position[here].long() * width + nodes.feature[here].long()
        order = keys.argsort()
        at = order[torch.searchsorted(keys[order], wanted).clamp(max=len(keys) - 1)]
        for node, index, is_there in zip(here.tolist(), at.tolist(), (keys[at] == wanted).tolist(), strict=True):
            if is_there:
                found[node] = patching.offsets[layer] + index
    return found
