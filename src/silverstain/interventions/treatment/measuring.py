"""How often a model gives the wanted token, over a set of prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool

from silverstain.errors import UsageError
from silverstain.interventions.intervene import as_ids, padded
from silverstain.models import LanguageModel
from silverstain.storage import check_is_file

PROMPTS_A_PASS = 128


class Item(NamedTuple):
    """A prompt and the token that is wanted (or watched) next."""

    prompt: tuple[int, ...]
    answer: int


def is_right(model: LanguageModel, items: Sequence[Item]) -> Bool[torch.Tensor, " item"]:
    """Whether the model's first choice after each prompt is the item's token."""
    if not items:
        raise UsageError("there are no prompts to measure on; give at least one")
    found = []
    for first in range(0, len(items), PROMPTS_A_PASS):
        part = items[first : first + PROMPTS_A_PASS]
        ids = padded([item.prompt for item in part], model.device)
        last = torch.tensor([len(item.prompt) - 1 for item in part], device=model.device)
        with torch.no_grad():
            logits = model.hf(input_ids=ids, use_cache=False).logits
        chosen = logits[torch.arange(len(part), device=model.device), last].argmax(-1)
        found.append(chosen == torch.tensor([item.answer for item in part], device=model.device))
    return torch.cat(found).cpu()


def share_right(model: LanguageModel, items: Sequence[Item]) -> float:
    return float(is_right(model, items).double().mean())


def load_items(model: LanguageModel, path: str | Path) -> list[Item]:
    """Items of a file of lines {"prompt": text, "answer": text}; the first token of each answer counts."""
    check_is_file(Path(path))
    items = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            prompt, answer = said["prompt"], said["answer"]
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f'line {number} of {path} is no item; write {{"prompt": "…", "answer": "…"}} on each line'
            ) from None
        items.append(Item(tuple(as_ids(model, prompt).tolist()), model.token_id(answer)))
    if not items:
        raise UsageError(f"{path} holds no item; write one a line")
    return items
