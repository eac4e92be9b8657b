"""The words of a prompt, whole where the tokenizer splits them, each with a name of its own."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from silverstain.features.corpus import word_starts
from silverstain.pieces import CONTINUES, whole, word_spans
from silverstain.printable import printable

LONGEST_WORD = 12
"""Letters of a word in a label."""


class PromptWords:
    """Which word each position belongs to, and what it is called: the second *the* of a prompt is the *2nd the*."""

    def __init__(self, tokens: Sequence[str]) -> None:
        tokens = list(tokens)
        cut = {at for span in word_spans(tokens) for at in span[1:]}  # inside of a split character
        begins = word_starts(tokens).tolist() if tokens else []
        starts = [at for at, is_start in enumerate(begins) if at == 0 or (is_start and at not in cut)]
        self.spans = [range(a, b) for a, b in pairwise([*starts, len(tokens)])]
        self.of_position = [word for word, span in enumerate(self.spans) for _ in span]
        texts = [named(tokens[span.start : span.stop]) for span in self.spans]
        times, self.names = Counter[str](), list[str]()
        for text in texts:
            times[text] += 1
            self.names.append(text if times[text] == 1 else f"{_ordinal(times[text])} {text}")

    def __len__(self) -> int:
        return len(self.spans)

    def at(self, position: int) -> int:
        """The word at a position; -1 outside of the prompt."""
        return self.of_position[position] if 0 <= position < len(self.of_position) else -1


def named(pieces: Sequence[str]) -> str:
    """A word as a label has it: without marks and blanks around it, cut where it is long."""
    text = whole([piece.removeprefix(CONTINUES).lstrip("Ġ▁") for piece in pieces])
    text = printable(text.strip() or f"'{text}'", 4 * LONGEST_WORD)
    return text if len(text) <= LONGEST_WORD else text[: LONGEST_WORD - 1] + "…"


def _ordinal(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
