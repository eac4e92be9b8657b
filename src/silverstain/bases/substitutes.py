"""What can stand in for the MLPs of a model: a dictionary, and what it must beat: the MLPs' own neurons, a table of
tokens, a constant, the best affine map."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases.basis import Basis
from silverstain.bases.sites import MLP_OUTPUT, WRITES_AT
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch, harvest_mlps
from silverstain.models.recording import MLP_INPUT


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What the features of one layer did on some rows. A feature is active where its activation is not 0."""

    per_row: Int[Tensor, " row"]
    """How many are active on each row."""
    fired: Int[Tensor, " feature"]
    """On how many rows each is active."""
    amounts: Float[Tensor, " feature"]
    """Σ |activation| of each."""

    @classmethod
    def of(cls, activations: Float[Tensor, "row feature"]) -> "Activity":
        is_active = activations != 0
        return cls(per_row=is_active.sum(1), fired=is_active.sum(0), amounts=activations.abs().sum(0))

    @classmethod
    def of_entries(
        cls,
        rows: Int[Tensor, " active"],
        features: Int[Tensor, " active"],
        activations: Float[Tensor, " active"],
        *,
        n_rows: int,
        n_features: int,
    ) -> "Activity":
        """From the active entries alone."""
        return cls(
            per_row=torch.bincount(rows, minlength=n_rows),
            fired=torch.bincount(features, minlength=n_features),
            amounts=activations.new_zeros(n_features).index_add_(0, features, activations.abs()),
        )


class Substitute(ABC):
    """What can stand in for the MLPs of a model: a dictionary, one in training, or a baseline.

    It must say what it `writes`. The rest is known of some: without features there is no activity.
    """

    n_layers: int
    reads_at: str = MLP_INPUT
    """Where in a block it reads, as dictionaries name it."""
    writes_at: str = WRITES_AT
    """Where what it writes enters the block, as dictionaries name it: before or behind a norm behind the MLP."""

    @abstractmethod
    def writes(
        self, layer: int, x: Float[Tensor, "row d_model"], token_ids: Int[Tensor, " row"]
    ) -> Float[Tensor, "row target d_model"]:
        """What inputs x of `layer`, at tokens `token_ids`, add to the outputs of the MLPs of `layer`, `layer` + 1, ….
        Constants belong to the first target."""

    def activity(self, layer: int, x: Float[Tensor, "row d_model"]) -> Activity | None:
        """What its features do on inputs x; None for what has no features."""
        return None

    def decoder_norms(self, layer: int) -> Float[Tensor, " feature"] | None:
        """The length of what a unit of each feature writes, to all layers together; None where that is no constant."""
        return None

    def skip(self, layer: int, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"] | None:
        """The part of `writes` that a linear skip gives, up to a constant; None without one."""
        return None


class GivenSubstitute(Substitute):
    """An object of the user's that has n_layers and writes()."""

    def __init__(self, given: Any) -> None:
        self.given, self.n_layers = given, given.n_layers
        self.reads_at = getattr(given, "reads_at", MLP_INPUT)
        self.writes_at = getattr(given, "writes_at", WRITES_AT)

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self.given.writes(layer, x, token_ids)


class DictionarySubstitute(Substitute):
    """A dictionary, or another basis, as a substitute for the MLPs; only decoder rows of active features are read."""

    def __init__(self, dictionary: Basis) -> None:
        self.dictionary = dictionary
        self.n_layers = dictionary.n_layers
        self.reads_at, self.writes_at = dictionary.reads_at, dictionary.writes_at

    def writes(
        self, layer: int, x: Float[Tensor, "row d_model"], token_ids: Int[Tensor, " row"]
    ) -> Float[Tensor, "row target d_model"]:
        activations = self.dictionary.encode_layer(layer, x).to(x.dtype)
        rows, features = activations.nonzero(as_tuple=True)
        used, index = features.unique(return_inverse=True)
        decoder = self.dictionary.decoder_rows(layer, used).to(x.dtype)
        starts = torch.searchsorted(rows, torch.arange(x.shape[0] + 1, device=rows.device))
        written = F.embedding_bag(
            index,
            decoder.flatten(1),
            starts,
            mode="sum",
            per_sample_weights=activations[rows, features],
            include_last_offset=True,
        ).view(x.shape[0], decoder.shape[1], x.shape[1])
        constant = self.dictionary.b_dec[layer].to(x.dtype).expand_as(x)
        skip = self.skip(layer, x)
        if skip is not None:
            constant = constant + skip
        return torch.cat([(written[:, 0] + constant)[:, None], written[:, 1:]], dim=1)

    def activity(self, layer: int, x: Float[Tensor, "row d_model"]) -> Activity:
        return Activity.of(self.dictionary.encode_layer(layer, x))

    def decoder_norms(self, layer: int) -> Float[Tensor, " feature"]:
        features = torch.arange(self.dictionary.n_features, device=self.dictionary.device)
        return self.dictionary.decoder_rows(layer, features).flatten(1).norm(dim=1)

    def skip(self, layer: int, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"] | None:
        W_skip = self.dictionary.W_skip(layer)
        return None if W_skip is None else x @ W_skip.to(x.dtype).T


def as_substitute(dictionary: object) -> Substitute:
    """`dictionary` itself if it can stand in for MLPs, or a basis or another object with n_layers and writes() made
    able to."""
    if isinstance(dictionary, Substitute):
        return dictionary
    if isinstance(dictionary, Basis):
        return DictionarySubstitute(dictionary)
    if hasattr(dictionary, "n_layers") and hasattr(dictionary, "writes"):
        return GivenSubstitute(dictionary)
    raise UsageError(f"a {type(dictionary).__name__} cannot replace MLPs; give a dictionary or an object with writes()")


class ConstantSubstitute(Substitute):
    """The same output for every token: the mean, say, which is what MLPs are worth when nothing is known."""

    def __init__(self, outputs: Float[Tensor, "layer d_model"]) -> None:
        self.outputs, self.n_layers = outputs, outputs.shape[0]

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self.outputs[layer].expand_as(x)[:, None]


class AffineSubstitute(Substitute):
    """The best affine map of each MLP, which needs no features: what is nearly affine is no feat to replace."""

    def __init__(self, solution: Float[Tensor, "layer d_model_plus_1 d_model"], *, reads_at: str = MLP_INPUT) -> None:
        self.solution, self.n_layers, self.reads_at = solution, solution.shape[0], reads_at

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return (x @ self.solution[layer, :-1] + self.solution[layer, -1])[:, None]


class TokenSubstitute(Substitute):
    """A look-up by token: each MLP's mean output at each token of the vocabulary, whatever the context."""

    def __init__(self, outputs: Float[Tensor, "layer d_vocab d_model"]) -> None:
        self.outputs, self.n_layers = outputs, outputs.shape[0]

    @classmethod
    def fit(cls, model: LanguageModel, batches: Iterable[TokenBatch]) -> "TokenSubstitute":
        """From the tokens of `batches`; a token that does not occur gets the mean over all tokens."""
        total = torch.zeros(model.n_layers, model.d_vocab, model.d_model, device=model.device)
        count = torch.zeros(model.d_vocab, device=model.device)
        for batch in batches:
            ids = batch.token_ids[batch.mask]
            total.index_add_(1, ids, harvest_mlps(model, batch.token_ids).mlp_outputs[:, batch.mask].to(total.dtype))
            count += torch.bincount(ids, minlength=model.d_vocab)
        if not count.any():
            raise UsageError("there are no tokens to fit a look-up on; give at least one batch")
        mean = total.sum(1, keepdim=True) / count.sum()
        return cls(torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], mean).to(model.dtype))

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self.outputs[layer][token_ids][:, None]


