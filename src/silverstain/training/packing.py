"""Documents as tokens, and tokens as contexts of one length with the positions that count."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, TokenBatch
from silverstain.models.beginning import bos_of, without_bos
from silverstain.training.documents import Document

MOST_UNKNOWN = 0.5
"""A tokenizer that knows less than this share of a text is of another language, or of another model."""


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How a model's text becomes contexts."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    d_vocab: int
    """Ids from here on are none of the model's."""
    n_real: int
    """Leading positions that keep their real MLP, and so do not count."""
    head: tuple[int, ...]
    """What stands at the head of every context: BOS, or nothing."""
    is_opened: bool
    """The tokenizer marks the beginning of each document by BOS."""
    between: tuple[int, ...]
    """What follows each document, for tokenizers that mark its beginning by nothing."""
    special: tuple[int, ...]
    """Tokens that are no text, and do not count."""
    pad: int

    @classmethod
    def of(cls, model: LanguageModel | PreTrainedTokenizerBase, *, bos: bool | None = None) -> "Spelling":
        """As the model, or a tokenizer alone, has it. `bos` None: BOS where there is one."""
        tokenizer: Any = model.tokenizer if isinstance(model, LanguageModel) else model
        first = bos_of(tokenizer)
        if bos and first is None:
            raise UsageError("the tokenizer has no BOS to put at the head of each context; leave it out (--no-bos)")
        is_headed = first is not None and bos is not False
        marks = list(tokenizer("", verbose=False)["input_ids"])
        end = tokenizer.eos_token_id
        special = {*tokenizer.all_special_ids, *marks}
        return cls(
            tokenizer=tokenizer,
            name=model.name if isinstance(model, LanguageModel) else tokenizer.name_or_path or "the tokenizer",
            d_vocab=model.d_vocab if isinstance(model, LanguageModel) else len(tokenizer),
            n_real=model.n_real if isinstance(model, LanguageModel) else 1,
            head=(first,) if is_headed and first is not None else (),
            is_opened=first is not None and first in marks,
            between=() if marks or end is None else (end,),
            special=tuple(sorted(special)),
            pad=0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )

    def encode(self, documents: Sequence[Document]) -> list[Int[np.ndarray, " _"]]:
        """The tokens of each document, with what the tokenizer itself puts around a text; ids given are left alone.

        UsageError for ids that are none of the model's, and for text of which most is unknown.
        """
        places = [place for place, document in enumerate(documents) if isinstance(document, str)]
        texts: Any = [documents[place] for place in places]
        encoded: list[Any] = list(documents)
        if texts:
            found = self.tokenizer(texts, verbose=False, return_attention_mask=False)["input_ids"]
            for place, ids in zip(places, found, strict=True):
                text = without_bos(self.tokenizer, ids)  # of several, written in the text and put, one is left
                encoded[place] = [*ids[: int(self.is_opened and len(text) < len(ids))], *text]
        rows = [np.array([*ids, *self.between], dtype=np.int64) for ids in encoded]
        self._check(rows)
        return rows

    def batch(self, rows: Sequence[Int[np.ndarray, " _"]]) -> TokenBatch:
        """Contexts as a batch, padded on the right where they are of several lengths."""
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self.pad, dtype=np.int64)
        is_real = np.zeros((len(rows), width), dtype=bool)
        for place, row in enumerate(rows):
            ids[place, : len(row)], is_real[place, : len(row)] = row, True
        token_ids = torch.from_numpy(ids)
        return TokenBatch(token_ids=token_ids, mask=torch.from_numpy(is_real) & self.counts(token_ids))

    def counts(self, token_ids: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        """Positions behind the leading ones whose tokens are text."""
        mask = ~torch.isin(token_ids, torch.tensor(self.special, dtype=torch.long))
        mask[:, : self.n_real] = False
        return mask

    def _check(self, rows: Sequence[Int[np.ndarray, " _"]]) -> None:
        line = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        if not len(line):
            return
        worst = int(line.max()) if int(line.min()) >= 0 else int(line.min())
        if not 0 <= worst < self.d_vocab:
            raise UsageError(
                f"the text has the token id {worst}, but the vocabulary of {self.name} ends at {self.d_vocab - 1}; "
                "tokens of another model cannot be read: give this model's own tokenizer, or text"
            )
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            return
        share = float((line == unknown).mean())
        if share > MOST_UNKNOWN:
            raise UsageError(
                f"{self.name} does not know {100 * share:.0f} % of the text's words; give text of its language, "
                "or the tokenizer that belongs to the model"
            )


def pieces(document: Document, most: int) -> Iterator[Document]:
    """A document in pieces of at most `most` characters (or tokens), cut where a line ends, or a word."""
    start = 0
    while start < len(document):
        end = min(start + most, len(document))
        if end < len(document) and isinstance(document, str):
            ends = (document.rfind(mark, start + 1, end) for mark in "\n ")
            end = next((place + 1 for place in ends if place > 0), end)
        yield document[start:end]
        start = end


def place_of(document: Document) -> float:
    """A number from 0 to 1 that is the document's own, wherever and whenever it is read: who is held out is below."""
    data = document.encode("utf-8", "surrogatepass") if isinstance(document, str) else repr(document).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2**64


def contexts_of(
    line: Int[np.ndarray, " token"], context: int, head: tuple[int, ...], *, is_opened: bool = False
) -> tuple[Int[np.ndarray, "row context"], Int[np.ndarray, " left"]]:
    """A line of tokens cut into contexts, each behind `head`, and the tokens left at its end.

    `is_opened`: documents in the line begin with `head` themselves; where a cut falls just before one, it is not said
    twice.
    """
    width, starts, at = context - len(head), [], 0
    while True:
        while is_opened and head and tuple(line[at : at + len(head)].tolist()) == head:
            at += len(head)
        if at + width > len(line):
            break
        starts.append(at)
        at += width
    body = line[np.array(starts, dtype=np.int64)[:, None] + np.arange(width)]
    heads = np.broadcast_to(np.array(head, dtype=np.int64), (len(starts), len(head)))
    return np.concatenate([heads, body], axis=1), line[at:]
