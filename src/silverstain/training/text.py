"""Text of the user's as batches: an endless iterator to train on, and a slice held out of it.

Documents are cut into pieces of a few pages, or less where no such piece of a short text would be held out. A piece is
held out by a hash of its own text, so the slice is the same whatever the order, the machine or the number of files, and
two copies of a text are on one side. Every epoch takes the units of the source in another order; pieces are shuffled
over blocks of a few megabytes, packed to contexts, and the contexts shuffled once more. What comes n-th depends on the
source and the seed alone.
"""

import itertools
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.documents import FIELD, Document, Documents, open_documents
from silverstain.training.packing import Spelling, contexts_of, pieces, place_of

BLOCK = 1 << 22
"""Characters (or tokens) over which pieces are shuffled: what a 16 MB text loses by it is nothing, and no more than a
million tokens are held in memory however large the source is."""
PIECES = (8192, 2048, 512)
"""Characters (or tokens) of a piece at most; one that is not the first is for texts of which nothing were held out."""
CONTEXT = 256
BATCH = 16
HELD_OUT = 0.05
FEWEST_WORDS = 1000
"""Tokens of a vocabulary that has words, and not letters or bytes alone."""
MOST_PIECES = 1 / 3
"""Tokens a byte of UTF-8 of a text whose script a tokenizer knows: 0.2 of English in GPT-2 and of Chinese in Qwen; in
SmolLM2, made for English, 0.37 to 0.6 of Russian, Greek and Chinese."""

Row = Int[np.ndarray, " context"]


