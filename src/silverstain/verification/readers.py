"""What is looked at while a prompt is moved: features' activations, and what the graph's targets read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.models import LanguageModel


@runtime_checkable
class Reading(Protocol):
    """Something that looks at what every MLP and the unembedding read."""

    def __len__(self) -> int: ...

    def read_(self, values: Tensor, layer: int, x: Tensor) -> None: ...


class Seen:
    """Keeps all that is read, by layer; n_layers is the final norm."""

    def __init__(self) -> None:
        self.inputs: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return 0

    def read_(self, values: Tensor, layer: int, x: Tensor) -> None:
        self.inputs[layer] = x


@dataclass(frozen=True, kw_only=True)
class Readers:
    """Places that are read, each by one vector; layer n_layers is the final norm."""

    layers: Int[Tensor, " reader"]
    positions: Int[Tensor, " reader"]
    features: Int[Tensor, " reader"]
    """-1 for what is no feature."""
    vectors: Float[Tensor, "reader d_model"]
    constants: Float[Tensor, " reader"]

    def __len__(self) -> int:
        return len(self.layers)

    def at_layer(self, layer: int) -> Int[Tensor, " here"]:
        """Which readers read there."""
        return (self.layers == layer).nonzero().flatten()

    def read_(self, values: Float[Tensor, "row reader"], layer: int, x: Float[Tensor, "row pos d_model"]) -> None:
        """Fill in, in place, what the readers of a layer read from x: pre-activations, or target values."""
        here = self.at_layer(layer)
        if len(here):
            read = torch.einsum("rnd, nd -> rn", x[:, self.positions[here]].to(self.vectors), self.vectors[here])
            values[:, here] = (read + self.constants[here]).to(values)


def feature_readers(
    dictionary: Dictionary, layers: Int[Tensor, " n"], positions: Int[Tensor, " n"], features: Int[Tensor, " n"]
) -> Readers:
    """Features as readers."""
    vectors = torch.zeros(len(layers), dictionary.d_model, dtype=dictionary.dtype, device=dictionary.device)
    constants = torch.zeros_like(vectors[:, 0])
    for layer in layers.unique().tolist():
        here = layers == layer
        vectors[here] = dictionary.encoder_rows(layer, features[here])
        constants[here] = dictionary.b_enc(layer)[features[here]]
    return Readers(layers=layers, positions=positions, features=features, vectors=vectors, constants=constants)


def token_readers(model: LanguageModel, token_ids: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> Readers:
    """Logits, each less the mean over the vocabulary, as readers of the final norm."""
    W_U, b_U = model.W_U, model.b_U
    vectors = (W_U[token_ids].double() - W_U.mean(dim=0, dtype=torch.float64)).to(W_U.dtype)
    constants = torch.zeros_like(vectors[:, 0])
    if b_U is not None:
        constants = (b_U[token_ids].double() - b_U.double().mean()).to(constants)
    return Readers(
        layers=torch.full_like(token_ids, model.n_layers),
        positions=positions,
        features=torch.full_like(token_ids, -1),
        vectors=vectors,
        constants=constants,
    )


def joined(*parts: Readers) -> Readers:
    """Several sets of readers, one behind the other."""
    names = Readers.__dataclass_fields__
    return Readers(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def fired(dictionary: Dictionary, readers: Readers, values: Float[Tensor, "row reader"]) -> Float[Tensor, "row reader"]:
    """Pre-activations through each feature's threshold; what is no feature stays as it is."""
    out = values.clone()
    for layer in readers.layers.unique().tolist():
        here = readers.at_layer(layer)
        here = here[readers.features[here] >= 0]
        if len(here):
            threshold = dictionary.threshold(layer)
            bar = 0.0 if threshold is None else threshold[readers.features[here]].to(values)
            out[:, here] = values[:, here] * (values[:, here] > bar)
    return out


def token_difference_reader(model: LanguageModel, ids: Sequence[int], position: Int[Tensor, " 1"]) -> Readers:
    """The logit of ids[0] less that of ids[1]."""
    W_U, b_U = model.W_U, model.b_U
    vector = W_U[ids[0]] - W_U[ids[1]]
    return Readers(
        layers=torch.full_like(position, model.n_layers),
        positions=position,
        features=torch.full_like(position, -1),
        vectors=vector[None],
        constants=vector.new_zeros(1) if b_U is None else (b_U[ids[0]] - b_U[ids[1]])[None],
    )
