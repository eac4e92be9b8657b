"""The weights of a dictionary while it is trained, and their conversion to the one that is kept.

Training sees each layer's inputs centred and scaled to a mean norm of √d, and its outputs centred and scaled to a
root mean square of 1, so that one learning rate, one threshold and one loss suit all layers. `freeze` folds all of it
into the weights: the dictionary that is saved works on raw activations.

Which features are active is decided by score = activation · ‖decoder row over all targets‖, what a feature adds to the
outputs in units of their own size; a feature cannot pass by a large activation and a small decoder. A frozen
dictionary says the same by a threshold a feature, the layer's score threshold ÷ the feature's decoder norm.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.kernels import Active, Kernel, Scratch, above, decode, sparse_encode


@dataclass(frozen=True, kw_only=True)
class Scales:
    """How raw activations become those that training sees: (x − mean) · factor, layer by layer."""

    input_mean: Float[Tensor, "layer d_model"]
    input_factor: Float[Tensor, " layer"]
    output_mean: Float[Tensor, "layer d_model"]
    output_factor: Float[Tensor, " layer"]

    @classmethod
    def of(cls, activations: Activations) -> "Scales":
        input_mean, output_mean = activations.inputs.mean(1), activations.outputs.mean(1)
        d_model = input_mean.shape[1]
        input_norm = (activations.inputs - input_mean[:, None]).norm(dim=2).mean(1)
        output_rms = (activations.outputs - output_mean[:, None]).square().mean((1, 2)).sqrt()
        return cls(
            input_mean=input_mean,
            input_factor=d_model**0.5 / input_norm.clamp_min(1e-12),
            output_mean=output_mean,
            output_factor=1 / output_rms.clamp_min(1e-12),
        )

    def scale_inputs(self, layer: int, x: Tensor) -> Tensor:
        return (x - self.input_mean[layer]) * self.input_factor[layer]

    def scale_outputs(self, layer: int, y: Tensor) -> Tensor:
        return (y - self.output_mean[layer]) * self.output_factor[layer]


class Weights(nn.Module):
    """Encoder, decoder slabs and score thresholds of every layer, in the units of training.

    The decoder of a layer is one slab [feature, targets · d_model]: all that a feature writes is one contiguous row.
    """

    def __init__(self, *, n_layers: int, d_model: int, config: TrainingConfig, scales: Scales) -> None:
        super().__init__()
        self.n_layers, self.d_model, self.n_features = n_layers, d_model, config.n_features
        self.is_cross_layer = config.kind == "cross-layer"
        self.scales = scales
        self.kernel: Kernel = "sparse"
        sizes = [(config.n_features, d_model)] * n_layers
        self.W_enc = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.b_enc = nn.ParameterList(torch.zeros(config.n_features) for _ in range(n_layers))
        self.slab = nn.ParameterList(
            torch.zeros(config.n_features, self.n_targets(layer) * d_model) for layer in range(n_layers)
        )
        self.b_dec = nn.Parameter(torch.zeros(n_layers, d_model))
        self.score_threshold: Tensor
        self.register_buffer("score_threshold", torch.zeros(n_layers))
        self._scratch = Scratch()

    def n_targets(self, layer: int) -> int:
        return self.n_layers - layer if self.is_cross_layer else 1

    def decoder_norms(self, layer: int) -> Float[Tensor, " feature"]:
        return self.slab[layer].detach().norm(dim=1)

    def thresholds(self, layer: int, share: float = 1.0) -> Float[Tensor, " feature"]:
        """The activation at which each feature's score reaches `share` of the layer's threshold."""
        return self.score_threshold[layer] * share / self.decoder_norms(layer).clamp_min(1e-12)

    def active(self, layer: int, x: Tensor, share: float = 1.0) -> tuple[Active, Tensor]:
        """The features of scaled inputs x above threshold, and their activations without gradient."""
        return above(
            x, self.W_enc[layer].detach(), self.b_enc[layer].detach(), self.thresholds(layer, share), self._scratch
        )

    def contributions(self, layer: int, x: Tensor, active: Active) -> Float[Tensor, "row target d_model"]:
        """What the given features of scaled inputs x write to the scaled outputs, without the bias."""
        values = sparse_encode(x, self.W_enc[layer], self.b_enc[layer], active)
        written = decode(values, active, self.slab[layer], self.kernel)
        return written.view(x.shape[0], self.n_targets(layer), self.d_model)

    def reconstruct(self, inputs: list[Tensor], active: list[Active]) -> list[Float[Tensor, "row d_model"]]:
        """The scaled output of every layer from scaled inputs and the features chosen there."""
        outputs: list[Tensor] = [self.b_dec[layer].expand_as(inputs[layer]) for layer in range(self.n_layers)]
        for layer in range(self.n_layers):
            for target, part in enumerate(self.contributions(layer, inputs[layer], active[layer]).unbind(1), layer):
                outputs[target] = outputs[target] + part
        return outputs

    # as a substitute for the MLPs of the model

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        scales = self.scales
        scaled = scales.scale_inputs(layer, x)
        active, _ = self.active(layer, scaled.detach())
        written = self.contributions(layer, scaled, active)
        first = written[:, 0] + self.b_dec[layer]
        parts = [first / scales.output_factor[layer] + scales.output_mean[layer]]
        parts += [part / scales.output_factor[t] for t, part in enumerate(written[:, 1:].unbind(1), layer + 1)]
        return torch.stack(parts, dim=1)

    def firing(self, layer: int, x: Tensor) -> Tensor:
        active, _ = self.active(layer, self.scales.scale_inputs(layer, x))
        return torch.bincount(active.features, minlength=self.n_features)


SEED_BIAS = 0.6
"""A feature made from a token fires on inputs whose projection on that token's exceeds this share of its norm."""


