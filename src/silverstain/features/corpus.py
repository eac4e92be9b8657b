"""The text over which features are described: tokens, words, and what is known about each sentence.

The corpus consists of sequences of token ids, which positions count, and, where somebody knows them, the hidden values
of a sentence (state=texas), which the caller provides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from silverstain.brief import brief
from silverstain.errors import UsageError

CONTINUES = "…"
"""Ends the name of a word of which only the first pieces have been read: dal… at the first piece of dallas."""


@brief
class Sample(NamedTuple):
    """One sentence as the caller gives it; a plain tuple (token_ids, mask, variables) does as well."""

    token_ids: Sequence[int]
    mask: Sequence[bool] | None = None
    """Positions that count; None: all but the leading ones that keep their real MLP."""
    variables: Mapping[str, str] | None = None
    """Hidden values that hold for the sentence, such as {"state": "texas"}."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All sentences end to end; a place is an index into this one sequence of tokens."""

    token_ids: Int[np.ndarray, " place"]
    sentence: Int[np.ndarray, " place"]
    """Which sentence a token is in."""
    counted: Bool[np.ndarray, " place"]
    starts: Int[np.ndarray, " sentence_plus_one"]
    variables: tuple[Mapping[str, str], ...]
    """One mapping a sentence."""

    @property
    def n_places(self) -> int:
        return len(self.token_ids)

    @property
    def n_sentences(self) -> int:
        return len(self.variables)

    def ids_of(self, sentence: int) -> Int[np.ndarray, " pos"]:
        return self.token_ids[self.starts[sentence] : self.starts[sentence + 1]]


def gather_corpus(
    samples: Iterable[Sample | tuple[Sequence[int], Sequence[bool] | None, Mapping[str, str] | None]],
    *,
    n_real: int = 1,
) -> Corpus:
    """Concatenate the samples; UsageError when there is none or a mask has another length than its tokens."""
    ids: list[np.ndarray] = []
    counted: list[np.ndarray] = []
    variables: list[Mapping[str, str]] = []
    for sample in samples:
        token_ids, mask, values = sample
        row = np.asarray(token_ids, dtype=np.int64).reshape(-1)
        keep = np.arange(len(row)) >= n_real if mask is None else np.asarray(mask, dtype=bool).reshape(-1)
        if len(keep) != len(row):
            raise UsageError(
                f"Sample {len(ids)} has {len(row)} tokens but a mask of {len(keep)}; give one truth value a token."
            )
        ids.append(row)
        counted.append(keep & (np.arange(len(row)) >= n_real))
        variables.append(dict(values or {}))
    if not ids:
        raise UsageError("The corpus is empty; feature cards need at least one sentence.")
    lengths = np.array([len(row) for row in ids])
    return Corpus(
        token_ids=np.concatenate(ids),
        sentence=np.repeat(np.arange(len(ids)), lengths),
        counted=np.concatenate(counted),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        variables=tuple(variables),
    )


class Words(NamedTuple):
    """The words of a corpus, seen from each of its places."""

    current: list[str]
    """The word up to and including this token: dal…, then dallas."""
    following: list[str | None]
    """What comes next: the whole next word, or the next piece (##las) inside one; None at the end of a sentence."""
    starts: Bool[np.ndarray, " place"]
    """Whether a word begins here."""


def words_of(corpus: Corpus, pieces: Sequence[str]) -> Words:
    """Join the pieces of each word; `pieces` are the token strings of every place.

    Three spellings are known: ## before a continuation (WordPiece), Ġ or ▁ or a space before a beginning (BPE,
    SentencePiece), and neither, where every token is a word.
    """
    starts = word_starts(pieces)
    starts[corpus.starts[:-1]] = True
    ends = np.append(starts[1:], True)
    current: list[str] = []
    whole: list[str] = [""] * corpus.n_places
    word, first = "", 0
    for place, piece in enumerate(pieces):
        plain = _plain(piece)
        if starts[place]:
            word, first = plain, place
        else:
            word += plain
        current.append(word if ends[place] else word + CONTINUES)
        whole[first] = word
    last_of_sentence = np.zeros(corpus.n_places, dtype=bool)
    last_of_sentence[corpus.starts[1:] - 1] = True
    following = [
        None if last_of_sentence[place] else whole[place + 1] if starts[place + 1] else pieces[place + 1]
        for place in range(corpus.n_places)
    ]
    return Words(current=current, following=following, starts=starts)


def word_starts(pieces: Sequence[str]) -> Bool[np.ndarray, " place"]:
    """Whether a word begins at each piece."""
    if any(piece.startswith("##") for piece in pieces):
        return np.array([not piece.startswith("##") for piece in pieces], dtype=bool)
    marked = np.array([piece[:1] in ("Ġ", "▁", " ") for piece in pieces], dtype=bool)
    # A sign or a special token after a word is a word of its own, with or without a mark.
    alone = np.array([not any(letter.isalnum() for letter in piece) for piece in pieces], dtype=bool)
    after_alone = np.concatenate([[True], alone[:-1]])
    return marked | alone | after_alone if marked.any() else np.ones(len(pieces), dtype=bool)


def _plain(piece: str) -> str:
    return piece.removeprefix("##").lstrip("Ġ▁ ") or piece
