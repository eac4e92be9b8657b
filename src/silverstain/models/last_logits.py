"""What a model says after each of many prompts."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.models.language_model import LanguageModel

TOKENS_AT_ONCE = 4096


@torch.no_grad()
def last_logits(
    model: LanguageModel, prompts: Sequence[Sequence[int]]
) -> "Iterator[tuple[list[int], Float[Tensor, 'prompt d_vocab']]]":
    """The numbers of some prompts and the logits after their last token, batch after batch until all are asked.

    Prompts of one length run together, so that none is padded: what is said to one does not depend on the others, also
    where a model's rotary factors follow the length.
    """
    alike: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        alike.setdefault(len(prompt), []).append(number)
    for length, all_numbers in sorted(alike.items()):
        at_once = max(1, TOKENS_AT_ONCE // length)
        for start in range(0, len(all_numbers), at_once):
            numbers = all_numbers[start : start + at_once]
            ids = torch.tensor([list(prompts[number]) for number in numbers], device=model.device)
            yield numbers, model.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]


def first_choices(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> list[int]:
    """The likeliest token after each prompt."""
    found = [0] * len(prompts)
    for numbers, logits in last_logits(model, prompts):
        for number, token in zip(numbers, logits.argmax(-1).tolist(), strict=True):
            found[number] = token
    return found
