"""Prompts as token ids, checked against the model, alone or side by side."""

from collections.abc import Hashable, Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.models.language_model import LanguageModel

Prompt = str | Sequence[int] | Tensor
"""Text, or the token ids of one prompt."""


def as_ids(model: LanguageModel, prompt: Prompt) -> Int[Tensor, " pos"]:
    """Token ids of text, or the ids as given; UsageError when there are none or too many."""
    ids = model.tokenize(prompt) if isinstance(prompt, str) else prompt
    tensor = torch.as_tensor(ids, dtype=torch.long, device=model.device)
    if tensor.ndim != 1 or not len(tensor):
        raise UsageError(f"A prompt is a non-empty list of token ids, but its shape is {list(tensor.shape)}.")
    model.check_length(len(tensor))
    if int(tensor.min()) < 0 or int(tensor.max()) >= model.d_vocab:
        raise UsageError(f"Token ids go from 0 to {model.d_vocab - 1}, but the prompt holds {tensor.tolist()}.")
    return tensor


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "prompt pos"]:
    """The prompts side by side, filled up on the right with token 0: attention looks left, so nothing meets it. Which
    prompts may share a batch: `side_by_side`."""
    width = max(len(prompt) for prompt in prompts)
    return torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)


def side_by_side(model: LanguageModel, lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """The numbers of prompts of these lengths in batches of at most `most` that may run side by side.

    In order, but where a model's rotary factors depend on the length: there short and long prompts are kept apart,
    since padding a short one would change what is computed at its own positions.
    """
    alike: dict[Hashable, list[int]] = {}
    for number, length in enumerate(lengths):
        alike.setdefault(model.length_class(length), []).append(number)
    for numbers in alike.values():
        for first in range(0, len(numbers), most):
            yield numbers[first : first + most]


def position_in(position: int, length: int) -> int:
    """A position counted from the start, negative ones being counted from the end; UsageError outside the prompt."""
    at = position + length if position < 0 else position
    if not 0 <= at < length:
        raise UsageError(f"Position {position} is outside the prompt of {length} tokens (0 to {length - 1}).")
    return at
