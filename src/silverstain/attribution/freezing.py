"""From a recorded run to the linear map that it is when attention, norms and MLPs are held fixed."""

import torch
from torch import Tensor

from silverstain.attribution.flow import FrozenFlow
from silverstain.dictionaries import Dictionary
from silverstain.models import LanguageModel, Recording


def freeze(model: LanguageModel, recording: Recording, dictionary: Dictionary | None = None) -> FrozenFlow:
    """The frozen flow of a recorded run; with a dictionary, its linear skips are part of the map."""
    layers = range(model.n_layers)
    like = recording.embedding
    skips = [None if dictionary is None else dictionary.W_skip(layer) for layer in layers]
    return FrozenFlow(
        patterns=recording.patterns,
        attention_scale=recording.attention_norm_scale,
        mlp_scale=recording.mlp_norm_scale,
        final_scale=recording.final_norm_scale,
        attention_norm=torch.stack([model.norm_weight("attention", layer) for layer in layers]),
        mlp_norm=torch.stack([model.norm_weight("mlp", layer) for layer in layers]),
        final_norm=model.norm_weight("final"),
        W_V=tuple(model.W_V(layer) for layer in layers),
        W_O=tuple(model.W_O(layer) for layer in layers),
        W_skip=tuple(None if skip is None else skip.to(like) for skip in skips),
        attention_bias=tuple(_attention_bias(model, layer) for layer in layers),
        n_real=min(model.n_real, recording.n_positions),
    )


def _attention_bias(model: LanguageModel, layer: int) -> Tensor | None:
    """What attention adds everywhere: b_O + Σ_h W_O[h] b_V[h], since every row of a pattern sums to 1."""
    b_V, b_O = model.b_V(layer), model.b_O(layer)
    if b_V is None:
        return b_O
    W_O = model.W_O(layer)
    added = torch.einsum("hde,he->d", W_O, b_V.repeat_interleave(len(W_O) // len(b_V), dim=0))
    return added if b_O is None else added + b_O
