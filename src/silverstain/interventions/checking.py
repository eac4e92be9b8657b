"""Edits that would do nothing are said, with what is near: silencing a feature that does not fire changes nothing."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edit_text import AnyEdit
from silverstain.interventions.edits import Edit
from silverstain.interventions.intervene import Prompt, as_ids
from silverstain.interventions.positions import resolved
from silverstain.models import LanguageModel, harvest

NEAR = 3
"""So many near features are offered."""


def check_active(model: LanguageModel, dictionary: Dictionary, prompt: Prompt, edits: Sequence[AnyEdit]) -> None:
    """UsageError for a feature that is silenced or scaled where it is not active, naming where it is, or what is near.

    Near are the features active there whose encoder rows point most nearly the same way.
    """
    ids = as_ids(model, prompt)
    inputs = harvest(model, ids[None], reads_at=dictionary.reads_at).mlp_inputs[:, 0]
    for edit in edits:
        if isinstance(edit, Edit) and edit.op in ("ablate", "scale"):
            positions = resolved(edit.positions, len(ids), first=model.n_real, edit=edit)
            for layer, feature in edit.features:
                if layer >= dictionary.n_layers or feature >= dictionary.n_features:
                    raise UsageError(
                        f"The edit {edit} names L{layer}.F{feature}, but this dictionary has {dictionary.n_layers} "
                        f"layers of {dictionary.n_features} features; name one of those."
                    )
                active = dictionary.encode_layer(layer, inputs[layer].to(dictionary.dtype))
                active[: model.n_real] = 0
                if not bool((active[positions, feature] > 0).any()):
                    raise UsageError(_advice(dictionary, active, layer, feature, positions, edit))


def _advice(
    dictionary: Dictionary,
    active: Float[Tensor, "pos feature"],
    layer: int,
    feature: int,
    positions: Sequence[int],
    edit: Edit,
) -> str:
    where = "anywhere in this prompt" if edit.positions is None else f"at {_listed('position', positions)}"
    said = f"L{layer}.F{feature} is not active {where}, so {edit} changes nothing; "
    elsewhere = (active[:, feature] > 0).nonzero().flatten().tolist()
    if elsewhere:
        return said + f"it is active at {_listed('position', elsewhere)}."
    fires = (active[list(positions)] > 0).any(0).nonzero().flatten()
    if not len(fires):
        return said + f"no feature of layer {layer} is."
    rows = torch.nn.functional.normalize(
        dictionary.encoder_rows(layer, torch.cat([fires, fires.new_tensor([feature])])), dim=1
    )
    near = fires[(rows[:-1] @ rows[-1]).topk(min(NEAR, len(fires))).indices].tolist()
    return said + "nearest of those that are: " + ", ".join(f"L{layer}.F{n}" for n in near) + "."


def _listed(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun} {numbers[0]}" if len(numbers) == 1 else f"{noun}s {', '.join(map(str, numbers))}"
