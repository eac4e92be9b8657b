"""Files of prompts: one object a line (JSONL), or one a row (Parquet).

An object has `prompt` (text) or `token_ids`, and may have `targets` (texts as `target_text` reads them, or ids) and
`id`, the name of its graph's file. Other keys are left alone.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.attribution.requests import TargetRequest, TokenTarget
from silverstain.attribution.target_text import read_target
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.storage import broken_file, check_is_file

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")  # file systems end names at 255 bytes


@brief
@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt of a file."""

    line: int
    """Counted from 1."""
    id: str
    prompt: str | tuple[int, ...]
    targets: tuple[TargetRequest, ...] | None = None
    """None for those of the whole run."""


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line that is no prompt, and why."""

    line: int
    reason: str


def read_prompts(path: str | Path) -> list[PromptLine | BadLine]:
    """Every line that is not blank, in order; UsageError if there is no such file, or nothing in it."""
    path = Path(path)
    check_is_file(path)
    seen: dict[str, int] = {}
    lines: list[PromptLine | BadLine] = []
    for number, content in _rows(path):
        try:
            line = _prompt_line(number, content)
            if line.id in seen:
                raise UsageError(f"the id {line.id!r} is that of line {seen[line.id]}; give each line its own")
            seen[line.id] = number
            lines.append(line)
        except UsageError as error:
            lines.append(BadLine(line=number, reason=str(error)))
    if not lines:
        raise UsageError(f'{path} has no prompts; write one object a line, as {{"prompt": "12 + 34 ="}}')
    return lines


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
        return
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, text) for number, text in enumerate(file, start=1) if text.strip())
    except (OSError, ValueError) as error:
        raise broken_file(path, error) from error


def _parquet_rows(path: Path) -> Iterator[Any]:
    from importlib import import_module

    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            f"reading {path} needs pyarrow, which is not installed; install it: pip install 'silverstain[parquet]', "
            "or write the prompts as JSONL"
        ) from error
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise broken_file(path, error) from error


def _prompt_line(number: int, content: Any) -> PromptLine:
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UsageError(f'it is not JSON ({error}); write an object, as {{"prompt": "12 + 34 ="}}') from error
    if not isinstance(content, dict):
        raise UsageError(f"it is a {type(content).__name__}; write an object with a prompt or token_ids")
    given = {key: content[key] for key in ("id", "prompt", "token_ids", "targets") if content.get(key) is not None}
    targets = given.get("targets")
    return PromptLine(
        line=number,
        id=_name(given.get("id", f"{number:05d}")),
        prompt=_prompt(given),
        targets=None if targets is None else _targets(targets),
    )


def _prompt(given: dict[str, Any]) -> str | tuple[int, ...]:
    if ("prompt" in given) == ("token_ids" in given):
        seen = "both prompt and token_ids" if "prompt" in given else "neither prompt nor token_ids"
        raise UsageError(f"it has {seen}; give one of them")
    if "prompt" in given:
        if not isinstance(given["prompt"], str):
            raise UsageError(f"its prompt is {given['prompt']!r}; give a text")
        return given["prompt"]
    ids = given["token_ids"]
    if not isinstance(ids, Sequence) or not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise UsageError(f"its token_ids are {ids!r}; give a list of whole numbers")
    return tuple(ids)


def _targets(targets: Any) -> tuple[TargetRequest, ...]:
    if not isinstance(targets, Sequence) or isinstance(targets, str):
        raise UsageError(f"its targets are {targets!r}; give a list of texts or ids")
    return tuple(_target(target) for target in targets)


def _target(target: Any) -> TargetRequest:
    if isinstance(target, str):
        return read_target(target)
    if isinstance(target, int) and not isinstance(target, bool):
        return TokenTarget(token=target)
    raise UsageError(f"its target {target!r} is no text and no id; name it as --target does")


def _name(name: Any) -> str:
    text = str(name)
    if not isinstance(name, str | int) or isinstance(name, bool) or not NAME.fullmatch(text):
        raise UsageError(f"its id is {name!r}; it names a file: use letters, digits, '_', '.', '-', at most 200")
    return text
