"""Spans of a prompt's text as positions of its tokens, and other text put in their place."""

from collections.abc import Sequence
from dataclasses import dataclass

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.printable import printable
from silverstain.studies.audit.spec import AuditPrompt, Span


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A span where it stands."""

    span: Span
    start: int
    """Characters of the prompt."""
    stop: int
    positions: tuple[int, ...]
    """Tokens that have a character of it."""


def placed(model: LanguageModel, prompt: AuditPrompt, spans: Sequence[Span]) -> tuple[Placed, ...]:
    """Each span at its place; UsageError where the prompt has no such text, or a token of one span is another's too."""
    ids = model.tokenize(prompt.prompt)
    ends = token_ends(model, prompt.prompt, ids)
    found = []
    for span in spans:
        start = _start(prompt, span)
        stop = start + len(span.text)
        positions = tuple(at for at, (first, last) in enumerate(ends) if first < stop and last > start)
        if not positions:
            raise UsageError(f"prompt {prompt.id}: {span} has no token of its own; name a longer text")
        found.append(Placed(span=span, start=start, stop=stop, positions=positions))
    return tuple(found)


def check_apart(prompt: AuditPrompt, evidence: Sequence[Placed], shortcut: Sequence[Placed]) -> None:
    """UsageError where evidence and shortcut share a token."""
    for one in evidence:
        for other in shortcut:
            if set(one.positions) & set(other.positions):
                raise UsageError(
                    f"prompt {prompt.id}: the evidence {one.span} and the shortcut {other.span} share a token; name "
                    "texts that are apart"
                )


def token_ends(model: LanguageModel, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where each token's text begins and ends in the prompt, by the tokenizer's own account, blanks in front of it left
    out; (0, 0) for special tokens in front. UsageError for a tokenizer that keeps no account."""
    try:
        said = model.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    except NotImplementedError as error:
        raise UsageError(
            f"the tokenizer of {model.name} does not say where its tokens stand; use a fast one"
        ) from error
    ends = [(int(first), int(last)) for first, last in said["offset_mapping"]]
    front = len(ids) - len(ends)
    if front < 0 or list(ids[front:]) != list(said["input_ids"]):
        raise UsageError(
            f"the tokens of {printable(text, 60)!r} cannot be told apart in its text; use a fast tokenizer"
        )
    return [(0, 0)] * front + [
        (first + len(text[first:last]) - len(text[first:last].lstrip()), last) for first, last in ends
    ]


def with_other(prompt: str, spans: Sequence[Placed], others: Sequence[str]) -> str:
    """The prompt with another text in place of each span."""
    out = prompt
    for span, other in sorted(zip(spans, others, strict=True), key=lambda pair: -pair[0].start):
        out = out[: span.start] + other + out[span.stop :]
    return out


def _start(prompt: AuditPrompt, span: Span) -> int:
    """Where the span begins: at a whole word if the text is there as one."""
    text, at = prompt.prompt, -1
    starts = []
    while (at := text.find(span.text, at + 1)) >= 0:
        starts.append(at)
    whole = [at for at in starts if _is_whole(text, at, at + len(span.text))]
    listed = whole or starts
    if len(listed) < span.nth:
        n = len(listed)
        how = "is not in it" if not n else f"is in it {n} time{'s' if n > 1 else ''}, not {span.nth}"
        raise UsageError(
            f"prompt {prompt.id}, {printable(text, 60)!r}: {printable(span.text, 60)!r} {how}; write the text as it "
            "stands there"
        )
    return listed[span.nth - 1]


def _is_whole(text: str, start: int, stop: int) -> bool:
    before, after = text[start - 1 : start], text[stop : stop + 1]
    return not (before.isalnum() and text[start].isalnum()) and not (after.isalnum() and text[stop - 1].isalnum())
