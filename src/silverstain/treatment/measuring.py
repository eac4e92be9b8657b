"""How often a model gives the wanted token, over a set of prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.models.prompts import as_ids, padded, side_by_side
from silverstain.storage import check_is_file

PROMPTS_A_PASS = 128


@brief
class Item(NamedTuple):
    """A prompt and the token that is wanted (or watched) next."""

    prompt: tuple[int, ...]
    answer: int


def is_right(model: LanguageModel, items: Sequence[Item]) -> Bool[torch.Tensor, " item"]:
    """Whether the model's first choice after each prompt is the item's token."""
    if not items:
        raise UsageError("there are no prompts to measure on; give at least one")
    found = torch.zeros(len(items), dtype=torch.bool)
    for numbers in side_by_side(model, [len(item.prompt) for item in items], PROMPTS_A_PASS):
        part = [items[i] for i in numbers]
        ids = padded([item.prompt for item in part], model.device)
        last = torch.tensor([len(item.prompt) - 1 for item in part], device=model.device)
        with torch.no_grad():
            logits = model.hf(input_ids=ids, use_cache=False).logits
        chosen = logits[torch.arange(len(part), device=model.device), last].argmax(-1)
        found[numbers] = (chosen == torch.tensor([item.answer for item in part], device=model.device)).cpu()
    return found


def share_right(model: LanguageModel, items: Sequence[Item]) -> float:
    return float(is_right(model, items).double().mean())


def load_items(model: LanguageModel, path: str | Path) -> list[Item]:
    """Items of a file of lines {"prompt": text, "answer": text}; the first token of each answer counts."""
    return [_item(model, said["prompt"], said["answer"]) for said in _lines(Path(path))]


def load_without(model: LanguageModel, path: str | Path) -> list[Item]:
    """The same items as their lines' "without" has them: the prompt without its cue. None where no line has one."""
    lines = _lines(Path(path))
    missing = [number for number, said in enumerate(lines, start=1) if "without" not in said]
    if missing and len(missing) < len(lines):
        raise UsageError(
            f'item {missing[0]} of {path} has no "without", and others have; give it to all items or to none'
        )
    return [] if missing else [_item(model, said["without"], said["answer"]) for said in lines]


def _item(model: LanguageModel, prompt: str, answer: str) -> Item:
    return Item(tuple(as_ids(model, prompt).tolist()), model.token_id(answer))


def _lines(path: Path) -> list[dict[str, str]]:
    """The objects of a file of items; UsageError naming the line that is none."""
    check_is_file(path)
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            texts = [said["prompt"], said["answer"], said.get("without", "")]
        except (ValueError, KeyError, TypeError, AttributeError):
            texts = [None]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError(f'line {number} of {path} is no item; write {{"prompt": "…", "answer": "…"}} on each line')
        found.append(said)
    if not found:
        raise UsageError(f"{path} holds no item; write one a line")
    return found
