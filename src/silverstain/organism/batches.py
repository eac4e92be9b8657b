"""Sentences as padded token batches, mixed over families by how much each still has to teach."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .families import Family
from .language import word_ids
from .sentence import Sentence

PAD_ID, BOS_ID = 0, 1
ALL_BLOCKS = 1_000
"""More than any organism has."""


@dataclass(frozen=True, kw_only=True)
class SentenceBatch:
    """Sentences as tokens.

    Attributes:
        token_ids: [sentence, pos], starting with <bos>, padded on the right with <pad>.
        real: [sentence, pos] True where there is a token rather than padding.
        determined: [sentence, pos] True where the token itself is determined by those before it.
        family: [sentence] index into `names`.
        names: Families by index.
        veiled: [sentence, pos, pos] In how many blocks, from the first on, a position does not see another (last) that
            is before it; None where all see all before them.
        early: What must be known early on, and where: (sentence, position, token, behind how many blocks) of each.
    """

    token_ids: Tensor
    real: Tensor
    determined: Tensor
    family: Tensor
    names: tuple[str, ...]
    veiled: Tensor | None = None
    early: tuple[tuple[int, int, int, int], ...] = ()

    def sees(self, block: int) -> Tensor | None:
        """[sentence, pos, pos] Which positions (last) each may attend to in a block; None where it is all before it."""
        if self.veiled is None:
            return None
        return (self.veiled <= block).tril()


def tokens_of(sentence: Sentence) -> tuple[list[int], list[bool]]:
    """Token ids of a sentence after <bos>, and whether each is determined."""
    ids, determined = [BOS_ID], [False]
    for word, is_determined in zip(sentence.words, sentence.determined, strict=True):
        pieces = word_ids(word)
        ids.extend(pieces)
        determined.extend([is_determined] * len(pieces))
    return ids, determined


def batch_of(sentences: Sequence[Sentence], names: Sequence[str]) -> SentenceBatch:
    rows = [tokens_of(sentence) for sentence in sentences]
    width = max(len(ids) for ids, _ in rows)
    token_ids = torch.full((len(rows), width), PAD_ID)
    determined = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (ids, marks) in enumerate(rows):
        token_ids[row, : len(ids)] = torch.tensor(ids)
        determined[row, : len(marks)] = torch.tensor(marks)
    family = torch.tensor([names.index(sentence.family) for sentence in sentences])
    return SentenceBatch(
        token_ids=token_ids, real=token_ids != PAD_ID, determined=determined, family=family, names=tuple(names),
        veiled=_veiled(sentences, width),
        early=tuple(
            (row, position_of(sentence, place + 1) - 1, word_ids(says)[0], blocks)
            for row, sentence in enumerate(sentences) for place, says, blocks in sentence.early
        ),
    )  # fmt: skip


def _veiled(sentences: Sequence[Sentence], width: int) -> Tensor | None:
    """In how many blocks a position does not see another: 0 where nothing is veiled from it."""
    if all(sentence.veil is None for sentence in sentences):
        return None
    veiled = torch.zeros(len(sentences), width, width, dtype=torch.int32)
    for row, sentence in enumerate(sentences):
        if sentence.veil is not None:
            first, end, start = (position_of(sentence, word) for word in sentence.veil[:3])
            veiled[row, start:, first:end] = ALL_BLOCKS if sentence.veil.blocks is None else sentence.veil.blocks
    return veiled


def position_of(sentence: Sentence, word: int) -> int:
    """The position of the first token of a word."""
    return 1 + sum(len(word_ids(other)) for other in sentence.words[:word])


def mixed(families: Mapping[str, Family], shares: Mapping[str, float], n: int, rng: random.Random) -> list[Sentence]:
    """`n` sentences, families drawn by their shares."""
    names = list(shares)
    drawn = rng.choices(names, [shares[name] for name in names], k=n)
    return [families[name].sample(rng) for name in drawn]


def by_length(sentences: Sequence[Sentence], n_groups: int) -> Iterator[list[Sentence]]:
    """The sentences in groups of like length, so that little is padded."""
    ordered = sorted(sentences, key=lambda s: len(s.words))
    size = -(-len(ordered) // n_groups)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
