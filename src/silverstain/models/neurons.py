"""The hidden coordinates of an MLP: its neurons, as the model has them.

A neuron is one coordinate of what an MLP's last projection reads. Every MLP of the architecture table is one form,

    h = w · a · b        a = f(g),  g = W_g x + b_g        b = m(u),  u = W_u x + b_u        out = h W_out + b_out

with the gate's activation function f; without a gate `b` is 1, in a gated MLP m(u) = u, and w is 1 but in a mixture of
experts, where it is the weight that the router gives to the neuron's expert: 0 for experts that do not run. There m(u)
= clamp(u) + 1, and the bias of each expert's output is one more neuron, whose activation is the router's weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models.language_model import LanguageModel

Elementwise = Callable[[Tensor], Tensor]


@brief
class Factors(NamedTuple):
    """What the neurons of a layer are made of on some inputs; `h = weight · f(gate) · m(up)`."""

    gate: Float[Tensor, "*batch neuron"]
    """Before its activation function."""
    up: Float[Tensor, "*batch neuron"] | None
    """None where there is no gate, so that the one projection there is passes through f."""
    weights: Float[Tensor, "*batch expert"] | None
    """The router's, 0 for experts that do not run; None where there is no router."""

    def run(self, index: int) -> "Factors":
        """Of one entry of the first axis."""
        up = None if self.up is None else self.up[index]
        return Factors(self.gate[index], up, None if self.weights is None else self.weights[index])