class TextBatches:
    """The two sides of a source of text."""

    def __init__(
        self, documents: Documents, spelling: Spelling, *, context: int, batch: int, seed: int, held_out_share: float
    ) -> None:
        self.documents, self.spelling = documents, spelling
        self.context, self.batch, self.seed, self.held_out_share = context, batch, seed, held_out_share
        self.contexts_an_epoch: int | None = None
        """Known once an epoch has been read: the same in all, as what is left at an epoch's end is let go."""

    def n_tokens(self, sample: TokenBatch) -> int | None:
        """About how many tokens there are to train on, at a batch's bytes a token; None where the size is not known."""
        if self.documents.n_bytes is None:
            return None
        ids = [row[here] for row, here in zip(sample.token_ids.cpu(), sample.mask.cpu(), strict=True)]
        n_bytes = sum(len(str(self.spelling.tokenizer.decode(row.tolist())).encode("utf-8", "replace")) for row in ids)
        share = (1 - self.held_out_share) * self.documents.n_bytes / max(1, n_bytes)
        return round(share * sum(len(row) for row in ids))

    def training(self) -> "TextIterator":
        """Batches without end, the same again whenever it is called."""
        return TextIterator(self)

    def held_out(self, n_tokens: int) -> list[TokenBatch]:
        """Batches that training never shows, with `n_tokens` positions that count, or as many as there are.

        UsageError when there is none.
        """
        batches, n, rows = [], 0, self._held_out_rows()
        while n < n_tokens and (chosen := list(itertools.islice(rows, self.batch))):
            batches.append(self.spelling.batch(chosen))
            n += batches[-1].n_tokens
        if not n:
            self._check_has_text()
            n_pieces = sum(1 for _ in self._pieces(range(len(self.documents.units)), held_out=False))
            raise UsageError(
                f"no piece of {self.documents.name} falls into the held-out {100 * self.held_out_share:.3g} %; give "
                f"more text, or texts as rows of JSONL, or raise the share (--held-out): each of its {n_pieces:,} "
                f"pieces of up to {self.piece_length:,} characters has that chance, by a hash of its text"
            )
        return batches

    @cached_property
    def piece_length(self) -> int:
        """Characters (or tokens) of a piece at most: the greatest of PIECES of which one is held out.

        The same for both sides, so that none has a part of what the other has. A source of more than a block is not
        read for it.
        """
        for most in PIECES if self.held_out_share else ():
            size = 0
            for piece in self._cut(range(len(self.documents.units)), most):
                size += len(piece)
                if size > BLOCK or self._is_held_out(piece):
                    return most
        return PIECES[-1] if self.held_out_share else PIECES[0]

    def _check_has_text(self) -> None:
        if next(self._pieces(range(len(self.documents.units)), held_out=False), None) is None:
            raise UsageError(f"there is no text in {self.documents.name}; give a file or a folder that has some")

    def rows(self, start: int) -> Iterator[Row]:
        """The contexts of training from number `start` on, over all epochs."""
        epoch, number = 0, 0
        while True:
            known = self.contexts_an_epoch
            if known and start - number >= known:  # a whole epoch is passed over without reading it
                skipped = (start - number) // known
                epoch, number = epoch + skipped, number + skipped * known
            began = number
            for row in self._epoch(epoch):
                if number >= start:
                    yield row
                number += 1
            self._note(number - began)
            epoch += 1

    def once(self) -> Iterator[Row]:
        """All contexts of the source once, whatever is held out, in an order that the seed decides, and what is left at
        the end in one that is shorter. UsageError where there is no text."""
        rng = np.random.default_rng((self.seed, 0))
        left, n = np.zeros(0, dtype=np.int64), 0
        order = rng.permutation(len(self.documents.units))
        for block in _blocks(self._cut(order, PIECES[0])):
            rng.shuffle(block)
            line = np.concatenate([left, *self.spelling.encode(block)])
            rows, left = contexts_of(line, self.context, self.spelling.head, is_opened=self.spelling.is_opened)
            n += len(rows)
            yield from rows
        if len(left):
            n += 1
            yield np.concatenate([np.array(self.spelling.head, dtype=np.int64), left])
        if not n:
            self._check_has_text()

    def _epoch(self, epoch: int) -> Iterator[Row]:
        """The contexts of one epoch; tokens that fill no context go on into the next block's."""
        rng = np.random.default_rng((self.seed, epoch))
        left = np.zeros(0, dtype=np.int64)
        for block in _blocks(self._pieces(rng.permutation(len(self.documents.units)), held_out=False)):
            rng.shuffle(block)
            line = np.concatenate([left, *self.spelling.encode(block)])
            rows, left = contexts_of(line, self.context, self.spelling.head, is_opened=self.spelling.is_opened)
            yield from rng.permutation(rows)

    def _held_out_rows(self) -> Iterator[Row]:
        """Contexts of the held-out pieces, from all over the source, and what is left in one that is shorter."""
        order = np.random.default_rng(0).permutation(len(self.documents.units))
        left = np.zeros(0, dtype=np.int64)
        for piece in self._pieces(order, held_out=True):
            line = np.concatenate([left, *self.spelling.encode([piece])])
            rows, left = contexts_of(line, self.context, self.spelling.head, is_opened=self.spelling.is_opened)
            yield from rows
        if len(left) > 1:
            yield np.concatenate([np.array(self.spelling.head, dtype=np.int64), left])

    def _pieces(self, order: Any, *, held_out: bool) -> Iterator[Document]:
        return (piece for piece in self._cut(order, self.piece_length) if self._is_held_out(piece) == held_out)

    def _cut(self, order: Any, most: int) -> Iterator[Document]:
        for unit in order:
            for document in self.documents.units[unit]():
                yield from pieces(document, most)

    def _is_held_out(self, piece: Document) -> bool:
        return place_of(piece) < self.held_out_share

    def _note(self, n_contexts: int) -> None:
        """Remember how long an epoch is; UsageError when it is nothing to train on."""
        if n_contexts < self.batch:
            seen = n_contexts * (self.context - len(self.spelling.head))
            raise UsageError(
                f"{self.documents.name} has fewer than {seen + self.context:,} tokens to train on; "
                f"{self.batch * self.context:,} are needed for one batch, and a million for a dictionary of use: "
                "give more text, or lower --context or --batch"
            )
        self.contexts_an_epoch = n_contexts


