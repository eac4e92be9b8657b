"""How often a model gives the wanted token, over a set of prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool
from pydantic import ValidationError

from silverstain.brief import brief
from silverstain.documents import parsed_json, read_text
from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.models.last_logits import first_choices
from silverstain.models.prompts import as_ids
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText, first_fault


@brief
class Item(NamedTuple):
    """A prompt and the token that is wanted (or watched) next."""

    prompt: tuple[int, ...]
    answer: int


def is_right(model: LanguageModel, items: Sequence[Item]) -> Bool[torch.Tensor, " item"]:
    """Whether the model's first choice after each prompt is the item's token."""
    if not items:
        raise UsageError("there are no prompts to measure on; give at least one")
    said = first_choices(model, [item.prompt for item in items])
    return torch.tensor([token == item.answer for token, item in zip(said, items, strict=True)])


def share_right(model: LanguageModel, items: Sequence[Item]) -> float:
    return float(is_right(model, items).double().mean())


def load_items(model: LanguageModel, path: str | Path) -> list[Item]:
    """Items of a file of lines {"prompt": text, "answer": text}; the first token of each answer counts."""
    return [_item(model, said.prompt, said.answer) for said in _lines(Path(path))]


def load_without(model: LanguageModel, path: str | Path) -> list[Item]:
    """The same items as their lines' "without" has them: the prompt without its cue. None where no line has one."""
    lines = _lines(Path(path))
    missing = [number for number, said in enumerate(lines, start=1) if said.without is None]
    if missing and len(missing) < len(lines):
        raise UsageError(
            f'item {missing[0]} of {path} has no "without", and others have; give it to all items or to none'
        )
    return [_item(model, said.without, said.answer) for said in lines if said.without is not None]


def _item(model: LanguageModel, prompt: str, answer: str) -> Item:
    return Item(tuple(as_ids(model, prompt).tolist()), model.token_id(answer))


class OutsideItem(FromOutside):
    prompt: str
    answer: ShortText
    without: str | None = None


def _lines(path: Path) -> list[OutsideItem]:
    """The objects of a file of items; UsageError naming the line that is none."""
    found = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(OutsideItem.model_validate(parsed_json(line)))
        except ValueError as error:  # pydantic's errors are ValueErrors, too
            reason = first_fault(error) if isinstance(error, ValidationError) else printable(str(error), 200)
            raise UsageError(
                f"line {number} of {shown_path(path)} is no item ({reason}); "
                'write {"prompt": "…", "answer": "…"} on each line'
            ) from error
    if not found:
        raise UsageError(f"{shown_path(path)} holds no item; write one a line")
    return found
