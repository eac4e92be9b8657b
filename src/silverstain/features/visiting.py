"""Text run through a model, and the activations of each layer shown as they come: never those of two layers at once."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.bases import Basis, NeuronBasis
from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.models.recording import check_ids, readers

See = Callable[[int, Tensor], None]


@torch.no_grad()
def visit_layers(model: LanguageModel, basis: Basis, token_ids: Int[Tensor, "row pos"], see: See) -> None:
    """Run rows and call `see(layer, activations [row, pos, feature])` for every layer, in order."""
    ids = token_ids.to(device=model.device, dtype=torch.long)
    check_ids(model, ids)
    with ExitStack() as stack:
        if isinstance(basis, NeuronBasis) and not basis.layer(0).n_experts:
            for layer in range(model.n_layers):  # what the last projection reads is there already
                module = model.mlp(layer).get_submodule(model.architecture.neurons.down)
                stack.callback(module.register_forward_pre_hook(_showing(layer, see, None)).remove)
        else:
            for layer, module in enumerate(readers(model, basis.reads_at)):
                stack.callback(module.register_forward_pre_hook(_showing(layer, see, basis)).remove)
        model.hf(input_ids=ids, use_cache=False, logits_to_keep=1)


def _showing(layer: int, see: See, basis: Basis | None) -> Callable[..., None]:
    def show(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        read: Float[Tensor, "row pos d"] = arguments[0]
        see(layer, read if basis is None else basis.encode_layer(layer, read))

    return show


def check_basis(model: LanguageModel, basis: Basis) -> None:
    """UsageError unless the basis is of this model's shape."""
    if (basis.n_layers, basis.d_model) != (model.n_layers, model.d_model):
        raise UsageError(
            f"{basis.name} is of {basis.n_layers} layers of width {basis.d_model}, {model.name} of {model.n_layers} of "
            f"width {model.d_model}; describe features on the model they belong to"
        )
