"""The direct effect of a feature on the logits: what it writes, read by the unembedding through the last norm's weight.

For a feature f the direct effect on token t is W_U[t] · (w_final ⊙ Σ_targets W_dec[f, target]), less its mean over the
vocabulary (where the last norm centres, so is what the feature writes): what unit activation adds to the demeaned
logit when the last norm's scale is 1. It ignores all layers in between, so it says much about late features and little
about early ones.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Basis, writes_before_norm
from silverstain.models import LanguageModel

BY_CHANCE = 0.05
"""Share of features that would be named by a token if their direct effects on the vocabulary were normal numbers."""
NEAR_THE_TOP = 0.7
"""Share of the strongest effect that a further token needs to be named beside it."""
MOST_WRITTEN = 3


class OutputTokens(NamedTuple):
    """The largest and smallest direct effects of each feature, strongest first, and their scale."""

    promoted: Int[Tensor, "feature n"]
    promoted_effect: Float[Tensor, "feature n"]
    suppressed: Int[Tensor, "feature n"]
    suppressed_effect: Float[Tensor, "feature n"]
    scale: Float[Tensor, " feature"]
    """Standard deviation of the effects over the vocabulary."""


def direct_effects(
    model: LanguageModel, dictionary: Basis, layer: int, features: Int[Tensor, " feature"]
) -> Float[Tensor, "feature d_vocab"]:
    """Demeaned direct effect of unit activation on every logit."""
    effects = written_vectors(model, dictionary, layer, features) @ model.W_U.T
    return effects - effects.mean(-1, keepdim=True)


def written_vectors(
    model: LanguageModel, dictionary: Basis, layer: int, features: Int[Tensor, " feature"]
) -> Float[Tensor, "feature d_model"]:
    """What unit activation of each feature gives to the unembedding, the last norm's scale being 1."""
    written = dictionary.decoder_rows(layer, features).sum(1).to(model.W_U)
    behind = model.norm("mlp_output", layer) if writes_before_norm(dictionary, model) else None
    if behind is not None:
        written = behind.centred(written) * behind.weight
    return model.final_norm.centred(written) * model.final_norm.weight


def scaled_vectors(
    model: LanguageModel, dictionary: Basis, places: Sequence[tuple[int, int]], scales: Sequence[float]
) -> Float[Tensor, "place d_model"]:
    """`written_vectors` of features (layer, feature) of any layers, each times a number: an activation, or a sign."""
    found = torch.zeros(len(places), model.d_model, dtype=model.W_U.dtype, device=model.W_U.device)
    for layer in sorted({layer for layer, _ in places}):
        here = [i for i, place in enumerate(places) if place[0] == layer]
        features = torch.tensor([places[i][1] for i in here], device=dictionary.device)
        by = torch.tensor([scales[i] for i in here], dtype=found.dtype, device=found.device)
        found[here] = written_vectors(model, dictionary, layer, features) * by[:, None]
    return found


def output_tokens(
    model: LanguageModel, dictionary: Basis, layer: int, features: Int[Tensor, " feature"], *, n: int = 5
) -> OutputTokens:
    """The n tokens each feature promotes and suppresses most."""
    parts = [
        (effects.topk(n), effects.topk(n, largest=False), effects.std(-1))
        for _, effects in _chunks(model, dictionary, layer, features)
    ]
    if not parts:
        empty, ids = torch.zeros(0, n), torch.zeros(0, n, dtype=torch.long)
        return OutputTokens(ids, empty, ids, empty, torch.zeros(0))
    return OutputTokens(
        promoted=torch.cat([up.indices for up, _, _ in parts]).cpu(),
        promoted_effect=torch.cat([up.values for up, _, _ in parts]).float().cpu(),
        suppressed=torch.cat([down.indices for _, down, _ in parts]).cpu(),
        suppressed_effect=torch.cat([down.values for _, down, _ in parts]).float().cpu(),
        scale=torch.cat([scale for _, _, scale in parts]).float().cpu(),
    )


def mean_effect_on(
    model: LanguageModel,
    dictionary: Basis,
    layer: int,
    features: Int[Tensor, " feature"],
    tokens: list[list[int]],
) -> Float[Tensor, " feature"]:
    """The mean direct effect of each feature on its own set of tokens, in standard deviations; 0 for an empty set."""
    out = torch.zeros(len(features))
    for first, effects in _chunks(model, dictionary, layer, features):
        scaled = effects / effects.std(-1, keepdim=True).clamp_min(torch.finfo(effects.dtype).tiny)
        for row in range(len(effects)):
            if tokens[first + row]:
                out[first + row] = float(scaled[row, tokens[first + row]].mean())
    return out


def written_tokens(
    model: LanguageModel,
    dictionary: Basis,
    features: Iterable[tuple[int, int]],
    *,
    negative: Collection[tuple[int, int]] = (),
) -> dict[tuple[int, int], tuple[str, ...]]:
    """The texts of `written_ids`."""
    found = written_ids(model, dictionary, features, negative=negative)
    return {place: tuple(model.token_strings(tokens)) for place, tokens in found.items()}


def written_ids(
    model: LanguageModel,
    dictionary: Basis,
    features: Iterable[tuple[int, int]],
    *,
    negative: Collection[tuple[int, int]] = (),
) -> dict[tuple[int, int], tuple[int, ...]]:
    """The tokens that each (layer, feature) writes, strongest first: at most MOST_WRITTEN, of those whose direct effect
    stands out of the vocabulary (BY_CHANCE) and is not far below the strongest (NEAR_THE_TOP). Features that write
    none are left out. Of `negative` ones, whose activation is below 0, it is what that writes.
    """
    stands_out = NormalDist().inv_cdf(1 - BY_CHANCE / max(model.d_vocab, 2))  # 4.0 of 1,500 tokens, 5.1 of 250,000
    places = sorted(set(features))
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    if not places:
        return {}
    vectors = scaled_vectors(model, dictionary, places, [-1.0 if place in negative else 1.0 for place in places])
    size = max(1, 2**24 // model.d_vocab)  # all layers together: the vocabulary is long to read
    for first, some in zip(range(0, len(places), size), vectors.split(size), strict=True):
        effects = (some @ model.W_U.T).float()
        effects -= effects.mean(-1, keepdim=True)
        effects /= effects.std(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        top = effects.topk(min(MOST_WRITTEN, model.d_vocab))
        for row, (sizes, ids) in enumerate(zip(top.values.tolist(), top.indices.tolist(), strict=True)):
            least = max(stands_out, NEAR_THE_TOP * sizes[0])
            written = [token for size, token in zip(sizes, ids, strict=True) if size >= least]
            if written:
                found[places[first + row]] = tuple(written)
    return found


def _chunks(
    model: LanguageModel, dictionary: Basis, layer: int, features: Int[Tensor, " feature"]
) -> Iterator[tuple[int, Float[Tensor, "chunk d_vocab"]]]:
    """(index of the first feature, effects) a few features at a time, as a whole layer's may not fit in memory."""
    size = max(1, 2**24 // model.d_vocab)
    for first in range(0, len(features), size):
        yield first, direct_effects(model, dictionary, layer, features[first : first + size])
