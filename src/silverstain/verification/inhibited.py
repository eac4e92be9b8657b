"""Inhibited features: inactive where the graph's targets are read, and one ablation away from being active.

A graph shows what is active. What was kept inactive (the refusal that a known name inhibits) has no node, and is found
here: every inactive feature, at the places where targets are read, is asked how much each kept source pushes it down.
A feature's score is

    min(1, Σ over sources of what taking the source away adds / what is missing to the threshold)
    × what the feature, just active, would add to the token it promotes most, over the mean of all tokens

so that it is high for a feature that is held back and that would say something. What is added is of first
order: norms follow the change, other features do not. The best are then tried in one pass of the real model: each
source taken away alone, and for each feature all that inhibit it together. For a TopK basis the threshold is what the
feature would have to exceed with all others as they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.attribution import RecordedRun
from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.graphs import Graph
from silverstain.interventions import AnyEdit, Readouts, Regime, sweep
from silverstain.models import LanguageModel, position_in
from silverstain.verification.endpoints import endpoints_of
from silverstain.verification.graph_run import GraphRun, graph_run


@dataclass(frozen=True, kw_only=True)
class InhibitingEdge:
    """What one source does to an inactive feature."""

    source: str
    """Node id."""
    weight: float
    """What the source adds to the feature's pre-activation: negative for a source that inhibits it."""
    measured: float
    """The same in the real model: its pre-activation less that with the source taken away."""

    @property
    def is_sign_right(self) -> bool:
        return self.weight * self.measured > 0


@brief
@dataclass(frozen=True, kw_only=True)
class InhibitedFeature:
    """An inactive feature that something inhibits."""

    layer: int
    position: int
    feature: int
    before: float
    """Its pre-activation."""
    threshold: float
    score: float
    says: str
    """The token that it would promote most."""
    edges: tuple[InhibitingEdge, ...]
    """The strongest, by size."""
    wakes: bool
    """Whether it is active in the real model when one source is taken away, or all that inhibit it."""
    awake: float
    """The highest activation it so reaches."""

    @property
    def id(self) -> str:
        """As a node would be called."""
        return f"{self.layer}_{self.feature}_{self.position}"

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, **asdict(self)}


def inhibited_features(
    model: LanguageModel,
    basis: Basis,
    graph: Graph,
    *,
    run: RecordedRun | None = None,
    n: int = 10,
    max_sources: int = 48,
    n_edges: int = 5,
    positions: Sequence[int] | None = None,
) -> tuple[InhibitedFeature, ...]:
    """The n best, those first that are inhibited most.

    `positions`: where inactive features are looked for; by default where the graph's targets are read. `run` is the
    graph's prompt, where it is recorded already.
    """
    tested = graph_run(model, basis, graph, run)
    if tested.basis.is_dense:  # every unit is active
        return ()
    sources, _ = endpoints_of(graph, [], max_sources)
    span = graph.nodes.span("logit")
    wanted = graph.nodes.position[span].tolist() if positions is None else positions
    places = sorted({position_in(position, tested.run.n_positions) for position in wanted})
    places = [position for position in places if position >= tested.run.n_real]
    if not places:
        return ()
    ablations = [tested.scaled(source.nodes, 0.0) for source in sources]
    found = _inactive(tested, ablations, places)
    best = found.score.topk(min(n, int((found.score > 0).sum()))).indices.tolist()
    if not best:
        return ()
    edges = -found.gain[:, best]  # what a source adds is what its absence takes
    nodes = [source.nodes for source in sources]
    together = [_together(tested, nodes, edges[:, k] < 0) for k in range(len(best))]
    read = Readouts(features=tuple(zip(*(c[best].tolist() for c in found[:3]), strict=True)))
    regime, ids = Regime(base="current"), tested.run.recording.token_ids
    tried = sweep(model, tested.basis, ids, [*ablations, *together], regime=regime, readouts=read)
    awake = tried.activations.after.amax(0).clamp_min(0)
    return tuple(
        InhibitedFeature(
            layer=int(found.layer[i]),
            position=int(found.position[i]),
            feature=int(found.feature[i]),
            before=float(found.before[i]),
            threshold=float(found.threshold[i]),
            score=float(found.score[i]),
            says=model.token_strings([int(found.says[i])])[0],
            edges=tuple(
                InhibitingEdge(
                    source=sources[s].label,
                    weight=float(edges[s, k]),
                    measured=-float(tried.pre_activations.change[s, k]),
                )
                for s in edges[:, k].abs().topk(min(n_edges, len(sources))).indices.tolist()
            ),
            wakes=bool(awake[k] > 0),
            awake=float(awake[k]),
        )
        for k, i in enumerate(best)
    )


