"""What reads the stream: features by their encoder rows, logits by their demeaned unembedding rows, any direction.

A target is a linear function of what a norm hands on at one layer and position. Graphs have a row for each, sweeps of
interventions read them, and verification compares the two; all of them are made here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import ActiveUnits, Basis
from silverstain.brief import brief
from silverstain.models import LanguageModel, Recording


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class Targets:
    """Linear readers of the stream: target = vector · (what is read at its layer and position) + constant."""

    vectors: Float[Tensor, "target d_model"]
    """What the norm's output is multiplied with: an encoder row, a demeaned unembedding row."""
    layers: Int[Tensor, " target"]
    """The layer whose MLP input is read; `n_layers` for the output of the final norm."""
    positions: Int[Tensor, " target"]
    constants: Float[Tensor, " target"]
    """A bias that is added to what is read."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, chosen: Int[Tensor, " chosen"]) -> "Targets":
        return Targets(**{column.name: getattr(self, column.name)[chosen] for column in fields(self)})

    def values_in(self, recording: Recording) -> Float[Tensor, " target"]:
        """What each reads in a recorded run, in float64 before it is rounded: a pre-activation or a demeaned logit,
        never a sum of edges, so that sums of edges can be held against it."""
        return self.values_of(inputs_of(recording, self.layers, self.positions))

    def values_of(self, inputs: Float[Tensor, "target d_model"]) -> Float[Tensor, " target"]:
        """The same for given inputs, one a target."""
        return ((self.vectors.double() * inputs.double()).sum(-1) + self.constants.double()).to(self.vectors)


def joined(*parts: Targets) -> Targets:
    """Several sets of targets, one behind the other."""
    return Targets(
        **{column.name: torch.cat([getattr(part, column.name) for part in parts]) for column in fields(Targets)}
    )


def inputs_of(
    recording: Recording, layers: Int[Tensor, " target"], positions: Int[Tensor, " target"]
) -> Float[Tensor, "target d_model"]:
    """What is read at each layer (`n_layers`: the final norm's output) and position."""
    inputs = recording.final[positions]
    below = layers < recording.n_layers
    inputs[below] = recording.mlp_inputs[layers[below], positions[below]]
    return inputs


def unit_targets(
    basis: Basis,
    layers: Int[Tensor, " unit"],
    positions: Int[Tensor, " unit"],
    features: Int[Tensor, " unit"],
    inputs: Float[Tensor, "unit d_model"],
) -> Targets:
    """The pre-activations of units, active or not, read as in a run with these inputs. Only their rows are read."""
    vectors, constants = torch.zeros_like(inputs), torch.zeros_like(inputs[:, 0])
    for layer in layers.unique().tolist():
        here = layers == layer
        found = basis.readers(layer, features[here].long(), inputs[here])
        vectors[here], constants[here] = found.vectors.to(inputs), found.constants.to(inputs)
    return Targets(vectors=vectors, layers=layers.long(), positions=positions.long(), constants=constants)


def feature_targets(
    recording: Recording, basis: Basis, active: ActiveUnits, chosen: Int[Tensor, " chosen"] | None = None
) -> Targets:
    """The pre-activations of active features, all of them or those with the chosen indices."""
    some = active if chosen is None else active[chosen]
    inputs = inputs_of(recording, some.layer.long(), some.position.long())
    return unit_targets(basis, some.layer, some.position, some.feature, inputs)


def logit_targets(
    model: LanguageModel, token_ids: Sequence[int] | Int[Tensor, " target"], positions: Sequence[int] | Tensor
) -> Targets:
    """Logits before any soft-cap, each less the mean over the vocabulary."""
    W_U, b_U = model.W_U, model.b_U
    ids = torch.as_tensor(token_ids, dtype=torch.long, device=W_U.device)
    vectors = (W_U[ids].double() - model.mean_W_U).to(W_U)
    constants = vectors.new_zeros(len(ids)) if b_U is None else (b_U[ids].double() - b_U.double().mean()).to(vectors)
    return _at_the_end(model, vectors, positions, constants)


def difference_targets(
    model: LanguageModel, pairs: Sequence[tuple[int, int]], positions: Sequence[int] | Tensor
) -> Targets:
    """The logit of the first token of each pair less that of the second."""
    W_U, b_U = model.W_U, model.b_U
    first, second = torch.tensor(pairs, dtype=torch.long, device=W_U.device).T
    vectors = (W_U[first].double() - W_U[second].double()).to(W_U)
    constants = vectors.new_zeros(len(pairs)) if b_U is None else (b_U[first].double() - b_U[second].double()).to(W_U)
    return _at_the_end(model, vectors, positions, constants)


def _at_the_end(
    model: LanguageModel,
    vectors: Float[Tensor, "target d_model"],
    positions: Sequence[int] | Tensor,
    constants: Float[Tensor, " target"],
) -> Targets:
    """Targets that read the final norm's output."""
    at = torch.as_tensor(positions, dtype=torch.long, device=vectors.device)
    return Targets(vectors=vectors, layers=torch.full_like(at, model.n_layers), positions=at, constants=constants)
