"""What is looked at while edits act: logits, features, groups of features, and anything else a graph has rows for.

A readout is a linear function of what a norm hands on at one layer and position: a feature's encoder row, a logit's
demeaned unembedding row. These are the targets of attribution, so a change of one is what a graph's edges predict.
Changes are products with the difference of the two runs, not differences of products, so small effects keep their
digits.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution import Place, Targets, joined, logit_targets, unit_targets
from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, position_in
from silverstain.models.mlps import forwards_of
from silverstain.models.recording import kept, readers


@brief
@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class Readouts:
    """What a sweep reports of each edited run."""

    tokens: tuple[int, ...] = ()
    """Vocabulary ids whose logits and probabilities are read at `position`."""
    features: tuple[Place, ...] = ()
    """(layer, position, feature): pre-activation and activation, whether it is active or not."""
    groups: tuple[tuple[Place, ...], ...] = ()
    """Groups of features: the sum of their activations."""
    targets: Targets | None = None
    """Anything else that reads the stream, as a graph's rows do (see `attribution.targets` and `roots`)."""
    position: int = -1
    """Where logits are read, also for `kl` and `top`; negative from the end."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Every feature that is read, once."""
        members = (place for group in self.groups for place in group)
        return tuple(dict.fromkeys((*self.features, *members)))

    def layers(self, n_layers: int) -> list[int]:
        """The layers in which something is read; n_layers stands for the final norm's output."""
        found = {layer for layer, _, _ in self.places} | ({n_layers} if self.tokens else set())
        return sorted(found | (set() if self.targets is None else set(self.targets.layers.tolist())))

    def check(self, model: LanguageModel, basis: Basis, n_positions: int) -> None:
        """UsageError for a feature, token or position that is not there."""
        position_in(self.position, n_positions)
        n_real = basis.n_real(model)
        for layer, position, feature in self.places:
            if not (0 <= layer < basis.n_layers and 0 <= feature < basis.n_features):
                raise UsageError(
                    f"The readout L{layer}.F{feature} is not in this dictionary of {basis.n_layers} layers of "
                    f"{basis.n_features} features; name one of those."
                )
            if not n_real <= position < n_positions:
                raise UsageError(
                    f"The readout L{layer}.F{feature} is at position {position}; features are at positions "
                    f"{n_real} to {n_positions - 1} of this prompt."
                )
        wrong = [token for token in self.tokens if not 0 <= token < model.d_vocab]
        if wrong:
            raise UsageError(
                f"The readout of token {wrong[0]} is not in the vocabulary; give ids below {model.d_vocab}."
            )


@brief
class Reading(NamedTuple):
    """Some readouts, before any edit and under each."""

    before: Float[Tensor, " readout"]
    change: Float[Tensor, "edit readout"]
    """Under each edit, less `before`."""

    @property
    def after(self) -> Float[Tensor, "edit readout"]:
        return self.before + self.change


