"""What is kept of a source's documents: nothing that was said before, nothing too short, and no more than its share."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONG_LINE = 30
"""Characters from which on a line that was there before is dropped: shorter ones are headings and code."""
SHORTEST = 200
"""Characters of a document at least."""
NEW_SHARE = 0.5
"""Of a document's characters: where less is new, what is left is shreds of a copy, and all of it goes."""
LETTERS = 0.5
"""Share of letters and spaces in a document at least: below it is a table of numbers."""
SHORT_SHARE = 0.5
"""Of a document's characters in lines that are not long: above it is a list of names, or a table."""
EDGE_LINES, EDGE_SHARE, FEWEST = 6, 0.3, 10
"""A line that stands among the first or last lines of so great a share of the documents is part of a frame, where there
are documents enough to tell."""
_LETTER = re.compile(r"[^\W\d_]|[ \n]")
_MANY_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, kw_only=True)
class Document:
    """Attributes:
    name: The file of the package, and where that is several documents, their number.
    """

    name: str
    text: str

    @property
    def words(self) -> int:
        """What stands between spaces."""
        return len(self.text.split())


def cleaned(found: Iterable[tuple[str, str]], *, most_characters: int) -> list[Document]:
    """The documents worth keeping, in the order of their names' hashes while there is room, then in the order they had.

    So a source that is cut is cut all over, and the same documents are taken wherever it is fetched.
    """
    kept, seen = [], set[int]()
    documents = list(found)
    frame = _frame([text for _, text in documents])
    for name, text in documents:
        text = _without_repeats(_unframed(text, frame), seen)
        if len(text) >= SHORTEST and _is_text(text):
            kept.append(Document(name=name, text=text))
    left = most_characters
    taken = set[str]()
    for document in sorted(kept, key=lambda document: hashlib.sha256(document.name.encode()).digest()):
        if len(document.text) <= left:
            taken.add(document.name)
            left -= len(document.text)
    return [document for document in kept if document.name in taken]


def _is_text(text: str) -> bool:
    """Whether most of it is letters, in lines of some length."""
    in_short_lines = sum(len(line) for line in text.split("\n") if len(line.strip()) < LONG_LINE)
    return len(_LETTER.findall(text)) >= LETTERS * len(text) and in_short_lines <= SHORT_SHARE * len(text)


def _frame(texts: Sequence[str]) -> set[str]:
    """Lines that most documents of a source begin or end with."""
    if len(texts) < FEWEST:
        return set()
    counts = Counter[str]()
    for text in texts:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        counts.update({*lines[:EDGE_LINES], *lines[-EDGE_LINES:]})
    return {line for line, n in counts.items() if n >= EDGE_SHARE * len(texts)}


def _unframed(text: str, frame: set[str]) -> str:
    """A document without the lines of the frame at its beginning and end."""
    lines = text.split("\n")
    while lines and (not lines[0].strip() or lines[0].strip() in frame):
        lines.pop(0)
    while lines and (not lines[-1].strip() or lines[-1].strip() in frame):
        lines.pop()
    return "\n".join(lines)


def _without_repeats(text: str, seen: set[int]) -> str:
    """A document without long lines that are in `seen`, to which its own are added; "" where little else is left."""
    lines, size, old = [], 0, 0
    for line in text.split("\n"):
        said = line.strip()
        size += len(said)
        if len(said) >= LONG_LINE:
            mark = hash(said)
            if mark in seen:
                old += len(said)
                continue
            seen.add(mark)
        lines.append(line.rstrip())
    return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip() if size - old >= NEW_SHARE * size else ""
