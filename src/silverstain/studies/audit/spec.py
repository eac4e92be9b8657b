"""What is to be audited: prompts, and in each of them the evidence an answer should rest on and the shortcut.

A file is YAML (a list, or an object with `prompts`), or JSONL (an object a line):

    - prompt: "note austin ; the capital of the state containing dallas is"
      answer: austin                # otherwise the model's own first choice
      evidence: [dallas, capital]   # texts of the prompt; several are parts of the evidence, all of which count
      shortcut: austin              # a hint, a cue, a leaked answer, a name
      other_shortcut: albany        # what to put in its place when the model is asked again; otherwise another prompt's
      other_evidence: oakland

A text that is in the prompt more than once is written as `{text: austin, nth: 2}`, counted from 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from silverstain.brief import brief
from silverstain.documents import parsed_json, read_text, read_yaml
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText, validated

LONGEST = 100_000
"""Prompts of one audit."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A text of the prompt, the `nth` time it is there."""

    text: str
    nth: int = 1

    def __str__(self) -> str:
        return f"“{printable(self.text, 60)}”" + ("" if self.nth == 1 else f" (number {self.nth})")

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "nth": self.nth}


@brief
@dataclass(frozen=True, kw_only=True)
class AuditPrompt:
    """One prompt to audit."""

    id: str
    prompt: str
    answer: str | None = None
    """None: what the model says."""
    evidence: tuple[Span, ...] = ()
    shortcut: tuple[Span, ...] = ()
    other_shortcut: str | None = None
    other_evidence: str | None = None

    @property
    def has_spans(self) -> bool:
        return bool(self.evidence and self.shortcut)


class OutsideSpan(FromOutside):
    """A text of the prompt that is there more than once."""

    text: ShortText = Field(min_length=1)
    nth: int = Field(default=1, ge=1)


class OutsidePrompt(FromOutside):
    """A prompt as a person writes it."""

    prompt: str = Field(min_length=1)
    id: ShortText | int | None = None
    answer: ShortText | None = None
    evidence: Any = None
    """A text, an object of a text and which time it is there, or a list of these."""
    shortcut: Any = None
    other_shortcut: ShortText | None = None
    other_evidence: ShortText | None = None


def read_spec(path: str | Path) -> list[AuditPrompt]:
    """The prompts of a file, in order; UsageError names the line of JSONL, or the place in YAML, that is at fault."""
    path = Path(path)
    prompts = [_prompt(number, place, value) for number, place, value in _values(path)]
    if not prompts:
        raise UsageError(f'{path} has no prompts; write a list of them: - prompt: "the capital of …"')
    if len(prompts) > LONGEST:
        raise UsageError(f"{path} has {len(prompts):,} prompts; an audit takes at most {LONGEST:,}")
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise UsageError(f"{path} has two prompts with the id {printable(prompt.id)!r}; give each its own")
        seen.add(prompt.id)
    return prompts


def _values(path: Path) -> Iterator[tuple[int, str, Any]]:
    """(number, where it stands, value) of each prompt."""
    if path.suffix in (".yaml", ".yml"):
        said = read_yaml(path)
        listed = said.get("prompts") if isinstance(said, dict) else said
        if not isinstance(listed, list):
            raise UsageError(
                f"{path} is no list of prompts, and has no `prompts:` with one; see `silverstain audit -h`"
            )
        for number, value in enumerate(listed, start=1):
            yield number, f"{path}, prompt {number}", value
        return
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield number, f"{path}, line {number}", parsed_json(line)
            except ValueError as error:
                raise UsageError(
                    f"{path}, line {number} is not JSON ({printable(str(error), 200)}); write an object a line, as "
                    '{"prompt": "…"}, or name the file .yaml'
                ) from error


def _prompt(number: int, place: str, value: Any) -> AuditPrompt:
    outside = validated(OutsidePrompt, value, place, "see `silverstain audit -h`")
    return AuditPrompt(
        id=str(number if outside.id is None else outside.id),
        prompt=outside.prompt,
        answer=outside.answer,
        evidence=_spans(outside.evidence, f"{place}, evidence"),
        shortcut=_spans(outside.shortcut, f"{place}, shortcut"),
        other_shortcut=outside.other_shortcut,
        other_evidence=outside.other_evidence,
    )


def _spans(given: Any, place: str) -> tuple[Span, ...]:
    listed = given if isinstance(given, list) else [] if given is None else [given]
    outside = [
        validated(OutsideSpan, one if isinstance(one, dict) else {"text": one}, place, "see `silverstain audit -h`")
        for one in listed
    ]
    return tuple(Span(text=one.text, nth=one.nth) for one in outside)
