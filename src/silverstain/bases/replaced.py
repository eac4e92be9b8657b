"""The model with all of its MLPs replaced by a dictionary, run on its own stream.

Nothing is frozen here: attention runs live and each layer's features read the stream that the layers before, already
replaced, have made. This is the headline test of a dictionary (how often does the replaced model say what the model
says) and, being differentiable, the loss that makes it pass. Positions below `model.n_real` keep their real MLP.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from silverstain.bases.fitting import writes_before_norm
from silverstain.bases.substitutes import Substitute, as_substitute
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, MlpCall, harvest, mlps_through
from silverstain.models.mlps import MlpFunction


def replaced_logits(
    model: LanguageModel,
    dictionary: object,
    token_ids: Tensor,
    *,
    mask: Tensor | None = None,
    deltas: Mapping[int, Tensor] | None = None,
    errors: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Logits [batch, pos, d_vocab] of `token_ids` [batch, pos] with every MLP replaced by `dictionary`.

    `deltas` and `errors` (layer → [batch, pos, d_model]) are added to the output of that layer's MLP: edits, and what
    the dictionary misses. `mask` [batch, pos] names the positions worth replacing; the others, padding on the right,
    get no MLP output and meaningless logits. Differentiable in the dictionary's weights.
    """
    if token_ids.ndim != 2:
        raise UsageError(f"replaced_logits takes tokens [batch, pos], got shape {list(token_ids.shape)}; add an axis")
    substitute = as_substitute(dictionary)
    if substitute.n_layers != model.n_layers:
        raise UsageError(
            f"the dictionary has {substitute.n_layers} layers, {model.name} has {model.n_layers}; "
            "give a dictionary trained on this model"
        )
    added = [
        [given[layer] for given in (deltas or {}, errors or {}) if layer in given] for layer in range(model.n_layers)
    ]
    function = _replaced(model, substitute, token_ids, mask, added)
    with mlps_through(model, function, reads_at=substitute.reads_at):
        return model.hf(input_ids=token_ids, use_cache=False).logits


def edited_logits(model: LanguageModel, token_ids: Tensor, deltas: Mapping[int, Tensor]) -> Tensor:
    """Logits [batch, pos, d_vocab] of the real model with `deltas` added to its MLP outputs: what the replaced model
    should say under the same edit."""
    return harvest(model, token_ids, added=deltas).logits


def _replaced(
    model: LanguageModel,
    substitute: Substitute,
    token_ids: Tensor,
    mask: Tensor | None,
    added: list[list[Tensor]],
) -> MlpFunction:
    """What takes the place of every MLP during one run, layer after layer."""
    n_real, is_before_norm = model.n_real, writes_before_norm(substitute, model)
    counted = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask.clone()
    counted[:, :n_real] = False
    index = counted.flatten().nonzero().view(-1)
    ids = token_ids.flatten()[index]
    pending: dict[int, Tensor] = {}

    def replaced(call: MlpCall) -> Tensor:
        layer, x = call.layer, call.x
        written = substitute.writes(layer, call.read.flatten(0, 1)[index], ids)
        for target, part in enumerate(written.unbind(1), start=layer):
            pending[target] = pending[target] + part if target in pending else part
        out = x.new_zeros(x.shape[0] * x.shape[1], x.shape[2])
        out = out.index_copy(0, index, pending.pop(layer)).view_as(x)
        out = call.behind(out) if is_before_norm else out
        early = call.real(x[:, :n_real].contiguous())  # GPT-2's products take views of their input
        out = torch.cat([early, out[:, n_real:]], dim=1)
        return sum(added[layer], start=out)

    return replaced
