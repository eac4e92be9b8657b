"""Activations whose true features are known: what a recipe must find again before anything it finds is believed.

Inputs are sums of few of many directions, more directions than dimensions; outputs are sums of what the same features
write. A dictionary has found a feature if one of its own writes the same and is active when it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.learner import Learner, generator_for
from silverstain.training.reconstruction import StepReport
from silverstain.training.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Known features of every layer: what each is read by, what it writes, and how often it is active."""

    reads: Float[Tensor, "layer feature d_model"]
    writes: Float[Tensor, "layer target feature d_model"]
    """To every layer; zero where a feature does not write."""
    n_active: float
    """Active features a token and layer, on average."""

    @classmethod
    def draw(
        cls, *, d_model: int, n_features: int, n_active: float, n_layers: int, reach: int, seed: int = 0
    ) -> "Planted":
        """Random unit directions; a feature writes to its own layer and the `reach` - 1 that follow."""
        generator = torch.Generator().manual_seed(seed)
        reads = torch.randn(n_layers, n_features, d_model, generator=generator)
        writes = torch.randn(n_layers, n_layers, n_features, d_model, generator=generator)
        layer = torch.arange(n_layers)
        distance = layer[None, :] - layer[:, None]
        reached = (distance >= 0) & (distance < reach)
        return cls(
            reads=F.normalize(reads, dim=-1),
            writes=F.normalize(writes, dim=-1) * reached[:, :, None, None],
            n_active=n_active,
        )

    def sample(self, n_rows: int, generator: torch.Generator) -> tuple[Activations, Bool[Tensor, "layer row feature"]]:
        """Activations of `n_rows` tokens, and which features are active on them; sizes between a half and 1.5."""
        n_layers, n_features, _ = self.reads.shape
        size = (n_layers, n_rows, n_features)
        is_on = torch.rand(size, generator=generator) < self.n_active / n_features
        values = is_on * (0.5 + torch.rand(size, generator=generator))
        return Activations(
            inputs=values @ self.reads, outputs=torch.einsum("lrf, ltfd -> trd", values, self.writes)
        ), is_on


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How much of what was planted is found, means over all planted features of all layers."""

    cosine: float
    """Of what the best feature of the same layer writes with what was planted."""
    f1: float
    """Of that feature's activity with the planted one's."""
    found: float
    """Share of planted features with both above 0.9."""
    nmse: float
    l0: float


def train_on_planted(planted: Planted, config: TrainingConfig) -> Iterator[tuple[StepReport, Learner]]:
    """The first phase on fresh tokens; yields after every step."""
    generator = torch.Generator().manual_seed(config.seed + 1)
    pool = planted.sample(config.pool_rows, generator)[0]
    learner = Learner.start(pool, config)
    steps_a_pool = config.pool_rows // config.rows
    for step in range(config.steps):
        place = step % steps_a_pool
        if place == 0 and step:
            pool = planted.sample(config.pool_rows, generator)[0]
        yield (
            learner.reconstruct(pool.rows(torch.arange(place * config.rows, (place + 1) * config.rows)), step),
            learner,
        )


@torch.no_grad()
def recovery(planted: Planted, weights: Weights, *, n_rows: int = 4096) -> Recovery:
    """What weights have found, on `n_rows` tokens they have not seen."""
    sample, is_on = planted.sample(n_rows, generator_for(weights.config, "order", 10_000))
    cosines, f1s, l0, found = [], [], 0.0, torch.zeros_like(sample.outputs)
    ids = torch.zeros(n_rows, dtype=torch.int64)
    for layer in range(weights.n_layers):
        x = sample.inputs[layer]
        for target, part in enumerate(weights.writes(layer, x, ids).unbind(1), layer):
            found[target] += part
        active, _ = weights.active(layer, weights.scales.scale_inputs(layer, x))
        cosine, best = (_truth(planted, weights, layer) @ _written(weights, layer).T).max(1)
        ours = torch.zeros(n_rows, weights.n_features, dtype=torch.bool)
        ours[active.rows, active.features] = True
        both = (ours[:, best] & is_on[layer]).sum(0)
        f1s.append(2 * both / (ours[:, best].sum(0) + is_on[layer].sum(0)).clamp_min(1))
        cosines.append(cosine)
        l0 += len(active) / n_rows / weights.n_layers
    cosine, f1 = torch.cat(cosines), torch.cat(f1s)
    spread = (sample.outputs - sample.outputs.mean(1, keepdim=True)).square().sum((1, 2))
    return Recovery(
        cosine=float(cosine.mean()), f1=float(f1.mean()), found=float(((cosine > 0.9) & (f1 > 0.9)).double().mean()),
        nmse=float(((sample.outputs - found).square().sum((1, 2)) / spread).mean()), l0=l0,
    )  # fmt: skip


def _written(weights: Weights, layer: int) -> Float[Tensor, "feature written"]:
    """What each feature writes in raw units, as a unit vector over all layers it reaches."""
    n = weights.n_targets(layer)
    factor = weights.scales.output_factor[layer : layer + n]
    slab = weights.slab[layer].detach().view(weights.n_features, n, weights.d_model) / factor[:, None]
    return F.normalize(slab.flatten(1), dim=1)


def _truth(planted: Planted, weights: Weights, layer: int) -> Float[Tensor, "planted written"]:
    """What each planted feature writes there beside what a linear skip already writes for it."""
    truth = planted.writes[layer, layer : layer + weights.n_targets(layer)].clone()
    if weights.W_skip is not None:
        scale = weights.scales.input_factor[layer] / weights.scales.output_factor[layer]
        truth[0] -= planted.reads[layer] @ (weights.W_skip[layer].detach() * scale).T
    return F.normalize(truth.transpose(0, 1).flatten(1), dim=1)
