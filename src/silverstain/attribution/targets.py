"""What reads the stream of one run: features by their encoder rows, logits by their demeaned unembedding rows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.edges import Targets
from silverstain.dictionaries import ActiveFeatures, Dictionary
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Recording

PROBABILITY = 0.95
"""By default the smallest set of tokens that reaches this probability is explained …"""
MOST_LOGITS = 10
"""… but no more tokens than these (as in the paper, science.md §1.4)."""


class Answers(NamedTuple):
    """The tokens whose logits are explained, most probable first unless they were named."""

    ids: list[int]
    probabilities: list[float]
    """Of each under the model; they need not sum to 1."""


def choose_answers(model: LanguageModel, recording: Recording, named: Sequence[str | int] | None) -> Answers:
    """The named tokens, or the smallest set that reaches PROBABILITY; UsageError for an unknown or repeated token."""
    probabilities = recording.logits[-1].double().softmax(-1)
    if named is None:
        ranked, order = probabilities.topk(min(MOST_LOGITS, len(probabilities)))
        count = min(int((ranked.cumsum(0) < PROBABILITY).sum()) + 1, len(ranked))
        ids = order[:count].tolist()
    else:
        ids = [_token_id(model, token) for token in named]
        if not ids or len(set(ids)) < len(ids):
            seen = "no token is named" if not ids else f"a token is named twice in {list(named)}"
            raise UsageError(f"cannot choose targets: {seen}; name each target once, or none for the likeliest tokens")
    return Answers(ids, probabilities[ids].tolist())


def _token_id(model: LanguageModel, token: str | int) -> int:
    if isinstance(token, str):
        return model.token_id(token)
    if not 0 <= token < model.d_vocab:
        raise UsageError(
            f"target token id {token} is not in the vocabulary of {model.name}; give ids from 0 to {model.d_vocab - 1}"
        )
    return int(token)


def feature_targets(recording: Recording, dictionary: Dictionary, active: ActiveFeatures) -> Targets:
    """Active features as readers: their values are pre-activations at the recorded MLP inputs."""
    inputs = recording.mlp_inputs[active.layer.long(), active.position.long()]
    vectors, constants = torch.zeros_like(inputs), torch.zeros_like(inputs[:, 0])
    for layer in range(active.n_layers):
        here = active.of_layer(layer)
        features = active.feature[here].long()
        vectors[here] = dictionary.encoder_rows(layer, features).to(inputs)
        constants[here] = dictionary.b_enc(layer)[features].to(inputs)
    return Targets(
        vectors=vectors,
        layers=active.layer.long(),
        positions=active.position.long(),
        constants=constants,
        values=_values(vectors, inputs, constants),
    )


def logit_targets(model: LanguageModel, recording: Recording, token_ids: Sequence[int]) -> Targets:
    """Logits at the last position, before any soft-cap, each less the mean over the vocabulary; their values are what
    the unembedding makes of the recorded output of the final norm."""
    W_U, b_U = model.W_U, model.b_U
    final = recording.final[-1]
    ids = torch.tensor(token_ids, device=final.device)
    vectors = (W_U[ids].double() - W_U.mean(dim=0, dtype=torch.float64)).to(final)
    constants = torch.zeros_like(vectors[:, 0]) if b_U is None else demeaned(b_U, ids)
    return Targets(
        vectors=vectors,
        layers=torch.full_like(ids, model.n_layers),
        positions=torch.full_like(ids, recording.n_positions - 1),
        constants=constants,
        values=_values(vectors, final[None], constants),
    )


def _values(
    vectors: Float[Tensor, "target d_model"],
    inputs: Float[Tensor, "#target d_model"],
    constants: Float[Tensor, " target"],
) -> Float[Tensor, " target"]:
    """What targets read in the recorded run, in float64: this is what the sums of edges are held against."""
    return ((vectors.double() * inputs.double()).sum(-1) + constants.double()).to(vectors)


def demeaned(column: Tensor, ids: Tensor) -> Tensor:
    """Entries less the mean of the whole column, [id]."""
    wide = column.double()
    return (wide[ids] - wide.mean()).to(column)
