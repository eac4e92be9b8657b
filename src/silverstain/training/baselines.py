"""What a dictionary must beat: the MLPs' own neurons, a table of tokens, and nothing at all."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, harvest
from silverstain.models.recording import MLP_INPUT
from silverstain.training.batches import TokenBatch


class ConstantSubstitute:
    """The same output for every token: the mean, say, which is what MLPs are worth when nothing is known."""

    def __init__(self, outputs: Float[Tensor, "layer d_model"]) -> None:
        self.outputs, self.n_layers = outputs, outputs.shape[0]

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self.outputs[layer].expand_as(x)[:, None]


class AffineSubstitute:
    """The best affine map of each MLP, which needs no features: what is nearly affine is no feat to replace."""

    def __init__(self, solution: Float[Tensor, "layer d_model_plus_1 d_model"], *, reads_at: str = MLP_INPUT) -> None:
        self.solution, self.n_layers, self.reads_at = solution, solution.shape[0], reads_at

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return (x @ self.solution[layer, :-1] + self.solution[layer, -1])[:, None]


class TokenSubstitute:
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
            total.index_add_(1, ids, harvest(model, batch.token_ids).mlp_outputs[:, batch.mask].to(total.dtype))
            count += torch.bincount(ids, minlength=model.d_vocab)
        if not count.any():
            raise UsageError("there are no tokens to fit a look-up on; give at least one batch")
        mean = total.sum(1, keepdim=True) / count.sum()
        return cls(torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], mean).to(model.dtype))

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self.outputs[layer][token_ids][:, None]


class NeuronSubstitute:
    """The MLP's own neurons as features: the `keep` that write most on a token, the others silent.

    With all neurons kept it is the MLP itself.
    """

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
        written = neurons.abs() * mlp.down_proj.weight.norm(dim=0)
        chosen = written.topk(self.keep, dim=1).indices
        return torch.zeros_like(neurons).scatter(1, chosen, neurons.gather(1, chosen))

    def writes(self, layer: int, x: Tensor, token_ids: Tensor) -> Tensor:
        return self._mlps[layer].down_proj(self._neurons(layer, x))[:, None]

    def firing(self, layer: int, x: Tensor) -> Int[Tensor, " neuron"]:
        return (self._neurons(layer, x) != 0).sum(0)