@brief
@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The neurons of one layer's MLP. Matrices are views of the model's own where its layout allows."""

    W_gate: Float[Tensor, "neuron d_model"]
    b_gate: Float[Tensor, " neuron"] | None
    W_up: Float[Tensor, "neuron d_model"] | None
    b_up: Float[Tensor, " neuron"] | None
    W_out: Float[Tensor, "unit d_model"]
    """What each writes at activation 1, before the norm behind the MLP; of experts' biases last."""
    b_out: Float[Tensor, " d_model"] | None
    f: Elementwise
    m: Elementwise | None = None
    """What is done with `up`; None for nothing."""
    W_router: Float[Tensor, "expert d_model"] | None = None
    b_router: Float[Tensor, " expert"] | None = None
    n_running: int = 0
    """How many experts run at a token."""

    @property
    def n_units(self) -> int:
        """Neurons, and the biases of experts."""
        return len(self.W_out)

    @property
    def n_neurons(self) -> int:
        return len(self.W_gate)

    @property
    def n_experts(self) -> int:
        return 0 if self.W_router is None else len(self.W_router)

    def expert(self, units: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """The expert that each unit belongs to; neurons of an expert lie together."""
        each = self.n_neurons // max(self.n_experts, 1)
        return torch.where(units < self.n_neurons, units // max(each, 1), units - self.n_neurons)

    def factors(self, x: Float[Tensor, "*batch d_model"]) -> Factors:
        """What the neurons are made of on inputs of the MLP."""
        gate = nn.functional.linear(x, self.W_gate, self.b_gate)
        up = None if self.W_up is None else nn.functional.linear(x, self.W_up, self.b_up)
        return Factors(gate, up, None if self.W_router is None else self.routing(x)[0])

    def factors_from(self, x: Float[Tensor, "*batch d_model"], projections: Sequence[Tensor]) -> Factors:
        """The same where what the first projections gave is there (`projection_names`)."""
        if not projections:
            return self.factors(x)
        if self.W_up is None:
            return Factors(projections[0], None, None)
        gate, up = projections if len(projections) > 1 else projections[0].chunk(2, dim=-1)
        return Factors(gate, up, None)

    def routing(self, x: Float[Tensor, "*batch d_model"]) -> tuple[Tensor, Bool[Tensor, "*batch expert"]]:
        """The router's weight of each expert, and which experts run."""
        assert self.W_router is not None
        scores = nn.functional.linear(x, self.W_router, self.b_router)
        top = scores.topk(self.n_running, dim=-1).indices
        runs = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, top, True)
        return scores.masked_fill(~runs, -torch.inf).softmax(-1), runs

    def products(self, factors: Factors) -> Float[Tensor, "*batch neuron"]:
        """a · b of each neuron, without the router's weight."""
        a = self.f(factors.gate)
        return a if factors.up is None else a * self.up_of(factors.up)

    def up_of(self, up: Tensor) -> Tensor:
        """m(up)."""
        return up if self.m is None else self.m(up)

    def activations(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch unit"]:
        """Of all units, on inputs of the MLP."""
        return self.activations_of(self.factors(x))

    def activations_of(self, factors: Factors) -> Float[Tensor, "*batch unit"]:
        """Of all units."""
        return self.weighted(self.products(factors), factors.weights)

    def weighted(
        self, products: Float[Tensor, "*batch neuron"], weights: Float[Tensor, "*batch expert"] | None
    ) -> Float[Tensor, "*batch unit"]:
        """The activations that a · b of each neuron and the router's weights make."""
        if weights is None:
            return products
        each = weights.repeat_interleave(self.n_neurons // self.n_experts, dim=-1)
        return torch.cat([each * products, weights], dim=-1)

    def written(self, activations: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch d_model"]:
        """What the units write with these activations, before the norm behind the MLP."""
        out = activations @ self.W_out
        return out if self.b_out is None else out + self.b_out


def projection_names(model: LanguageModel) -> tuple[str, ...]:
    """The modules of an MLP that its neurons are made of, each once; none for experts, which are no modules."""
    parts = model.architecture.neurons
    if parts.experts is not None:
        return ()
    names = (parts.gate,) if parts.up in (None, parts.gate) else (parts.gate, parts.up)
    return tuple(name for name in names if name is not None)


def neurons_of(model: LanguageModel, layer: int) -> Neurons:
    """The neurons of a layer; UsageError for an MLP whose parts are not those of its architecture's entry."""
    mlp, parts = model.mlp(layer), model.architecture.neurons
    try:
        if parts.experts is not None:
            return _of_experts(mlp, parts.router, parts.experts)
        W_gate, b_gate = _linear(mlp.get_submodule(parts.gate))
        W_out, b_out = _linear(mlp.get_submodule(parts.down))
        f: Any = getattr(mlp, parts.activation)
        W_up, b_up = (None, None) if parts.up is None else _linear(mlp.get_submodule(parts.up))
    except AttributeError as error:
        raise UsageError(
            f"{model.name} has an MLP of the type {type(mlp).__name__} in layer {layer}, whose neurons cannot be found "
            f"({error}); read it with a dictionary"
        ) from error
    if parts.up == parts.gate:  # one matrix for both, the gate's rows first
        half = len(W_gate) // 2
        W_gate, W_up = W_gate[:half], W_gate[half:]
        b_gate, b_up = (None, None) if b_gate is None else (b_gate[:half], b_gate[half:])
    return Neurons(W_gate=W_gate, b_gate=b_gate, W_up=W_up, b_up=b_up, W_out=W_out.T, b_out=b_out, f=f)


def _of_experts(mlp: nn.Module, router_path: str, experts_path: str) -> Neurons:
    """All experts of a layer beside each other."""
    router: Any = mlp.get_submodule(router_path)
    experts: Any = mlp.get_submodule(experts_path)
    gate_up, bias = experts.gate_up_proj.detach(), experts.gate_up_proj_bias.detach()  # [expert, d_model, 2 · hidden]
    limit, alpha = float(experts.limit), float(experts.alpha)

    def f(gate: Tensor) -> Tensor:
        held = gate.clamp(max=limit)
        return held * torch.sigmoid(held * alpha)

    return Neurons(
        W_gate=gate_up[..., ::2].transpose(1, 2).flatten(0, 1),
        b_gate=bias[..., ::2].flatten(),
        W_up=gate_up[..., 1::2].transpose(1, 2).flatten(0, 1),
        b_up=bias[..., 1::2].flatten(),
        W_out=torch.cat([experts.down_proj.detach().flatten(0, 1), experts.down_proj_bias.detach()]),
        b_out=None,
        f=f,
        m=lambda up: up.clamp(-limit, limit) + 1,
        W_router=router.weight.detach(),
        b_router=router.bias.detach(),
        n_running=int(router.top_k),
    )


def _linear(module: nn.Module) -> tuple[Float[Tensor, "out d_in"], Float[Tensor, " out"] | None]:
    """The matrix of a projection as [out, in], and its bias."""
    weight: Any = module.weight
    bias: Any = getattr(module, "bias", None)
    weight = weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight, None if bias is None else bias.detach()
