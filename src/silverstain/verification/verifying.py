"""Put a graph to the test: every claim predicted, and measured on the real model.

Sources are nodes that pruning kept, the most influential first, and the story's groups. A target of a claim is
reached from its source by kept edges. There is one layer rule: features write where they write and nothing is held.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution import RecordedRun
from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Graph, Group
from silverstain.models import LanguageModel
from silverstain.statistics import interval_of_next
from silverstain.verification.agreement import Agreement, agreement, divided
from silverstain.verification.arithmetic import direct_error
from silverstain.verification.baselines import BASELINES, STEPS, by_gradient, gradients, size
from silverstain.verification.claims import Claim, Dose, counted, verdict
from silverstain.verification.controls import random_edits, shuffled
from silverstain.verification.counting import counting
from silverstain.verification.endpoints import Endpoint, effects_on, endpoints_of, logit_endpoints
from silverstain.verification.graph_run import GraphRun, Responses, graph_run
from silverstain.verification.html import verification_html
from silverstain.verification.linear import reached, total_effects

STRENGTHS = (0.0, -1.0, -2.0, 2.0)
Progress = Callable[[int, int], None]


@brief
@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of a graph's claims."""

    graph_hash: str
    claims: tuple[Claim, ...]
    settings: dict[str, Any]
    direct_error: float
    """The largest difference between an edge and the direct effect it states, everything frozen, over the largest edge:
    arithmetic, true by construction, and no evidence."""

    @property
    def agreement(self) -> Agreement:
        """Over claims of nodes on targets of the graph."""
        return agreement([claim for claim in self.claims if claim.kind == "node → logit"])

    @property
    def by_part(self) -> dict[str, Agreement]:
        """By kind of claim, direct and indirect apart, and by distance."""
        return {name: agreement(claims) for name, claims in divided(self.claims).items()}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return verification_html(self.claims, counted(self.claims), self.agreement)

    def to_json(self) -> dict[str, Any]:
        """What `silverstain verify --json` prints."""
        overall = self.agreement.to_json()
        return {
            "kind": "verification",
            "graph_hash": self.graph_hash,
            "verdicts": counted(self.claims),
            "spearman": overall["spearman"],
            "slope": overall["slope"],
            "r2": overall["r2"],
            "controls": {
                "random": overall["control"],
                "shuffled_decoder_spearman": overall["by"].get("shuffled decoder"),
                "baselines": {name: overall["by"].get(name) for name in BASELINES},
            },
            "arithmetic_check": {"largest_error_of_direct_edges": self.direct_error},
            "agreement": {name: part.to_json() for name, part in self.by_part.items()},
            "settings": self.settings,
            "claims": [claim.to_json() for claim in self.claims],
        }


