"""Directional derivatives of the model's own MLPs: what Jacobian matching compares a dictionary with."""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.models import LanguageModel
from silverstain.training.weights import Scales

Tangents = Callable[[list[Tensor], list[Tensor]], list[Tensor]]
"""From scaled inputs and directions of every layer to the scaled derivatives of every layer's MLP."""


def mlp_tangents(model: LanguageModel, scales: Scales) -> Tangents:
    """The derivatives of what the MLPs of `model` add to the stream, norms behind them included, in scaled units."""

    def tangents(inputs: list[Tensor], directions: list[Tensor]) -> list[Tensor]:
        found = []
        for layer, (x, dx) in enumerate(zip(inputs, directions, strict=True)):
            factor = scales.input_factor[layer]
            raw = x / factor + scales.input_mean[layer]
            found.append(mlp_tangent(model, layer, raw, dx / factor) * scales.output_factor[layer])
        return found

    return tangents


@torch.no_grad()
def mlp_tangent(
    model: LanguageModel, layer: int, x: Float[Tensor, "row d_model"], dx: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row d_model"]:
    """J dx of the MLP of `layer` at inputs x, by forward differentiation."""
    norm = model.norm("mlp_output", layer)

    def real(rows: Tensor) -> Tensor:
        out = model.mlp(layer)(rows[None])
        out = out[0] if model.architecture.is_mlp_output_first else out
        return (out if norm is None else norm.module(out))[0]

    with warnings.catch_warnings():  # torch's own rules for it are compiled by what torch calls deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.func.jvp(real, (x,), (dx,))[1]


def to_another_token(inputs: list[Float[Tensor, "row d_model"]], n: int) -> list[Float[Tensor, "some d_model"]]:
    """For the first `n` tokens the way to the next one of the batch, which is shuffled: a random direction in which
    inputs do differ, and the same two tokens at every layer, as a cross-layer dictionary needs."""
    return [x.roll(-1, 0)[:n] - x[:n] for x in inputs]
