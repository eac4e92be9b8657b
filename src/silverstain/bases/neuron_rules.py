"""How a neuron of a recorded run is made a linear reader of its MLP's input: the rules of attribution.

With h = w · a · b, a = f(g), b = m(u) (see `models.neurons`), every rule gives a vector and a constant with
vector · x + constant = h exactly, and holds the router's weight w of a mixture of experts as it was in the run.

half        half of h through the gate, with f(g)/g as the activation's slope, half through the up projection. Without
            biases no constant is left: what neurons and residual stream hand on adds up, layer by layer.
up          all of h through the up projection, the gate held; without a gate the same as half.
derivative  the derivative of h at x. What it leaves of h is the neuron's constant.
ray         the derivative, and what it leaves of h along x itself: complete, with no constant, and exact across x.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models.neurons import Elementwise

NeuronRule = Literal["half", "up", "derivative", "ray"]
NEURON_RULES: tuple[NeuronRule, ...] = ("half", "up", "derivative", "ray")
NEAR_ZERO = 1e-6
"""A gate that is smaller than this has f′ for f(g)/g; the rest is a part of the constant."""


def rule_named(word: str) -> NeuronRule:
    """The word itself; UsageError if it names no rule."""
    for rule in NEURON_RULES:
        if word == rule:
            return rule
    raise UsageError(f"the rule of neurons is {word!r:.80}; give {', '.join(NEURON_RULES[:-1])} or {NEURON_RULES[-1]}")


@brief
class Slopes(NamedTuple):
    """A neuron in a run: vector = gate · W_gate + up · W_up, and a constant."""

    gate: Float[Tensor, "*batch some"]
    up: Float[Tensor, "*batch some"] | None
    """None without an up projection."""
    constant: Float[Tensor, "*batch some"]
    """For the ray rule: what is to be put along x."""


@brief
class Hidden(NamedTuple):
    """Some neurons in a run, before their functions: of a gate and an up projection, with their biases."""

    gate: Float[Tensor, "*batch some"]
    up: Float[Tensor, "*batch some"] | None
    weight: Float[Tensor, "*batch some"] | float
    """The router's; 1 where there is none."""
    b_gate: Float[Tensor, " some"] | None
    b_up: Float[Tensor, " some"] | None


def slopes(rule: NeuronRule, hidden: Hidden, f: Elementwise, m: Elementwise | None) -> Slopes:
    """The neurons made linear by a rule. Constants come from the parameters, not from what is left of a product."""
    g, u, w = hidden.gate, hidden.up, hidden.weight
    a = f(g)
    of_gate = g if hidden.b_gate is None else g - hidden.b_gate
    if u is None:
        slope = _slope(f, g) if rule in ("derivative", "ray") else _secant_from_zero(f, g, a)
        return Slopes(gate=w * slope, up=None, constant=w * _rest(a, slope, g, hidden.b_gate))
    b = u if m is None else m(u)
    of_up = u if hidden.b_up is None else u - hidden.b_up
    if rule == "up":
        constant = w * a * _rest(b, 1.0, u, hidden.b_up)
        return Slopes(gate=torch.zeros_like(g), up=w * a, constant=constant)
    if rule == "half":
        slope = _secant_from_zero(f, g, a)
        constant = 0.5 * w * (b * _rest(a, slope, g, hidden.b_gate) + a * _rest(b, 1.0, u, hidden.b_up))
        return Slopes(gate=0.5 * w * b * slope, up=0.5 * w * a, constant=constant)
    by_gate = w * b * _slope(f, g)
    by_up = w * a if m is None else w * a * _slope(m, u)
    return Slopes(gate=by_gate, up=by_up, constant=w * a * b - by_gate * of_gate - by_up * of_up)


def _rest(value: Tensor, slope: Tensor | float, x: Tensor, bias: Tensor | None) -> Tensor:
    """value − slope · (x − bias): what a slope leaves of a value when it is multiplied with the part without bias."""
    rest = value - slope * x
    return rest if bias is None else rest + slope * bias


def _secant_from_zero(f: Elementwise, g: Tensor, a: Tensor) -> Tensor:
    """f(g) / g, and f′ near 0."""
    is_near = g.abs() < NEAR_ZERO
    if not bool(is_near.any()):
        return a / g
    return torch.where(is_near, _slope(f, g), a / torch.where(is_near, torch.ones_like(g), g))


def _slope(f: Elementwise, x: Tensor) -> Tensor:
    """The derivative of an elementwise function."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]
