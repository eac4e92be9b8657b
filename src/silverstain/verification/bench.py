"""A graph's prompt on the bench: recorded anew, with everything that moves and readings need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution import FrozenFlow, freeze
from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.models import LanguageModel, Recording, record
from silverstain.verification.local import Norms, frozen_norms, live_norms, local_responses
from silverstain.verification.moves import Move, Moves
from silverstain.verification.readers import (
    Readers,
    feature_readers,
    fired,
    joined,
    token_difference_reader,
    token_readers,
)
from silverstain.verification.real import real_responses

ROWS_A_PASS = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """One recorded prompt beside its graph."""

    model: LanguageModel
    dictionary: Dictionary
    graph: Graph
    recording: Recording
    flow: FrozenFlow
    frozen: Norms
    live: Norms
    errors: Float[Tensor, "layer pos d_model"]
    """What error nodes write: all of an MLP's output that the graph's features do not."""

    def move(self, nodes: Sequence[int], strength: float) -> Move:
        """Features held at strength × their activation, error nodes scaled by strength; other nodes stay."""
        columns = self.graph.nodes
        chosen = torch.tensor(nodes, dtype=torch.long)
        is_feature, is_error = columns.is_kind("feature")[chosen], columns.is_kind("error")[chosen]
        features = chosen[is_feature]
        places = [columns.layer[chosen[is_error]].tolist(), columns.position[chosen[is_error]].tolist()]
        return Move(
            layers=columns.layer[features].long(),
            positions=columns.position[features].long(),
            features=columns.feature[features].long(),
            values=strength * columns.activation[features].to(self.recording.final),
            added=tuple((at, p, (strength - 1) * self.errors[at, p]) for at, p in zip(*places, strict=True)),
        )

    def readers(self, features: Int[Tensor, " n"]) -> Readers:
        """The given feature nodes and then every target of the graph."""
        columns = self.graph.nodes
        named = [column[features].long() for column in (columns.layer, columns.position, columns.feature)]
        return joined(feature_readers(self.dictionary, *named), *_targets(self))

    def clean(self, readers: Readers) -> Float[Tensor, " reader"]:
        """What the readers read when nothing is moved."""
        values = self.recording.final.new_zeros(1, len(readers))
        for layer in range(self.model.n_layers):
            readers.read_(values, layer, self.recording.mlp_inputs[layer][None])
        readers.read_(values, self.model.n_layers, self.recording.final[None])
        return fired(self.dictionary, readers, values)[0]

    def measured(self, moves: Sequence[Move], readers: Readers, *, attention: str) -> Float[Tensor, "row reader"]:
        """Activations and target values in the real model under every move."""
        parts = [
            real_responses(self.model, self.dictionary, self.recording, Moves(some), readers, attention=attention)
            for some in _split(moves)
        ]
        return fired(self.dictionary, readers, torch.cat(parts))

    def predicted(
        self,
        moves: Sequence[Move],
        readers: Readers,
        *,
        norms: str = "live",
        responding: bool = True,
        dictionary: Dictionary | None = None,
    ) -> Float[Tensor, "row reader"]:
        """The same in the local replacement model."""
        how = self.live if norms == "live" else self.frozen
        given = dictionary or self.dictionary
        parts = [
            local_responses(self.flow, how, given, self.recording, Moves(some), readers, responding=responding)
            for some in _split(moves)
        ]
        return fired(self.dictionary, readers, torch.cat(parts))


@torch.no_grad()
def bench_of(model: LanguageModel, dictionary: Dictionary, graph: Graph) -> Bench:
    """Record the graph's prompt; UsageError if the graph is of another model, dictionary or prompt."""
    token_ids = graph.meta.get("token_ids")
    if not token_ids:
        raise UsageError("the graph does not say which tokens it is of, so nothing can be run; trace the prompt again")
    for what, ours in (("model", model), ("dictionary", dictionary)):
        theirs = graph.meta.get(what, {}).get("hash")
        if theirs is not None and theirs != ours.hash:
            name = graph.meta[what].get("name")
            raise UsageError(
                f"the graph is of another {what} ({name}, {theirs}) than {ours.name} ({ours.hash}); load that one"
            )
    ours = dictionary.to(device=model.device, dtype=model.dtype)
    recording = record(model, token_ids, reads_at=ours.reads_at)
    flow = freeze(model, recording, ours, norms=(graph.meta.get("settings") or {}).get("norms", "frozen"))
    return Bench(
        model=model,
        dictionary=ours,
        graph=graph,
        recording=recording,
        flow=flow,
        frozen=frozen_norms(flow),
        live=live_norms(model, flow, recording),
        errors=_errors(ours, graph, recording, flow.n_real),
    )


def _errors(dictionary: Dictionary, graph: Graph, recording: Recording, n_real: int) -> Tensor:
    """MLP outputs less what the graph's features, the decoder's biases and a skip write."""
    active = dictionary.encode(recording.mlp_inputs, n_real=n_real)
    span = graph.nodes.span("feature")
    columns = (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)
    have = set(zip(*(column[span].tolist() for column in columns), strict=True))
    places = zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True)
    chosen = torch.tensor([i for i, place in enumerate(places) if place in have], dtype=torch.long)
    if len(chosen) < len(have):
        raise UsageError(
            f"{len(have) - len(chosen)} of the graph's {len(have)} features are not active when its prompt is run; "
            "trace the prompt again with this dictionary"
        )
    errors = recording.mlp_outputs - dictionary.reconstruct(active[chosen], recording.mlp_inputs).to(
        recording.mlp_outputs
    )
    errors[:, :n_real] = 0
    return errors


def _targets(bench: Bench) -> list[Readers]:
    """How each target of the graph reads, from what its `meta` says of it."""
    nodes, model = bench.graph.nodes, bench.model
    readers: list[Readers] = []
    span = nodes.span("logit")
    facts = list(bench.graph.meta.get("targets", ()))
    for node in range(span.start, span.stop):
        position, fact = nodes.position[node].long()[None], dict(facts[node - span.start]) if facts else {}
        kind = fact.get("kind", "token")
        if kind == "token":
            readers.append(token_readers(model, nodes.token[node].long()[None], position))
        elif kind == "difference":
            readers.append(token_difference_reader(model, fact["ids"], position))
        elif kind == "feature":
            layer, feature = torch.tensor([fact["layer"]]), torch.tensor([fact["feature"]])
            found = feature_readers(bench.dictionary, layer, position, feature)
            readers.append(replace(found, features=torch.full_like(feature, -1)))  # its pre-activation is explained
        else:
            raise UsageError(
                f"the target {fact.get('name')!r} is a {kind}, whose vector the graph does not keep; verify a graph of "
                "tokens, differences or features"
            )
    return readers


def _split(moves: Sequence[Move]) -> list[Sequence[Move]]:
    return [moves[first : first + ROWS_A_PASS] for first in range(0, len(moves), ROWS_A_PASS)]
