"""Whether a model can do a task at all: a study of one that cannot is not applicable, and has not failed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.models import LanguageModel
from silverstain.statistics import Share, share_of
from silverstain.studies.pretrained.pairs import TokenPair

PASSES = 0.9
"""Share of prompts that must be answered rightly (science.md 3.0)."""
TOKENS_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How often a model is right."""

    right: Share
    """One of a prompt's own answers is together likelier than all other answers of the family."""
    first_choice: Share
    """… and the likeliest of all tokens."""

    @property
    def passes(self) -> bool:
        return self.right.value >= PASSES

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passes": self.passes}


def gate_of(model: LanguageModel, pairs: Sequence[TokenPair], on_progress: Callable[[int], None] | None = None) -> Gate:
    """Every prompt of the pairs once, whichever side it is on."""
    asked: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for pair in pairs:
        asked.setdefault(pair.base, (pair.base_answers, pair.choices))
        asked.setdefault(pair.contrast, (pair.contrast_answers, pair.choices))
    right = first = 0
    for prompt, logits in zip(asked, last_logits(model, list(asked), on_progress), strict=True):
        answers, choices = asked[prompt]
        right += is_right(logits, answers, choices)
        first += int(logits.argmax()) in answers
    return Gate(right=share_of(right, len(asked)), first_choice=share_of(first, len(asked)))


def is_right(logits: Float[Tensor, " d_vocab"], answers: Sequence[int], choices: Sequence[int]) -> bool:
    """Whether the likeliest of the choices is one of the answers."""
    return choices[int(logits[list(choices)].argmax())] in answers


@torch.no_grad()
def last_logits(
    model: LanguageModel, prompts: Sequence[Sequence[int]], on_progress: Callable[[int], None] | None = None
) -> Float[Tensor, "prompt d_vocab"]:
    """Logits after the last token of each prompt, those of one length in one batch."""
    found: dict[int, Tensor] = {}
    for length in sorted({len(prompt) for prompt in prompts}):
        here = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
        at_once = max(1, TOKENS_AT_ONCE // length)
        for start in range(0, len(here), at_once):
            some = here[start : start + at_once]
            ids = torch.tensor([list(prompts[i]) for i in some], device=model.device)
            logits = model.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            found |= dict(zip(some, logits, strict=True))
            if on_progress is not None:
                on_progress(len(some))
    return torch.stack([found[i] for i in range(len(prompts))])
