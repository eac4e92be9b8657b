"""The one-token change of a prompt that moves the answer most, among what the model itself finds likely."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models import LanguageModel

ALTERNATIVES = 8
"""Tokens that are tried at each position: those that the model finds likeliest there, but the prompt's own."""
TOKENS_AT_ONCE = 1024


@brief
@dataclass(frozen=True, kw_only=True)
class Change:
    """A prompt with one token exchanged."""

    token_ids: tuple[int, ...]
    position: int
    distance: float
    """Total variation between the two distributions of the next token, from 0 to 1."""


@torch.no_grad()
def likely_change(model: LanguageModel, token_ids: Sequence[int], *, position: int = -1) -> Change:
    """The change of one token, the likeliest others at its place, that moves the answer at `position` most and gives
    another answer.

    The first token, special tokens and the token after which the answer is read stay as they are, unless there is no
    other. UsageError where no such change gives another answer.
    """
    ids = torch.tensor(list(token_ids), device=model.device)
    last = position % len(ids)
    logits = model.logits(ids)
    answer, chances = int(logits[last].argmax()), logits[last].double().softmax(-1)
    special = set(model.tokenizer.all_special_ids)
    places = [p for p in range(1, last) if int(ids[p]) not in special] or list(range(1, last + 1))
    tried: list[tuple[int, int]] = []
    for place in places:
        ranked = logits[place - 1].topk(min(ALTERNATIVES + 1 + len(special), model.d_vocab)).indices.tolist()
        others = [token for token in ranked if token != int(ids[place]) and token not in special]
        tried += [(place, token) for token in others[:ALTERNATIVES]]
    best: Change | None = None
    for some in _batches(tried, len(ids)):
        batch = ids.repeat(len(some), 1)
        rows = torch.arange(len(some), device=ids.device)
        at = torch.tensor(some, device=ids.device)
        batch[rows, at[:, 0]] = at[:, 1]
        found = model.logits(batch)[:, last]
        distances = _distances(found, chances)
        distances[found.argmax(dim=-1) == answer] = 0
        index = int(distances.argmax())
        if float(distances[index]) > (0.0 if best is None else best.distance):
            best = Change(
                token_ids=tuple(batch[index].tolist()), position=some[index][0], distance=float(distances[index])
            )
    if best is None:
        (text,) = model.token_strings([answer])
        raise UsageError(
            f"no likely change of one token gives another answer than {text!r}; give the second prompt yourself"
        )
    return best


def _batches(tried: list[tuple[int, int]], length: int) -> list[list[tuple[int, int]]]:
    size = max(1, TOKENS_AT_ONCE // length)
    return [tried[start : start + size] for start in range(0, len(tried), size)]


def _distances(logits: Float[Tensor, "row d_vocab"], chances: Float[Tensor, " d_vocab"]) -> Float[Tensor, " row"]:
    """Total variation of each row from a distribution."""
    return (logits.double().softmax(-1) - chances).abs().sum(-1) / 2
