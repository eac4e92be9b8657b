"""Files of prompts: one object a line (JSONL), or one a row (Parquet).

An object has `prompt` (text) or `token_ids`, and may have `targets` (texts as `target_forms` says, or ids) and
`id`, the name of its graph's file. Other keys are left alone.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from silverstain.attribution.requests import TargetRequest, TokenTarget
from silverstain.attribution.target_text import read_target
from silverstain.brief import brief
from silverstain.documents import parsed_json
from silverstain.errors import UsageError
from silverstain.printable import abridged, printable
from silverstain.storage import broken_file, check_is_file
from silverstain.validation import LARGEST

LONGEST_LINE = 4 << 20
"""Bytes: a prompt of as many tokens as any model reads, written as ids, is smaller."""
LONGEST_REASON = 300
NO_TEXT = "it is no text in UTF-8"
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
            lines.append(BadLine(line=number, reason=printable(abridged(str(error), LONGEST_REASON))))
    if not lines:
        raise UsageError(f'{path} has no prompts; write one object a line, as {{"prompt": "12 + 34 ="}}')
    if all(isinstance(line, BadLine) and line.reason.startswith(NO_TEXT) for line in lines):
        raise broken_file(path, ValueError(NO_TEXT))
    return lines


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(number, line as bytes or row) of what is not blank."""
    if path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
        return
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded_lines(file), start=1):
                content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if content.strip():
                    yield number, content
    except OSError as error:
        raise broken_file(path, error) from error


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is longer than LONGEST_LINE, no more than shows that it is."""
    while line := file.readline(LONGEST_LINE + 1):
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE + 1)
        yield line


def _parquet_rows(path: Path) -> Iterator[Any]:
    from pyarrow import parquet  # slow to import

    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise broken_file(path, error) from error


def _prompt_line(number: int, content: Any) -> PromptLine:
    if isinstance(content, bytes):
        content = _parsed(content)
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


def _parsed(line: bytes) -> Any:
    if len(line) > LONGEST_LINE:
        raise UsageError(f"it is longer than {LONGEST_LINE >> 20} MB, which no prompt is; shorten it")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{NO_TEXT} ({error.reason} at byte {error.start}); write it in UTF-8") from error
    try:
        return parsed_json(text)
    except ValueError as error:
        raise UsageError(f'it is not JSON ({error}); write an object, as {{"prompt": "12 + 34 ="}}') from error


def _prompt(given: dict[str, Any]) -> str | tuple[int, ...]:
    if ("prompt" in given) == ("token_ids" in given):
        seen = "both prompt and token_ids" if "prompt" in given else "neither prompt nor token_ids"
        raise UsageError(f"it has {seen}; give one of them")
    if "prompt" in given:
        if not isinstance(given["prompt"], str):
            raise UsageError(f"its prompt is {given['prompt']!r:.80}; give a text")
        return given["prompt"]
    ids = given["token_ids"]
    if not isinstance(ids, Sequence) or not all(map(_is_id, ids)):
        raise UsageError(f"its token_ids are {ids!r:.80}; give a list of whole numbers")
    return tuple(ids)


def _targets(targets: Any) -> tuple[TargetRequest, ...]:
    if not isinstance(targets, Sequence) or isinstance(targets, str):
        raise UsageError(f"its targets are {targets!r:.80}; give a list of texts or ids")
    return tuple(_target(target) for target in targets)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _target(target: Any) -> TargetRequest:
    if isinstance(target, str):
        return read_target(target)
    if _is_id(target):
        return TokenTarget(token=target)
    raise UsageError(f"its target {target!r:.80} is no text and no id; name it as --target does")


def _name(name: Any) -> str:
    text = str(name)
    if not isinstance(name, str | int) or isinstance(name, bool) or not NAME.fullmatch(text):
        raise UsageError(f"its id is {name!r:.80}; it names a file: use letters, digits, '_', '.', '-', at most 200")
    return text
