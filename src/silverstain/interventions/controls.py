"""Random features that are changed as much as the chosen ones: what any push of that size would do.

A control lives at the same layers and positions, uses other features that are active there, and is scaled so that the
vectors it adds are, layer and position for layer and position, as long as those of the edits it controls for.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.dictionaries import Dictionary
from silverstain.interventions.edits import Edit
from silverstain.interventions.intervene import Prompt, as_ids
from silverstain.interventions.passes import resolve_for
from silverstain.models import LanguageModel, harvest


def random_control(
    model: LanguageModel, dictionary: Dictionary, prompt: Prompt, edits: Sequence[Edit], *, seed: int = 0
) -> tuple[Edit, ...]:
    """Edits of random features, matched to `edits` in layer, position, number and size.

    Features active at the place and not edited there come first; if they are fewer than the edited ones, all are
    used, and if there is none, silent features stand in. Places that the edits leave unchanged get no control.
    """
    ids = as_ids(model, prompt)
    sites = resolve_for(model, dictionary, [edits], [len(ids)])
    mlp_inputs = harvest(model, ids[None]).mlp_inputs[:, 0]
    edited: dict[tuple[int, int], list[tuple[int, float, float]]] = defaultdict(list)
    columns = (sites.layer, sites.position, sites.feature, sites.factor, sites.constant)
    for layer, position, feature, factor, constant in zip(*(column.tolist() for column in columns), strict=True):
        edited[layer, position].append((feature, factor, constant))
    generator = torch.Generator().manual_seed(seed)
    control: list[Edit] = []
    for (layer, position), rules in edited.items():
        activations = dictionary.encode_layer(layer, mlp_inputs[layer, position].to(dictionary.dtype))
        features = torch.tensor([feature for feature, _, _ in rules], device=activations.device)
        factors = torch.tensor([factor for _, factor, _ in rules], device=activations.device)
        constants = torch.tensor([constant for _, _, constant in rules], device=activations.device)
        change = (factors.to(activations) - 1) * activations[features] + constants.to(activations)
        if bool((change != 0).any()):
            chosen = _others(activations, features, generator)
            control.extend(_matched(dictionary, layer, position, features, change, chosen))
    return tuple(control)


def _others(activations: Float[Tensor, " feature"], edited: Tensor, generator: torch.Generator) -> Tensor:
    """As many random features as were edited, none of them edited: active ones if there are any, else silent ones."""
    is_free = torch.ones_like(activations, dtype=torch.bool)
    is_free[edited] = False
    candidates = (is_free & (activations > 0)).nonzero().flatten()
    if not len(candidates):
        candidates = is_free.nonzero().flatten()
    order = torch.randperm(len(candidates), generator=generator).to(candidates.device)
    return candidates[order[: len(edited)]]


def _matched(
    dictionary: Dictionary,
    layer: int,
    position: int,
    features: Tensor,
    change: Float[Tensor, " feature"],
    chosen: Tensor,
) -> list[Edit]:
    """One `add` a chosen feature, of equal size each and of the edits' direction (up or down), as long in all."""
    written = torch.einsum("f, f k d -> k d", change, dictionary.decoder_rows(layer, features).to(change))
    rows = dictionary.decoder_rows(layer, chosen).to(change)
    sign = -1.0 if float(change.sum()) < 0 else 1.0
    length = float(torch.linalg.vector_norm(rows.sum(0)))
    amount = sign * float(torch.linalg.vector_norm(written)) / length if length > 0 else 0.0
    pairs = tuple((layer, feature) for feature in sorted(chosen.tolist()))
    return [Edit(op="add", features=pairs, positions=(position,), value=amount)] if pairs else []