Inputs = Mapping[int, Float[Tensor, "pos d_model"]]
"""What is read in each layer of a run without edits; n_layers stands for the final norm's output."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadoutSet:
    """Readouts of one prompt, ready to be read: the pre-activations of their features, their logits, their targets."""

    basis: Basis
    places: tuple[Place, ...]
    targets: Targets
    """Features, then logits, then what else is asked for."""
    clean: Inputs
    values: Float[Tensor, " target"]
    """What the targets read in the clean run."""
    active: Float[Tensor, " place"]
    """The activations of the features there."""
    by_rule: bool = False
    """Neurons are read as linear as their rule has them, not as they are."""

    @cached_property
    def numbers(self) -> Int[Tensor, " place"]:
        """The number of each feature in its layer."""
        return torch.tensor([feature for _, _, feature in self.places], dtype=torch.long, device=self.active.device)

    def changes(self, n_rows: int) -> "ReadoutChanges":
        """Room for what changes in so many edited runs."""
        room = self.values.new_zeros(n_rows, len(self.targets)), self.active.new_zeros(n_rows, len(self.places))
        return ReadoutChanges(self, *room)


class ReadoutChanges(NamedTuple):
    """By how much readouts change in some edited runs, filled in layer by layer."""

    of: ReadoutSet
    targets: Float[Tensor, "row target"]
    active: Float[Tensor, "row place"]

    def read_(self, layer: int, change: Float[Tensor, "row pos d_model"], first: int = 0) -> None:
        """Fill in, in place, what is read in a layer whose input changes by this much at the positions from the first
        on; it does not change before."""
        readouts, n = self.of, len(self.of.places)
        for position, which in _by_position(readouts.targets, layer):
            if position >= first:
                moved = change[:, position - first]
                vectors = readouts.targets.vectors[which]
                self.targets[:, which] = moved.to(vectors) @ vectors.T
                some = which[which < n]
                if len(some):
                    self._activate_(layer, position, moved, some, readouts.numbers[some])

    def _activate_(
        self,
        layer: int,
        position: int,
        moved: Float[Tensor, "row d_model"],
        which: Int[Tensor, " some"],
        features: Int[Tensor, " some"],
    ) -> None:
        basis, clean = self.of.basis, self.of.clean[layer][position]
        if basis.competes:  # all units of the layer must be known
            before, after = basis.encode_layer(layer, clean), basis.encode_layer(layer, clean + moved)
            self.active[:, which] = (after - before)[:, features].to(self.active)
            return
        if not basis.is_linear and not self.of.by_rule:  # its activation is all that a neuron has before it, too
            before, after = (basis.activations_of(layer, x, features) for x in (clean, clean + moved))
            self.active[:, which] = (after - before).to(self.active)
            self.targets[:, which] = self.active[:, which]
            return
        before = basis.cast(self.of.values[which])
        after = before + basis.cast(self.targets[:, which])
        change = basis.activate(layer, after, features) - basis.activate(layer, before, features)
        self.active[:, which] = change.to(self.active)


def readout_set(model: LanguageModel, basis: Basis, readouts: Readouts, clean: Inputs, n_positions: int) -> ReadoutSet:
    """The readouts as targets, with what they are in the run whose inputs are given."""
    places = readouts.places
    columns = torch.tensor(places, dtype=torch.long, device=model.device).reshape(-1, 3)
    layers, positions, features = columns.unbind(1)
    inputs = torch.zeros(len(places), model.d_model, dtype=model.dtype, device=model.device)
    active = inputs.new_zeros(len(places))
    for layer in layers.unique().tolist():
        here = layers == layer
        inputs[here] = clean[layer][positions[here]].to(inputs)
        first = torch.zeros_like(features[here])
        active[here] = basis.activations_at(layer, clean[layer][None], first, positions[here], features[here]).to(
            active
        )
    at = position_in(readouts.position, n_positions)
    targets = joined(
        unit_targets(basis, layers, positions, features, inputs),
        logit_targets(model, readouts.tokens, [at] * len(readouts.tokens)),
        *(() if readouts.targets is None else (readouts.targets,)),
    )
    values = targets.constants.clone()
    for layer in targets.layers.unique().tolist():
        here = targets.layers == layer
        read = clean[layer][targets.positions[here]].to(targets.vectors)
        values[here] += (read * targets.vectors[here]).sum(-1)
    return ReadoutSet(basis=basis, places=places, targets=targets, clean=clean, values=values, active=active)


@contextmanager
def kept_reads(model: LanguageModel, reads_at: str, layers: list[int]) -> Iterator[dict[int, Tensor]]:
    """Keep what is read in each of these layers ([batch, pos, d_model]) during calls inside the `with`; n_layers
    stands for the final norm's output."""
    modules = dict(enumerate(readers(model, reads_at)))
    final = {model.n_layers: model.final_norm.module} if model.n_layers in layers else {}
    with (
        kept({layer: modules[layer] for layer in layers if layer in modules}, inputs=True) as found,
        kept(final, inputs=False, found=found),
    ):
        yield found


@contextmanager
def logits_only_at(model: LanguageModel, position: int) -> Iterator[None]:
    """Let the model compute logits at one position alone: of a large vocabulary, the rest costs more than the model."""
    module = model.hf.get_submodule(model.architecture.unembedding)
    forward = module.forward
    with forwards_of([module], [lambda x: forward(x[:, position : position + 1])]):
        yield


def _by_position(targets: Targets, layer: int) -> Iterator[tuple[int, Int[Tensor, " some"]]]:
    """Each position at which targets read in a layer, with those that do."""
    here = (targets.layers == layer).nonzero().flatten()
    positions = targets.positions[here]
    for position in positions.unique().tolist():
        yield position, here[positions == position]