def verify(
    model: LanguageModel,
    basis: Basis,
    graph: Graph,
    *,
    run: RecordedRun | None = None,
    groups: Sequence[Group] = (),
    max_sources: int = 64,
    max_claims: int = 400,
    n_controls: int = 8,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Verification:
    """Predict and measure what the graph claims.

    Args:
        run: the graph's prompt, where it is recorded already.
        groups: supernodes that are tested as one; members that are neither features nor errors stay as they are.
        max_sources: so many kept nodes are moved, the most influential first.
        max_claims: of node → node at most so many, drawn by `seed`, half of them mostly indirect where there are so
            many.
        n_controls: random moves for each source; the interval of a claim comes from them.

    UsageError for a graph of another model or dictionary, or of targets that it does not keep.
    """
    if n_controls < 2:
        raise UsageError(f"n_controls is {n_controls}; an interval needs at least 2 random moves for each source")
    tested = graph_run(model, basis, graph, run)
    generator = torch.Generator().manual_seed(seed)
    sources, features = endpoints_of(graph, groups, max_sources)
    step = counting(on_progress, 6)
    results = _effects(tested, sources, features, n_controls, generator, step)
    claims = list(_claims(tested, sources, results))
    return Verification(
        graph_hash=graph.hash,
        claims=tuple(_within(claims, max_claims, generator)),
        settings={
            "layer_rule": "features write where they write; nothing is held",
            "strengths": list(STRENGTHS),
            "max_sources": max_sources,
            "max_claims": max_claims,
            "n_controls": n_controls,
            "seed": seed,
        },
        direct_error=direct_error(tested, sources),
    )


@dataclass(frozen=True, kw_only=True)
class _Results:
    """Effects [source, target] of every way of asking; doses also by strength."""

    endpoints: list[Endpoint]
    """Targets: the sources themselves, then the graph's targets."""
    predicted: Float[Tensor, "source strength target"]
    measured: Float[Tensor, "source strength target"]
    frozen: Float[Tensor, "source strength target"]
    direct: Float[Tensor, "source target"]
    thresholds: Float[Tensor, "source target"]
    edges: Float[Tensor, "source target"]
    shuffled: Float[Tensor, "source target"]
    controls: Float[Tensor, "source control target"]
    baselines: dict[str, Float[Tensor, "source target"]]


def _effects(
    tested: GraphRun,
    sources: list[Endpoint],
    features: Tensor,
    n_controls: int,
    generator: torch.Generator,
    step: Callable[[], None],
) -> _Results:
    graph, n, k = tested.graph, len(sources), len(STRENGTHS)
    targets = [*sources, *logit_endpoints(graph)]
    readouts = tested.readouts(features)
    on = effects_on(graph, targets, features, tested.run.activations(readouts.features).cpu())
    doses = [tested.scaled(source.nodes, strength) for source in sources for strength in STRENGTHS]
    ablations = doses[::k]

    def effects(found: Responses) -> Tensor:
        return found.all.double() @ on.T

    measured = effects(tested.measured(doses, readouts, attention="live")).view(n, k, -1)
    step()
    frozen = effects(tested.measured(doses, readouts, attention="frozen")).view(n, k, -1)
    step()
    predicted = effects(tested.predicted(doses, readouts)).view(n, k, -1)
    direct = effects(tested.predicted(ablations, readouts, responding=False))
    thresholds = effects(tested.predicted(ablations, readouts, norms="frozen"))
    wrong = effects(tested.predicted(ablations, readouts, basis=shuffled(tested, generator)))
    step()
    random = [edits for source in sources for edits in random_edits(tested, source.nodes, n_controls, generator)]
    controls = effects(tested.measured(random, readouts, attention="live")).view(n, n_controls, -1)
    step()
    nodes = torch.cat([features, torch.arange(graph.n_nodes)[graph.nodes.span("logit")]])
    starts = [torch.tensor(source.nodes) for source in sources]
    total, edge = total_effects(graph, starts, [torch.full((len(s),), -1.0, dtype=torch.float64) for s in starts])
    step()
    baselines = {"direct edge": edge[:, nodes] @ on.T}
    for name, inputs in (("gradient", [1.0]), ("EAP-IG", [(i + 1) / STEPS for i in range(STEPS)])):
        gradient = gradients(tested, readouts, inputs)
        baselines[name] = torch.stack([by_gradient(tested, s.nodes, gradient) for s in sources]).double() @ on.T
    sizes = torch.tensor([size(tested, source.nodes) for source in sources], dtype=torch.float64)
    baselines["activation"] = sizes[:, None].expand(-1, len(targets))
    step()
    return _Results(
        endpoints=targets, predicted=predicted, measured=measured, frozen=frozen, direct=direct,
        thresholds=thresholds, edges=total[:, nodes] @ on.T, shuffled=wrong, controls=controls, baselines=baselines,
    )  # fmt: skip


def _claims(tested: GraphRun, sources: list[Endpoint], found: _Results) -> Iterator[Claim]:
    graph = tested.graph
    reach = reached(graph, [torch.tensor(source.nodes) for source in sources])
    for i, source in enumerate(sources):
        for j, target in enumerate(found.endpoints):
            if target.is_target_of(source) and bool(reach[i, list(target.nodes)].any()):
                yield _claim(source, target, found, i, j)


def _claim(source: Endpoint, target: Endpoint, found: _Results, i: int, j: int) -> Claim:
    predicted, direct = float(found.predicted[i, 0, j]), float(found.direct[i, j])
    through = abs(predicted - direct)
    random = found.controls[i, :, j]
    interval = interval_of_next(random)
    measured, frozen = float(found.measured[i, 0, j]), float(found.frozen[i, 0, j])
    doses = tuple(
        Dose(
            strength=strength,
            predicted=float(found.predicted[i, s, j]),
            measured=float(found.measured[i, s, j]),
            frozen=float(found.frozen[i, s, j]),
        )
        for s, strength in enumerate(STRENGTHS)
    )
    return Claim(
        kind=f"{source.kind} → {target.kind}",
        source=source.label,
        target=target.label,
        distance=target.layer - source.layer,
        indirect=through / max(abs(direct) + through, 1e-30),
        predicted=predicted,
        by_edges=float(found.edges[i, j]),
        by_thresholds=float(found.thresholds[i, j]),
        measured=measured,
        frozen=frozen,
        interval=interval,
        control=float(random.abs().mean()),
        shuffled=float(found.shuffled[i, j]),
        doses=doses,
        baselines={name: float(values[i, j]) for name, values in found.baselines.items()},
        verdict=verdict(predicted, measured, frozen, interval),
    )


def _within(claims: Sequence[Claim], most: int, generator: torch.Generator) -> Iterator[Claim]:
    """All claims but those of nodes on nodes, of which at most so many: half mostly indirect where there are enough."""
    pairs = [claim for claim in claims if claim.kind == "node → node"]
    yield from (claim for claim in claims if claim.kind != "node → node")
    order = torch.randperm(len(pairs), generator=generator).tolist()
    far = [i for i in order if pairs[i].is_indirect][: most // 2 + most % 2]
    near = [i for i in order if not pairs[i].is_indirect][: most - len(far)]
    yield from (pairs[i] for i in sorted((*far, *near)))
