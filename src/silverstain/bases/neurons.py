"""The model's own neurons as a basis: nothing is trained, nothing is missing.

A unit is one coordinate of what an MLP's last projection reads (`models.neurons`), at every token of a prompt: signed,
never 0 by a threshold, and never a competitor of others. Together they write all that an MLP writes, so there is no
error; what no unit of a graph stands for is the rest of its layer and position. In a mixture of experts the neurons of
experts that did not run are 0, and the bias of each expert's output is one more unit.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.basis import Basis, Readers
from silverstain.bases.neuron_rules import Hidden, NeuronRule, Slopes, rule_named, slopes
from silverstain.bases.sites import MLP_OUTPUT, READS_AT
from silverstain.bases.storage import DecoderFunction
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Neurons, neurons_of
from silverstain.references import NEURONS
from silverstain.storage import hash_tensors


class NeuronBasis(Basis):
    """Every neuron of a model. It keeps views of the model's weights, no copies."""

    name = NEURONS

    def __init__(self, model: LanguageModel, *, rule: str = "half") -> None:
        """The neurons of a model, read in a run by a rule (`bases.neuron_rules`)."""
        self.model = model
        self.rule: NeuronRule = rule_named(rule)
        self._decoder: DecoderFunction | None = None
        self.n_layers, self.d_model = model.n_layers, model.d_model
        self.n_features = self.layer(0).n_units
        odd = [layer for layer in range(self.n_layers) if self.layer(layer).n_units != self.n_features]
        if odd:
            raise UsageError(
                f"{model.name} has {self.layer(odd[0]).n_units} neurons in layer {odd[0]} and {self.n_features} in "
                "layer 0; layers of different widths cannot be read in neurons: read it with a dictionary"
            )

    def __repr__(self) -> str:
        return f"NeuronBasis({self.model.name!r}, {self.n_layers} layers of {self.n_features}, rule {self.rule!r})"

    def layer(self, layer: int) -> Neurons:
        """The neurons of a layer."""
        return self._layers[layer]

    @cached_property
    def _layers(self) -> Sequence[Neurons]:
        return [neurons_of(self.model, layer) for layer in range(self.n_layers)]

    def with_rule(self, rule: str | None) -> "NeuronBasis":
        """The same neurons read by another rule; by this one's where none is named."""
        if rule is None or rule_named(rule) == self.rule:
            return self
        return self._variant(rule=rule_named(rule))

    def with_decoder(self, rows: DecoderFunction) -> "NeuronBasis":
        """A variant whose neurons write other rows: `rows(layer, features, own)` gives them, their own being given."""
        return self._variant(_decoder=rows)

    def reordered(self, sources: Mapping[int, Tensor]) -> "NeuronBasis":
        """A variant in which neuron f of a layer writes the row of neuron `sources[layer][f]`."""
        return self.with_decoder(
            lambda layer, features, own: self.layer(layer).W_out[sources[layer].to(features.device)[features]]
        )

    def _variant(self, **changes: Any) -> "NeuronBasis":
        other = copy(self)
        vars(other).update(changes)
        return other

    # what a basis says of itself

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        return self.model.dtype

    @property
    def hash(self) -> str:
        """Of the model's: which unit is which does not depend on the rule, which a graph's settings keep."""
        return hash_tensors({f"neurons of {self.model.hash}": torch.zeros(0)})

    @property
    def reads_at(self) -> str:
        return READS_AT

    @property
    def writes_at(self) -> str:
        return MLP_OUTPUT

    @property
    def competes(self) -> bool:
        return False

    @property
    def is_dense(self) -> bool:
        return True

    @property
    def is_linear(self) -> bool:
        return False

    @property
    def is_cross_layer(self) -> bool:
        return False

    def n_real(self, model: LanguageModel) -> int:
        return 0

    def to(self, *, device: Any = None, dtype: torch.dtype | None = None) -> "NeuronBasis":
        """Itself; UsageError for a place or type that is not the model's."""
        if torch.device(device or self.device) != self.device or (dtype or self.dtype) != self.dtype:
            raise UsageError(
                f"neurons of {self.model.name} compute where it does, on {self.device} in {self.dtype}; load the model "
                "there"
            )
        return self

    # computing

    def readers(self, layer: int, features: Int[Tensor, " k"], inputs: Float[Tensor, "k d_model"]) -> Readers:
        """The linear map that each neuron is in the run, by the rule: vector · input + constant is its activation."""
        neurons, x = self.layer(layer), self.cast(inputs)
        vectors, constants = torch.zeros_like(x), torch.zeros_like(x[:, 0])
        routed = None if neurons.n_experts == 0 else neurons.routing(x)[0]
        is_bias = features >= neurons.n_neurons
        if routed is not None:
            constants = routed.gather(1, neurons.expert(features)[:, None])[:, 0]
        here = (~is_bias).nonzero().flatten()
        some, at = features[here], x[here]
        hidden = Hidden(
            gate=_each(neurons.W_gate, neurons.b_gate, some, at),
            up=None if neurons.W_up is None else _each(neurons.W_up, neurons.b_up, some, at),
            weight=1.0 if routed is None else constants[here],
            b_gate=None if neurons.b_gate is None else neurons.b_gate[some],
            b_up=None if neurons.b_up is None else neurons.b_up[some],
        )
        found = slopes(self.rule, hidden, neurons.f, neurons.m)
        vector = found.gate[:, None] * neurons.W_gate[some]
        if neurons.W_up is not None and found.up is not None:
            vector = vector + found.up[:, None] * neurons.W_up[some]
        constant = found.constant
        if self.rule == "ray":
            vector = vector + (constant / _squared(at))[:, None] * at
            constant = torch.zeros_like(constant)
        vectors[here] = vector
        constants = constants.index_copy(0, here, constant)
        return Readers(vectors, constants)

    def slopes(self, layer: int, x: Float[Tensor, "pos d_model"]) -> Slopes:
        """All neurons of a layer made linear at these inputs, experts' biases left out."""
        neurons = self.layer(layer)
        factors = neurons.factors(x)
        each = neurons.n_neurons // max(neurons.n_experts, 1)
        hidden = Hidden(
            gate=factors.gate,
            up=factors.up,
            weight=1.0 if factors.weights is None else factors.weights.repeat_interleave(each, dim=-1),
            b_gate=neurons.b_gate,
            b_up=neurons.b_up,
        )
        return slopes(self.rule, hidden, neurons.f, neurons.m)

    def response(
        self, layer: int, clean: Float[Tensor, "pos d_model"], change: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row pos unit"]:
        """By how much neurons change with their layer's input, linear as the rule has them: what a graph claims."""
        neurons, x, moved = self.layer(layer), self.cast(clean), self.cast(change)
        made = self.slopes(layer, x)
        found = made.gate * (moved @ neurons.W_gate.T)
        if neurons.W_up is not None and made.up is not None:
            found = found + made.up * (moved @ neurons.W_up.T)
        if self.rule == "ray":
            found = found + made.constant * ((moved * x).sum(-1) / _squared(x))[..., None]
        return torch.nn.functional.pad(found, (0, neurons.n_units - neurons.n_neurons))

    def activations_of(
        self, layer: int, x: Float[Tensor, "*batch d_model"], features: Int[Tensor, " some"]
    ) -> Float[Tensor, "*batch some"]:
        """Activations of some neurons; where experts are routed, all are computed."""
        neurons, x = self.layer(layer), self.cast(x)
        if neurons.n_experts:
            return self.encode_layer(layer, x)[..., features]
        some = replace(
            neurons,
            W_gate=neurons.W_gate[features],
            b_gate=None if neurons.b_gate is None else neurons.b_gate[features],
            W_up=None if neurons.W_up is None else neurons.W_up[features],
            b_up=None if neurons.b_up is None else neurons.b_up[features],
        )
        return some.activations(x)

    def pull(
        self,
        layer: int,
        x: Float[Tensor, "pos d_model"],
        made: Slopes,
        gradient: Float[Tensor, "target pos unit"],
    ) -> tuple[Float[Tensor, "target pos d_model"], Float[Tensor, " target"]]:
        """Gradients at the units of a layer made gradients at its input x, and what units' constants add to each
        target."""
        neurons = self.layer(layer)
        n = neurons.n_neurons
        of_neurons = gradient[..., :n]
        into = (of_neurons * made.gate) @ neurons.W_gate
        if neurons.W_up is not None and made.up is not None:
            into = into + (of_neurons * made.up) @ neurons.W_up
        constant = (of_neurons * made.constant).sum(-1)
        if self.rule == "ray":
            into = into + (constant / _squared(x))[..., None] * x
            constant = torch.zeros_like(constant)
        if neurons.n_experts:
            constant = constant + (gradient[..., n:] * neurons.routing(x)[0]).sum(-1)
        return into, constant.sum(-1)

    def activations_at(
        self,
        layer: int,
        x: Float[Tensor, "batch pos d_model"],
        rows: Int[Tensor, " unit"],
        positions: Int[Tensor, " unit"],
        features: Int[Tensor, " unit"],
    ) -> Float[Tensor, " unit"]:
        """The activation of each of some units, computed one by one where they are few: there is no threshold that
        rounding could carry one across."""
        neurons = self.layer(layer)
        if neurons.n_experts or len(rows) * 2 > x.shape[0] * x.shape[1] * neurons.n_units // self.d_model:
            return super().activations_at(layer, x, rows, positions, features)
        at = x[rows, positions]
        a = neurons.f(_each(neurons.W_gate, neurons.b_gate, features, at))
        return a if neurons.W_up is None else a * neurons.up_of(_each(neurons.W_up, neurons.b_up, features, at))

    def pre_activations(self, layer: int, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        """The activations: nothing is applied to them."""
        return self.layer(layer).activations(x)

    def activate(
        self, layer: int, pre_activations: Float[Tensor, "*batch some"], features: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "*batch some"]:
        """The same numbers."""
        return pre_activations

    def thresholds_in(
        self, layer: int, pre_activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch feature"]:
        """There is none to exceed."""
        return torch.full_like(pre_activations, -torch.inf)

    def targets(self, layer: int) -> range:
        return range(layer, layer + 1)

    def decoder_rows(self, layer: int, features: Int[Tensor, " k"]) -> Float[Tensor, "k target d_model"]:
        """What the last projection makes of each, before the norm behind the MLP where there is one."""
        own = self.layer(layer).W_out[features]
        return (own if self._decoder is None else self._decoder(layer, features, own)).unsqueeze(1)

    def decode_layer(
        self, layer: int, activations: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch target d_model"]:
        """What all neurons of a layer write."""
        W_out = self.layer(layer).W_out
        if self._decoder is not None:
            W_out = self._decoder(layer, torch.arange(len(W_out), device=W_out.device), W_out)
        return (activations @ W_out).unsqueeze(-2)

    def W_skip(self, layer: int) -> None:
        return None

    @cached_property
    def b_dec(self) -> Float[Tensor, "layer d_model"]:
        """The bias of the last projection, before the norm behind the MLP."""
        zero = torch.zeros(self.d_model, device=self.device, dtype=self.dtype)
        return torch.stack([zero if b is None else b for b in (one.b_out for one in self._layers)])


def with_rule(basis: Basis, rule: str | None) -> Basis:
    """The basis read by a rule of neurons; UsageError where it has no neurons and a rule is named."""
    if isinstance(basis, NeuronBasis):
        return basis.with_rule(rule)
    if rule is not None:
        raise UsageError(
            f"a rule of neurons is named ({rule_named(rule)}), and {basis.name} is a dictionary, whose features are "
            "linear as they are; leave it out, or read the model's neurons (--dictionary neurons)"
        )
    return basis


def _each(
    W: Float[Tensor, "neuron d_model"], bias: Tensor | None, some: Int[Tensor, " k"], x: Float[Tensor, "k d_model"]
) -> Float[Tensor, " k"]:
    """Each neuron's own projection of its own input."""
    found = (W[some] * x).sum(-1)
    return found if bias is None else found + bias[some]


def _squared(x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
    """‖x‖², never 0."""
    return x.square().sum(-1).clamp_min(torch.finfo(x.dtype).tiny)