class NeuronSubstitute(Substitute):
    """The MLP's own neurons as features: the `keep` that write most on a token, the others inactive.

    With all neurons kept it is the MLP itself. They write before the norm that some models have behind it.
    """

    writes_at = MLP_OUTPUT

    def __init__(self, model: LanguageModel, keep: int | None = None) -> None:
        self.n_layers = model.n_layers
        self._mlps: list[Any] = [model.mlp(layer) for layer in range(model.n_layers)]
        for part in ("gate_proj", "up_proj", "down_proj", "act_fn"):
            if not all(hasattr(mlp, part) for mlp in self._mlps):
                raise UsageError(f"{model.name} has MLPs without {part}; the neuron baseline needs gated MLPs")
        self.n_neurons: int = self._mlps[0].down_proj.weight.shape[1]
        self.keep = self.n_neurons if keep is None else min(keep, self.n_neurons)

    def _neurons(self, layer: int, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row neuron"]:
        mlp = self._mlps[layer]
        neurons = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
        if self.keep == self.n_neurons:
            return neurons
        chosen = (neurons.abs() * self.decoder_norms(layer)).topk(self.keep, dim=1).indices
        return torch.zeros_like(neurons).scatter(1, chosen, neurons.gather(1, chosen))

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self._mlps[layer].down_proj(self._neurons(layer, x))[:, None]

    def activity(self, layer: int, x: Float[Tensor, "row d_model"]) -> Activity:
        return Activity.of(self._neurons(layer, x))

    def decoder_norms(self, layer: int) -> Float[Tensor, " neuron"]:
        return self._mlps[layer].down_proj.weight.norm(dim=0)
