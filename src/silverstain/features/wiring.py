"""What the weights alone say of features: what they write, what drives them, which write alike.

Virtual weights ⟨what s writes, what t reads⟩ leave out attention and the scales of norms; times the usual size of s
they rank who drives t. A gated neuron reads by its gate here: its other projection only sizes what the gate lets
through.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis, NeuronBasis, writes_before_norm
from silverstain.features.lens import Lens, seen_through
from silverstain.features.output import written_vectors
from silverstain.models import LanguageModel

AT_ONCE = 1 << 24
"""Numbers of a product that is looked through."""


class Ranked(NamedTuple):
    """The first few of each row: who, and how much."""

    index: Int[Tensor, "row n"]
    value: Float[Tensor, "row n"]


class Written(NamedTuple):
    """Tokens that each feature raises and lowers most, in standard deviations over the vocabulary."""

    up: Ranked
    down: Ranked


@torch.no_grad()
def written(model: LanguageModel, basis: Basis, layer: int, n: int, lens: Lens | None = None) -> Written:
    """Of all features of a layer, directly or through a lens."""
    every = torch.arange(basis.n_features, device=basis.device)
    size = max(1, AT_ONCE // model.d_vocab)
    ups, downs = [], []
    for some in every.split(size):
        if lens is None:
            vectors = written_vectors(model, basis, layer, some)
        else:
            vectors = seen_through(model, basis, layer, some, lens)
        effects = (vectors @ model.W_U.T).float()
        effects -= effects.mean(-1, keepdim=True)
        effects /= effects.std(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        ups.append(effects.topk(min(n, model.d_vocab)))
        downs.append(effects.topk(min(n, model.d_vocab), largest=False))
    return Written(_joined(ups), _joined(downs))


def _nearest(directions: Tensor, basis: Basis, layer: int, alive: Tensor, n: int) -> Ranked:
    own = (alive // basis.n_features == layer).nonzero().flatten()
    found = []
    for some in own.split(max(1, AT_ONCE // max(len(alive), 1))):
        cosines = directions[some] @ directions.T
        cosines[torch.arange(len(some)), some] = -torch.inf
        found.append(cosines.topk(min(n, len(alive))))
    return _joined(found) if found else Ranked(torch.zeros(0, n, dtype=torch.long), torch.zeros(0, n))


class Wiring:
    """Who writes alike and who drives whom, among features that are alive; their vectors are held once."""

    def __init__(self, model: LanguageModel, basis: Basis, alive: Int[Tensor, " alive"]) -> None:
        self.model, self.basis, self.alive = model, basis, alive
        self._layer = alive // basis.n_features
        self._writes = _writes(model, basis, alive)
        self._directions = torch.nn.functional.normalize(self._writes, dim=-1)

    @torch.no_grad()
    def nearest(self, layer: int, n: int) -> Ranked:
        """Of each feature of a layer: those whose writing has the largest cosine with its own."""
        return _nearest(self._directions, self.basis, layer, self.alive, n)

    @torch.no_grad()
    def upstream(self, layer: int, sizes: Float[Tensor, " alive"], n: int) -> Ranked:
        """Of each feature of a layer: those of earlier layers whose writing it reads most, each times its usual size;
        the weight is of the product of that."""
        own = (self._layer == layer).nonzero().flatten()
        below = (self._layer < layer).nonzero().flatten()
        if not len(own) or not len(below):
            return Ranked(torch.zeros(len(own), 0, dtype=torch.long), torch.zeros(len(own), 0))
        sources = _writes(self.model, self.basis, self.alive[below], before=layer) * sizes[below, None]
        reads = reading_vectors(self.model, self.basis, layer, self.alive[own] - layer * self.basis.n_features)
        found = []
        for some in reads.split(max(1, AT_ONCE // len(below))):
            weights = some @ sources.T
            top = weights.abs().topk(min(n, len(below)))
            found.append((weights.gather(1, top.indices), below[top.indices]))
        return Ranked(torch.cat([index for _, index in found]), torch.cat([value for value, _ in found]))


@torch.no_grad()
def reading_vectors(
    model: LanguageModel, basis: Basis, layer: int, features: Int[Tensor, " feature"]
) -> Float[Tensor, "feature d_model"]:
    """What each feature reads of the stream, the norm's scale being 1: encoder rows, or the gates of neurons."""
    if isinstance(basis, NeuronBasis):
        neurons = basis.layer(layer)
        gates = torch.cat(
            [neurons.W_gate, neurons.W_gate.new_zeros(neurons.n_units - neurons.n_neurons, model.d_model)]
        )
        rows = gates[features]
    else:
        zeros = torch.zeros(len(features), basis.d_model, dtype=basis.dtype, device=basis.device)
        rows = basis.readers(layer, features, zeros).vectors
    norm = model.norm("mlp", layer)
    if norm is None or basis.reads_at != "mlp.hook_in":
        return rows.to(model.W_U)
    return norm.centred(rows.to(model.W_U) * norm.weight)


@torch.no_grad()
def embeddings_read(model: LanguageModel, basis: Basis, layer: int, n: int) -> Ranked:
    """The tokens whose embedding each feature of a layer reads most, in standard deviations over the vocabulary."""
    every = torch.arange(basis.n_features, device=basis.device)
    found = []
    for some in every.split(max(1, AT_ONCE // model.d_vocab)):
        weights = (reading_vectors(model, basis, layer, some) @ model.W_E.T).float()
        weights -= weights.mean(-1, keepdim=True)
        weights /= weights.std(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        found.append(weights.topk(min(n, model.d_vocab)))
    return _joined(found)


def _writes(
    model: LanguageModel, basis: Basis, units: Int[Tensor, " unit"], before: int | None = None
) -> Float[Tensor, "unit d_model"]:
    """All that each feature writes to the stream at unit activation, to every layer or only to those before one."""
    out = torch.zeros(len(units), model.d_model, dtype=torch.float32)
    for layer, at, features in _by_layer(basis, units):
        rows = basis.decoder_rows(layer, features).to(model.W_U)
        for index, target in enumerate(basis.targets(layer)):
            if before is not None and target >= before:
                continue
            one = rows[:, index]
            behind = model.norm("mlp_output", target) if writes_before_norm(basis, model) else None
            out[at] += (one if behind is None else behind.centred(one) * behind.weight).float().cpu()
    return out


def _by_layer(basis: Basis, units: Int[Tensor, " unit"]) -> Iterator[tuple[int, Tensor, Tensor]]:
    for layer in range(basis.n_layers):
        at = (units // basis.n_features == layer).nonzero().flatten()
        if len(at):
            yield layer, at, (units[at] - layer * basis.n_features).to(basis.device)


def _joined(parts: list) -> Ranked:
    indices = torch.cat([part.indices for part in parts]).cpu()
    return Ranked(indices, torch.cat([part.values for part in parts]).float().cpu())
