"""Features that are silent, and one ablation away from firing: ghosts of a graph.

A graph shows what is active. What was kept silent (the refusal that a known name holds back) has no node, and is
found here: every feature below its threshold, at the places where targets are read, is asked how much each kept source
pushes it down. A ghost's score is

    min(1, Σ over sources of what taking the source away adds / what is missing to the threshold)
    × what the feature, just awake, would add to the token it promotes most, over the mean of all tokens

so that it is high for a feature that is held back and that would say something. What is added is of first
order: norms follow the change, other features do not. The best are then tried in one pass of the real model: each
source taken away alone, and for each ghost all that hold it back together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.graphs import Graph
from silverstain.models import LanguageModel
from silverstain.verification.bench import Bench, bench_of
from silverstain.verification.local import local_responses
from silverstain.verification.moves import Move, Moves
from silverstain.verification.parties import parties_of
from silverstain.verification.readers import Seen, feature_readers
from silverstain.verification.real import real_responses


@dataclass(frozen=True, kw_only=True)
class GhostEdge:
    """What one source does to a silent feature."""

    source: str
    """Node id."""
    weight: float
    """What the source adds to the feature's pre-activation: negative for a source that holds it back."""
    measured: float
    """The same in the real model: its pre-activation less that with the source taken away."""

    @property
    def is_sign_right(self) -> bool:
        return self.weight * self.measured > 0


@dataclass(frozen=True, kw_only=True)
class Ghost:
    """A silent feature that something holds back."""

    layer: int
    position: int
    feature: int
    before: float
    """Its pre-activation."""
    threshold: float
    score: float
    says: str
    """The token that it would promote most."""
    edges: tuple[GhostEdge, ...]
    """The strongest, by size."""
    wakes: bool
    """Whether it fires in the real model when one source is taken away, or all that hold it back."""
    awake: float
    """The highest activation it so reaches."""

    @property
    def id(self) -> str:
        """As a node would be called."""
        return f"{self.layer}_{self.feature}_{self.position}"

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, **asdict(self)}


def ghosts(
    model: LanguageModel,
    dictionary: Dictionary,
    graph: Graph,
    *,
    n: int = 10,
    max_sources: int = 48,
    n_edges: int = 5,
    positions: Sequence[int] | None = None,
) -> tuple[Ghost, ...]:
    """The n best ghosts, those first that are held back most.

    `positions`: where silent features are looked for; by default where the graph's targets are read.
    """
    bench = bench_of(model, dictionary, graph)
    parties, _ = parties_of(graph, [], max_sources)
    span = graph.nodes.span("logit")
    places = sorted(set(graph.nodes.position[span].tolist())) if positions is None else sorted(set(positions))
    moves = [bench.move(party.nodes, 0.0) for party in parties]
    found = _silent(bench, moves, places)
    best = found.score.topk(min(n, int((found.score > 0).sum()))).indices
    edges = -found.gain[:, best]  # what a source adds is what its absence takes
    tried = [*moves, *(_together(bench, [p.nodes for p in parties], edges[:, k] < 0) for k in range(len(best)))]
    layers, features = found.layer[best], found.feature[best]
    readers = feature_readers(bench.dictionary, layers, found.position[best], features)
    values = real_responses(bench.model, bench.dictionary, bench.recording, Moves(tried), readers)
    before, threshold = found.before[best], found.threshold[best]
    awake = (values * (values > threshold)).amax(0)
    ghosts: list[Ghost] = []
    for k in range(len(best)):
        strongest = edges[:, k].abs().topk(min(n_edges, len(parties))).indices.tolist()
        ghosts.append(
            Ghost(
                layer=int(layers[k]),
                position=int(found.position[best][k]),
                feature=int(features[k]),
                before=float(before[k]),
                threshold=float(threshold[k]),
                score=float(found.score[best][k]),
                says=model.token_strings([int(found.says[best][k])])[0],
                edges=tuple(
                    GhostEdge(
                        source=parties[i].label,
                        weight=float(edges[i, k]),
                        measured=float(before[k] - values[i, k]),
                    )
                    for i in strongest
                ),
                wakes=bool(awake[k] > 0),
                awake=float(awake[k]),
            )
        )
    return tuple(ghosts)


@dataclass(frozen=True, kw_only=True)
class _Silent:
    """Every silent feature at the places that are looked at."""

    layer: Tensor
    position: Tensor
    feature: Tensor
    before: Tensor
    threshold: Tensor
    gain: Float[Tensor, "source silent"]
    """What taking each source away adds to the pre-activation, first order."""
    says: Tensor
    score: Tensor


@torch.no_grad()
def _silent(bench: Bench, moves: Sequence[Move], positions: Sequence[int]) -> _Silent:
    dictionary, n_real = bench.dictionary, bench.flow.n_real
    inputs = Seen()
    local_responses(bench.flow, bench.live, dictionary, bench.recording, Moves(moves), inputs, responding=False)
    parts: list[dict[str, Tensor]] = []
    for layer in range(dictionary.n_layers):
        promoted, says = _promoted(bench, layer)
        for position in (p for p in positions if p >= n_real):
            before = dictionary.pre_activations(layer, bench.recording.mlp_inputs[layer, position])
            threshold = dictionary.threshold(layer)
            bar = torch.zeros_like(before) if threshold is None else threshold
            gain = dictionary.pre_activations(layer, inputs.inputs[layer][:, position]) - before
            silent = (before <= bar).nonzero().flatten()
            missing = (bar - before)[silent].clamp_min(1e-3)
            pushed = (gain[:, silent].clamp_min(0) / missing).sum(0)
            awake = torch.ones_like(pushed) if threshold is None else bar[silent]
            parts.append({
                "layer": torch.full_like(silent, layer), "position": torch.full_like(silent, position),
                "feature": silent, "before": before[silent], "threshold": bar[silent],
                "gain": gain[:, silent].T, "says": says[silent],
                "score": pushed.clamp_max(1.0) * awake * promoted[silent],
            })  # fmt: skip
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    columns["gain"] = columns["gain"].T
    return _Silent(**columns)


def _promoted(bench: Bench, layer: int) -> tuple[Tensor, Tensor]:
    """For every feature of a layer, what it adds at unit activation, through the stream alone, to the demeaned logit
    that it raises most; and which token that is."""
    dictionary, model = bench.dictionary, bench.model
    rows = dictionary.W_dec(layer).sum(1).to(model.dtype)
    lens = (model.W_U - model.W_U.mean(0)) * model.final_norm.weight
    best = [(part @ lens.T).max(1) for part in rows.split(1024)]
    return torch.cat([one.values for one in best]).clamp_min(0), torch.cat([one.indices for one in best])


def _together(bench: Bench, nodes: Sequence[tuple[int, ...]], holding: Bool[Tensor, " source"]) -> Move:
    """All sources that hold a ghost back, taken away at once."""
    members = [node for i in holding.nonzero().flatten().tolist() for node in nodes[i]]
    return bench.move(members, 0.0)