class TextIterator:
    """Batches of training text without end; passing over some reads at most an epoch of them."""

    def __init__(self, source: TextBatches) -> None:
        self._source, self._rows, self._n_drawn = source, source.rows(0), 0

    def __iter__(self) -> "TextIterator":
        return self

    def __next__(self) -> TokenBatch:
        self._n_drawn += 1
        return self._source.spelling.batch(list(itertools.islice(self._rows, self._source.batch)))

    def skip(self, n: int) -> None:
        """Pass over `n` batches."""
        self._n_drawn += n
        self._rows = self._source.rows(self._n_drawn * self._source.batch)


def text_batches(
    model: LanguageModel | PreTrainedTokenizerBase,
    source: object,
    *,
    context: int = CONTEXT,
    batch: int = BATCH,
    bos: bool | None = None,
    seed: int = 0,
    held_out_share: float = HELD_OUT,
    field: str = FIELD,
) -> TextBatches:
    """Batches of `batch` contexts of `context` tokens, of text from `source`.

    `source` is a path or several (files of text, JSONL or Parquet, or folders of them), a `datasets` dataset
    (streaming too), or any iterable of texts or rows that can be read again; `field` names the text in a row. Each
    context begins with BOS where the tokenizer has one (`bos` None), always or never. BOS and other special tokens
    and the leading positions that keep their real MLP do not count. UsageError for what cannot be read or does not
    fit the model.
    """
    spelling = Spelling.of(model, bos=bos)
    longest = model.max_positions if isinstance(model, LanguageModel) else context
    if not len(spelling.head) + spelling.n_real < context <= longest:
        least = len(spelling.head) + spelling.n_real + 1
        raise UsageError(f"a context of {context} tokens does not fit {spelling.name}; give {least} to {longest}")
    if batch < 1:
        raise UsageError(f"a batch of {batch} contexts trains nothing; give at least 1")
    if not 0 <= held_out_share < 1:
        raise UsageError(f"the share held out is {held_out_share}; give a share from 0 up to, not including, 1")
    documents = open_documents(source, field=field)
    return TextBatches(documents, spelling, context=context, batch=batch, seed=seed, held_out_share=held_out_share)


@torch.no_grad()
def check_understands(model: LanguageModel, batch: TokenBatch) -> None:
    """UsageError when the model finds a text no likelier than chance: its tokens then mean something else to it."""
    ids = batch.token_ids.to(model.device)
    here = batch.mask[:, 1:].to(model.device)
    surprise = float(F.cross_entropy(model.logits(ids)[:, :-1][here].float(), ids[:, 1:][here]))
    chance = math.log(model.d_vocab)
    if not surprise < chance:
        raise UsageError(
            f"{model.name} finds this text no likelier than chance ({surprise:.2f} nats a token, chance is "
            f"{chance:.2f}): the tokenizer is another model's, or the model is untrained; give the model's own "
            "tokenizer, or train all the same with --no-check-text"
        )


def check_script(spelling: Spelling, batch: TokenBatch) -> None:
    """UsageError when most letters of a text are of a script that the tokenizer has no words of, only parts of letters.

    Tokenizers of few tokens, which spell everything so, are not asked.
    """
    if spelling.d_vocab < FEWEST_WORDS:
        return
    ids = [int(token) for token in batch.token_ids[batch.mask] if int(token) not in spelling.special]
    text = str(spelling.tokenizer.decode(ids))
    letters = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    other = sum(n for script, n in letters.items() if script != "LATIN")
    pieces_a_byte = len(ids) / max(1, len(text.encode("utf-8", "replace")))
    if 2 * other > letters.total() and pieces_a_byte > MOST_PIECES:
        script = max(letters, key=lambda script: letters[script] if script != "LATIN" else 0)
        raise UsageError(
            f"{spelling.name} has no words for this text and spells it in parts of letters ({len(ids) / len(text):.1f} "
            f"tokens a character; most letters are {script}): it was trained on another script; give text in one that "
            "it knows, or train all the same with --no-check-text"
        )


def _blocks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Documents gathered until they make a block."""
    block, size = [], 0
    for document in documents:
        block.append(document)
        size += len(document)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
