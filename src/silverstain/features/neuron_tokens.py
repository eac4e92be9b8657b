"""What single neurons of a graph have to do with tokens: what they write, what drives them.

Three views, each with its limits:

    promotes, suppresses   the direct effect on every token (`output`), signed by the activation, or in a contrast by
                           the change of it: a neuron that goes down and suppresses Madrid promotes Madrid. It says much
                           of late neurons, whose output nothing else reads first, and little of early ones.
    driven_by              the neuron's activation if the stream held nothing but a token's embedding, signed likewise.
                           This is a view of the first layers only: there the stream is mostly the embedding, and even
                           there attention, and embeddings of positions, are left out. From the first eighth of the
                           layers on it would mean nothing, and is empty.
    words                  the words of the prompt that drive it in this run, by all paths of the graph. What came
                           through the rest, of which the graph has no nodes, is of no word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from silverstain.bases import NeuronBasis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.features.output import scaled_vectors
from silverstain.features.prompt_words import PromptWords
from silverstain.graphs import Graph, edge_shares, influence
from silverstain.graphs.kinds import TOKEN
from silverstain.models import LanguageModel
from silverstain.notation import feature_name

AT_ONCE = 1 << 14
"""Tokens of the vocabulary that are embedded together."""
MOST_WORDS = 3
MENTIONED = 0.05
"""Share of a neuron's input that a word must give to be listed."""


@brief
@dataclass(frozen=True, kw_only=True)
class NeuronTokens:
    """One neuron of a graph; tokens are texts, strongest first."""

    node: int
    name: str
    """As in commands: L3.F17@5."""
    activation: float
    """Or the change of it, in a contrast."""
    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]
    driven_by: tuple[str, ...]
    """Of the vocabulary; empty beyond the first layers."""
    words: tuple[tuple[str, float], ...]
    """Of the prompt, with the share of what enters the neuron that comes from each."""


@torch.no_grad()
def neuron_tokens(
    graph: Graph, model: LanguageModel, neurons: NeuronBasis, nodes: Sequence[int] | None = None, *, n: int = 5
) -> list[NeuronTokens]:
    """What the neurons at some nodes write and are driven by; of the 50 most influential ones where none are named."""
    reached, is_neuron = influence(graph), graph.nodes.is_kind("feature")
    if nodes is None:
        ranked = torch.where(is_neuron, reached, -1.0).argsort(descending=True, stable=True)
        nodes = ranked[: min(50, int(is_neuron.sum()))].tolist()
    for node in nodes:
        if not 0 <= node < graph.n_nodes or not bool(is_neuron[node]):
            raise UsageError(f"node {node} of this graph is no neuron; give indices of nodes of kind feature")
    given = word_shares(graph)
    words = PromptWords(graph.meta.get("tokens") or ())
    n = min(n, model.d_vocab)
    table = graph.nodes
    layers, features, activation = (column.tolist() for column in (table.layer, table.feature, table.activation))
    signs = {node: -1.0 if activation[node] < 0 else 1.0 for node in nodes}
    places = [(layers[node], features[node]) for node in nodes]
    up, down = [], []
    for some in scaled_vectors(model, neurons, places, [signs[node] for node in nodes]).split(64):
        effects = some @ model.W_U.T
        up += effects.topk(n).indices.tolist()
        down += effects.topk(n, largest=False).indices.tolist()
    driven: dict[int, tuple[str, ...]] = {}
    for layer in range(first_layers(model)):
        here = [node for node in nodes if layers[node] == layer]
        if here:
            of_layer = torch.tensor([features[node] for node in here], device=neurons.device)
            ids = driving_tokens(model, neurons, layer, of_layer, torch.tensor([signs[node] for node in here]), n=n)
            driven |= {node: tuple(model.token_strings(row)) for node, row in zip(here, ids, strict=True)}
    position = graph.nodes.position.tolist()
    return [
        NeuronTokens(
            node=node,
            name=feature_name(layers[node], features[node], position[node]),
            activation=activation[node],
            promotes=tuple(model.token_strings(promoted)),
            suppresses=tuple(model.token_strings(suppressed)),
            driven_by=driven.get(node, ()),
            words=_strongest(given[node], words),
        )
        for node, promoted, suppressed in zip(nodes, up, down, strict=True)
    ]


def first_layers(model: LanguageModel) -> int:
    """How many layers the embedding alone says something about: an eighth, and at least the first."""
    return max(1, model.n_layers // 8)


def driving_tokens(
    model: LanguageModel, neurons: NeuronBasis, layer: int, features: Tensor, signs: Float[Tensor, " neuron"], *, n: int
) -> Tensor:
    """Ids of the n tokens whose embedding alone, through the norm before the MLP, activates each neuron most.

    A neuron of sign −1 is asked for what makes it most negative.
    """
    norm = model.norm("mlp", layer)
    best_values = torch.full((len(features), 0), 0.0, device=model.device)
    best_ids = torch.zeros(len(features), 0, dtype=torch.long, device=model.device)
    for first in range(0, model.d_vocab, AT_ONCE):
        embedded = model.W_E[first : min(first + AT_ONCE, model.d_vocab)]
        read = embedded if norm is None else norm(embedded)
        found = neurons.activations_of(layer, read, features).float() * signs.to(model.device)
        ids = torch.arange(first, first + len(embedded), device=model.device).expand(len(features), -1)
        values, ids = torch.cat([best_values, found.T], 1), torch.cat([best_ids, ids], 1)
        top = values.topk(min(n, values.shape[1]), dim=1)
        best_values, best_ids = top.values, ids.gather(1, top.indices)
    return best_ids.cpu()


def word_shares(graph: Graph) -> Float64[Tensor, "node word"]:
    """Of what enters each node, the share that each word of the prompt gives, over all paths; without signs."""
    words = PromptWords(graph.meta.get("tokens") or ())
    shares = edge_shares(graph)
    given = torch.zeros(graph.n_nodes, len(words), dtype=torch.float64)
    for node in (graph.nodes.kind == TOKEN).nonzero().flatten().tolist():
        word = words.at(int(graph.nodes.position[node]))
        if word >= 0:
            given[node, word] = 1.0
    for row in graph.nodes.depth[graph.row_nodes].argsort(stable=True).tolist():  # edges rise
        edges = slice(int(graph.indptr[row]), int(graph.indptr[row + 1]))
        given[graph.row_nodes[row]] = shares[edges] @ given[graph.indices[edges].long()]
    return given


def _strongest(shares: Float64[Tensor, " word"], words: PromptWords) -> tuple[tuple[str, float], ...]:
    ranked = sorted(range(len(words)), key=lambda word: (-float(shares[word]), word))[:MOST_WORDS]
    return tuple((words.names[word], float(shares[word])) for word in ranked if float(shares[word]) >= MENTIONED)
