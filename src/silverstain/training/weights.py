"""The weights of a dictionary while it is trained.

Training sees each layer's inputs centred and scaled to a mean norm of √d, and its outputs centred and scaled to a
root mean square of 1, so that one learning rate, one threshold and one loss suit all layers. Massive rows count in that
root mean square as they do in the loss (`massive`). `exporting.folded` folds all of it into the weights: the dictionary
that is saved works on raw activations.

Which features are active is decided by score = activation · ‖decoder row over all targets‖, what a feature adds to the
outputs in units of their own size; a feature cannot pass by a large activation and a small decoder. A frozen
dictionary says the same by a threshold a feature, the layer's score threshold ÷ the feature's decoder norm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from silverstain.bases.substitutes import Activity, Substitute
from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.decoders import Decoder, Slabs
from silverstain.training.kernels import Active, Kernel, sparse_encode
from silverstain.training.massive import energy_cap, row_weights
from silverstain.training.molt import Transforms
from silverstain.training.products import Products, product_with
from silverstain.training.scanning import Scratch, above
from silverstain.training.team import ALONE, Team
from silverstain.training.thresholding import jump_relu

NO_CAP = 1e30
"""Infinity, as files can hold it that are checked for numbers."""
CENTRED_ROWS = 2048
"""Rows of the pool that are centred at a time when its spread is taken."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """How raw activations become those that training sees: (x − mean) · factor, layer by layer."""

    input_mean: Float[Tensor, "layer d_model"]
    input_factor: Float[Tensor, " layer"]
    output_mean: Float[Tensor, "layer d_model"]
    output_factor: Float[Tensor, " layer"]
    output_cap: Float[Tensor, " layer"]
    """κ of `massive`, in the units of scaled outputs; NO_CAP where no row is massive."""

    @classmethod
    def of(cls, activations: Activations) -> "Scales":
        mean = activations.row_mean
        input_mean, output_mean = mean(activations.inputs), mean(activations.outputs)
        d_model = input_mean.shape[1]
        input_norm = mean(_distances(activations.inputs, input_mean))
        energy = _distances(activations.outputs, output_mean).square() / d_model
        cap = energy.new_tensor([energy_cap(rows) for rows in activations.of_all_rows(energy)])
        output_rms = mean(torch.minimum(energy, cap[:, None])).sqrt()
        factor = 1 / output_rms.clamp_min(1e-12)
        return cls(
            input_mean=input_mean,
            input_factor=d_model**0.5 / input_norm.clamp_min(1e-12),
            output_mean=output_mean,
            output_factor=factor,
            output_cap=(cap * factor.square()).clamp_max(NO_CAP),
        )

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> "Scales":
        """Those of a state; one that was written before there were caps has none."""
        known = {"output_cap": torch.full_like(tensors["output_factor"], NO_CAP), **tensors}
        return cls(**{name: known[name].to(device) for name in cls.__dataclass_fields__})

    def no_larger_than_cap(self, layer: int, y: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """Scaled outputs, massive rows shrunk to what they count as."""
        return y * row_weights(y, self.output_cap[layer]).sqrt()[:, None] if self._has_massive[layer] else y

    @cached_property
    def _has_massive(self) -> list[bool]:
        return (self.output_cap < NO_CAP).tolist()

    @property
    def have_massive_rows(self) -> bool:
        return any(self._has_massive)

    def row_weights(self, outputs: list[Float[Tensor, "row d_model"]]) -> list[Float[Tensor, " row"] | None]:
        """How much each row's error counts, from the scaled outputs of all layers; None for a layer without massive
        rows, where all count 1."""
        return [
            row_weights(y, cap) if is_capped else None
            for y, cap, is_capped in zip(outputs, self.output_cap, self._has_massive, strict=True)
        ]

    def scale_inputs(self, layer: int, x: Tensor) -> Tensor:
        return (x - self.input_mean[layer]).mul_(self.input_factor[layer])

    def scale_outputs(self, layer: int, y: Tensor) -> Tensor:
        return (y - self.output_mean[layer]).mul_(self.output_factor[layer])


class Weights(nn.Module, Substitute):
    """Encoder, decoder, optional skip and thresholds of every layer, in the units of training.

    What differs between kinds is the decoder (slabs of rows, however far they reach, or transforms) and where a
    feature's threshold comes from (`activation`); everything else is common.
    """

    def __init__(
        self, *, n_layers: int, d_model: int, config: TrainingConfig, scales: Scales, team: Team = ALONE
    ) -> None:
        super().__init__()
        self.n_layers, self.d_model = n_layers, d_model
        self.n_features = team.n_features(config.n_features)
        """Features a layer that are held here."""
        self.config, self.scales, self.team = config, scales, team
        self.is_cross_layer = config.is_cross_layer
        self.kernel: Kernel = "sparse"
        self.products: Products = "float32"
        sizes = [(self.n_features, d_model)] * n_layers
        self.W_enc = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.b_enc = nn.ParameterList(torch.zeros(self.n_features) for _ in range(n_layers))
        decoder = Transforms if config.kind == "molt" else Slabs
        self.decoder: Decoder = decoder(n_layers=n_layers, d_model=d_model, n_features=self.n_features, config=config)
        self.b_dec = nn.Parameter(torch.zeros(n_layers, d_model))
        self.W_skip = _a_layer(n_layers, (d_model, d_model)) if config.skip else None
        """Applied as x @ W_skip.T to the inputs of its own layer."""
        self.log_threshold = _a_layer(n_layers, (self.n_features,)) if config.activation == "jumprelu" else None
        """The score each feature must exceed, as its logarithm; others share `score_threshold` or have none."""
        self.score_share: nn.ParameterList | None = None
        """How many times the layer's score each feature must exceed, in a run from a dictionary; not learned."""
        self.score_threshold: Tensor
        self.register_buffer("score_threshold", torch.zeros(n_layers))
        self.last_threshold: Tensor | None = None
        """Score thresholds of the last batch, where selection looks first; no result depends on it, nor is it saved."""
        self._scratch = Scratch()

    def make_score_shares(self) -> nn.ParameterList:
        """Let each feature have a threshold of its own score; they begin as the layer's."""
        like = self.b_dec.detach()
        self.score_share = nn.ParameterList(like.new_ones(self.n_features) for _ in range(self.n_layers))
        return self.score_share.requires_grad_(False)

    @property
    def slab(self) -> nn.ParameterList:
        """The decoder rows of a kind that has features."""
        assert isinstance(self.decoder, Slabs)
        return self.decoder.slab

    def n_targets(self, layer: int) -> int:
        return self.config.n_targets(layer, self.n_layers)

    # which features are active

    def decoder_norms(self, layer: int) -> Float[Tensor, " feature"]:
        return self.decoder.norms(layer).detach()

    def thresholds(self, layer: int, share: float = 1.0) -> Float[Tensor, " feature"]:
        """The activation at which each feature's score reaches `share` of its threshold, without gradient."""
        if self.config.activation == "relu":
            return self.score_threshold.new_zeros(self.n_features)
        own = None if self.log_threshold is None else self.log_threshold[layer].detach().exp()
        score = self.score_threshold[layer] if own is None else own
        score = score if self.score_share is None else score * self.score_share[layer]
        return score * share / self.decoder_norms(layer).clamp_min(1e-12)

    def active(self, layer: int, x: Tensor, share: float = 1.0) -> tuple[Active, Tensor]:
        """The features of scaled inputs x above threshold, and their activations without gradient."""
        return self.above(layer, x, self.thresholds(layer, share))

    def near(self, layer: int, x: Tensor) -> tuple[Active, Tensor]:
        """The features whose activation or threshold has a gradient, and their pre-activations without: the active
        ones and, for JumpReLU, those a little below their threshold, whose activation is 0."""
        threshold = self.thresholds(layer)
        if self.log_threshold is not None and torch.is_grad_enabled():
            threshold = threshold - self.config.bandwidth / 2
        return self.above(layer, x, threshold)

    def above(self, layer: int, x: Tensor, threshold: Float[Tensor, " feature"]) -> tuple[Active, Tensor]:
        """The features of scaled inputs x above given pre-activations, and their own without gradient."""
        return above(
            x, self.W_enc[layer].detach(), self.b_enc[layer].detach(), threshold, self._scratch,
            torch.bfloat16 if self.products == "bfloat16" else None,
        )  # fmt: skip

    def cuts(self, layer: int, active: Active) -> Float[Tensor, " active"]:
        """The threshold of each entry as JumpReLU learns it: differentiable, through the decoder norm as well."""
        assert self.log_threshold is not None  # asked of JumpReLU alone
        return (self.log_threshold[layer].exp() / self.decoder.norms(layer).clamp_min(1e-12))[active.features]

    # what they do

    def pre_activations(
        self, layer: int, x: Tensor, active: Active, known: Float[Tensor, " active"] | None = None
    ) -> Float[Tensor, " active"]:
        """Those of the given features of scaled inputs x; `known` are the same without gradient, from the search."""
        return sparse_encode(x, self.W_enc[layer], self.b_enc[layer], active, known)

    def values(self, layer: int, x: Tensor, active: Active) -> Float[Tensor, " active"]:
        """The activations of the given features of scaled inputs x."""
        return self.activations(layer, self.pre_activations(layer, x, active), active)

    def activations(self, layer: int, z: Float[Tensor, " active"], active: Active) -> Float[Tensor, " active"]:
        """What pre-activations of chosen features become: themselves, but for learned thresholds."""
        return z if self.log_threshold is None else jump_relu(z, self.cuts(layer, active), self.config.bandwidth)

    def constant(
        self, layer: int, x: Float[Tensor, "row d_model"], products: Products = "float32"
    ) -> Float[Tensor, "row d_model"]:
        """What a layer writes to its own scaled output without any feature: bias and skip."""
        bias = self.b_dec[layer].expand_as(x)
        W = None if self.W_skip is None else self.W_skip[layer]
        is_nothing = W is None or not (W.requires_grad or bool(W.any()))  # a skip that has not begun to learn is zero
        return bias if W is None or is_nothing else bias + product_with(x, W, products)

    def outputs(
        self, inputs: list[Tensor], values: list[Tensor], active: list[Active]
    ) -> list[Float[Tensor, "row d_model"]]:
        """The scaled output of every layer from the activations of every layer."""
        return self.prefix_outputs(inputs, values, active, (self.config.n_features,))[-1]

    def prefix_outputs(
        self, inputs: list[Tensor], values: list[Tensor], active: list[Active], widths: tuple[int, ...]
    ) -> list[list[Float[Tensor, "row d_model"]]]:
        """The same from the first features of each layer alone, for each of `widths`; the last must be all."""
        outputs: list[Tensor] = [
            self.team.counted_once(self.constant(layer, x, self.products)) for layer, x in enumerate(inputs)
        ]
        found: list[list[Tensor]] = []
        first = self.team.first_feature(self.config.n_features)
        for low, high in zip((0, *widths), widths, strict=False):
            for layer, x in enumerate(inputs):
                some, those = _between(values[layer], active[layer], low - first, high - first)
                for target, part in enumerate(self.decoder.write(layer, x, some, those, self.kernel).unbind(1), layer):
                    outputs[target] = outputs[target] + part
            found.append(self.team.over_features(outputs))
        return found

    def reconstruct(self, inputs: list[Tensor], active: list[Active]) -> list[Float[Tensor, "row d_model"]]:
        """The scaled output of every layer from scaled inputs and the features chosen there."""
        return self.outputs(inputs, [self.values(i, x, active[i]) for i, x in enumerate(inputs)], active)

    # as a substitute for the MLPs of the model

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        scales = self.scales
        scaled = scales.scale_inputs(layer, x)
        active, _ = self.near(layer, scaled.detach())
        read = self.team.copied_to_features(scaled)
        written = self.decoder.write(layer, read, self.values(layer, read, active), active, self.kernel)
        (written,) = self.team.over_features([written])
        first = written[:, 0] + self.constant(layer, scaled)
        parts = [first / scales.output_factor[layer] + scales.output_mean[layer]]
        parts += [part / scales.output_factor[t] for t, part in enumerate(written[:, 1:].unbind(1), layer + 1)]
        return torch.stack(parts, dim=1)

    def activity(self, layer: int, x: Float[Tensor, "row d_model"]) -> Activity:
        """Of the features that are held here; `decoder_norms` are of what they write in the units of training."""
        active, values = self.active(layer, self.scales.scale_inputs(layer, x))
        return Activity.of_entries(
            active.rows, active.features, values, n_rows=active.n_rows, n_features=active.n_features
        )

    def skip(self, layer: int, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"] | None:
        if self.W_skip is None:
            return None
        return self.scales.scale_inputs(layer, x) @ self.W_skip[layer].T / self.scales.output_factor[layer]

    # feature by feature

    def rows_of(self, layer: int, features: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """All parameters that belong to these features, and which of their rows."""
        own = [self.W_enc[layer], self.b_enc[layer]]
        own += [] if self.log_threshold is None else [self.log_threshold[layer]]
        return [(parameter, features) for parameter in own] + self.decoder.rows_of(layer, features)


def meta_weights(config: TrainingConfig, *, n_layers: int, d_model: int) -> Weights:
    """Weights of these settings that take no memory, for their names and shapes; only a mixture's, which are few and
    hold a table of ranks, are made."""
    layers, vectors = torch.zeros(n_layers, device="meta"), torch.zeros(n_layers, d_model, device="meta")
    scales = Scales(
        input_mean=vectors, input_factor=layers, output_mean=vectors, output_factor=layers, output_cap=layers
    )
    with torch.device("cpu" if config.kind == "molt" else "meta"):
        return Weights(n_layers=n_layers, d_model=d_model, config=config, scales=scales)


def _distances(
    x: Float[Tensor, "layer row d_model"], mean: Float[Tensor, "layer d_model"]
) -> Float[Tensor, "layer row"]:
    """How far each row is from its layer's mean; some rows at a time, since x is a pool that fills the memory."""
    found = x.new_empty(x.shape[:2])
    for some, to in zip(x.split(CENTRED_ROWS, 1), found.split(CENTRED_ROWS, 1), strict=True):
        to.copy_((some - mean[:, None]).norm(dim=2))
    return found


def _a_layer(n_layers: int, size: tuple[int, ...]) -> nn.ParameterList:
    return nn.ParameterList(torch.zeros(size) for _ in range(n_layers))


def _between(values: Tensor, active: Active, low: int, high: int) -> tuple[Tensor, Active]:
    """The entries of features from `low` up to `high`."""
    if low <= 0 and high >= active.n_features:
        return values, active
    chosen = (active.features >= low) & (active.features < high)
    return values[chosen], active.keep(chosen)