@torch.no_grad()
def point_at_(weights: Weights, layer: int, features: Tensor, x: Tensor, writes: Tensor) -> None:
    """Make features that fire on scaled inputs near x [feature, d_model] and at x itself write `writes`
    [feature, targets · d_model]."""
    norm = x.norm(dim=1).clamp_min(1e-6)
    weights.W_enc[layer][features] = x / norm[:, None]
    weights.b_enc[layer][features] = -SEED_BIAS * norm
    weights.slab[layer][features] = writes / ((1 - SEED_BIAS) * norm)[:, None]


@torch.no_grad()
def initialise_(weights: Weights, pool: Activations, config: TrainingConfig, generator: torch.Generator) -> None:
    """Every feature begins as a token of the pool: near its input it writes a share of what the MLPs write there.

    So features differ and fire from the first step on. The share is what `l0` features together should sum to, spread
    over the layers that write to the same output.
    """
    for layer in range(weights.n_layers):
        index = torch.randperm(pool.n_rows, generator=generator)[: config.n_features]
        index = index.repeat(-(-config.n_features // index.numel()))[: config.n_features]
        x = weights.scales.scale_inputs(layer, pool.inputs[layer, index])
        targets = range(layer, layer + weights.n_targets(layer))
        y = [weights.scales.scale_outputs(t, pool.outputs[t, index]) for t in targets]
        n_writers = [t + 1 if weights.is_cross_layer else 1 for t in targets]
        share = torch.cat([part / (n * config.l0_at(0)) for part, n in zip(y, n_writers, strict=True)], dim=1)
        point_at_(weights, layer, torch.arange(config.n_features), x, share)


def folded(weights: Weights) -> dict[str, list[Tensor]]:
    """Weights on raw activations, one a layer: W_enc [feature d], b_enc and threshold [feature], b_dec [d], and W_dec
    [feature target d], or [feature d] when features write to their own layer alone."""
    scales = weights.scales
    out: dict[str, list[Tensor]] = {name: [] for name in ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")}
    for layer in range(weights.n_layers):
        W_enc = weights.W_enc[layer].detach() * scales.input_factor[layer]
        out["W_enc"].append(W_enc)
        out["b_enc"].append(weights.b_enc[layer].detach() - W_enc @ scales.input_mean[layer])
        out["threshold"].append(weights.thresholds(layer))
        targets = slice(layer, layer + weights.n_targets(layer))
        slab = weights.slab[layer].detach().view(weights.n_features, weights.n_targets(layer), weights.d_model)
        W_dec = slab / scales.output_factor[targets, None]
        out["W_dec"].append(W_dec if weights.is_cross_layer else W_dec[:, 0])
        out["b_dec"].append(weights.b_dec[layer].detach() / scales.output_factor[layer] + scales.output_mean[layer])
    return out