class _Inactive(NamedTuple):
    """Every inactive feature at the places that are looked at."""

    layer: Tensor
    position: Tensor
    feature: Tensor
    before: Tensor
    threshold: Tensor
    says: Tensor
    score: Tensor
    gain: Float[Tensor, "source inactive"]
    """What taking each source away adds to the pre-activation, first order."""


@torch.no_grad()
def _inactive(tested: GraphRun, ablations: Sequence[Sequence[AnyEdit]], positions: Sequence[int]) -> _Inactive:
    basis, recording = tested.basis, tested.run.recording
    changed: dict[int, Tensor] = {}
    tested.run_local_replacement(ablations, changed.__setitem__, responding=False)
    parts: list[_Inactive] = []
    model = tested.model
    lens = (model.W_U - model.mean_W_U.to(model.W_U)) * model.final_norm.weight
    for layer in range(basis.n_layers):
        promoted, says = _promoted(basis, layer, lens)
        for position in positions:
            x = basis.cast(recording.mlp_inputs[layer, position])
            before = basis.pre_activations(layer, x)
            gain = basis.pre_activations(layer, x + basis.cast(changed[layer][:, position])) - before
            threshold = basis.thresholds_in(layer, before)
            inactive = (basis.activate(layer, before) == 0).nonzero().flatten()
            missing = (threshold - before)[inactive].clamp_min(1e-3)
            pushed = (gain[:, inactive].clamp_min(0) / missing).sum(0)
            # just active, a feature is as strong as its threshold; a ReLU has none, and counts by what it writes
            strength = torch.where(threshold[inactive] > 0, threshold[inactive], 1.0)
            parts.append(
                _Inactive(
                    layer=torch.full_like(inactive, layer),
                    position=torch.full_like(inactive, position),
                    feature=inactive,
                    before=before[inactive],
                    threshold=threshold[inactive],
                    says=says[inactive],
                    score=pushed.clamp_max(1.0) * strength * promoted[inactive],
                    gain=gain[:, inactive],
                )
            )
    return _Inactive(*(torch.cat(column, dim=-1) for column in zip(*parts, strict=True)))


def _promoted(basis: Basis, layer: int, lens: Float[Tensor, "d_vocab d_model"]) -> tuple[Tensor, Tensor]:
    """For every feature of a layer, what it adds at unit activation, through the stream alone, to the demeaned logit
    that it raises most; and which token that is."""
    every = torch.arange(basis.n_features, device=basis.device)
    best = [(basis.decoder_rows(layer, some).sum(1).to(lens) @ lens.T).max(1) for some in every.split(1024)]
    return torch.cat([one.values for one in best]).clamp_min(0), torch.cat([one.indices for one in best])


def _together(
    tested: GraphRun, nodes: Sequence[tuple[int, ...]], inhibits: Bool[Tensor, " source"]
) -> tuple[AnyEdit, ...]:
    """All sources that inhibit a feature, taken away at once."""
    return tested.scaled([node for i in inhibits.nonzero().flatten().tolist() for node in nodes[i]], 0.0)
