"""The table of contrasts, `contrasts.json`: pairs of prompts whose answers differ, for pretrained models.

    python benchmarks/contrast_table.py MODEL    # how many of them count for this model, by kind

A contrast is a base prompt and a contrast prompt of as many tokens, each with the token that should come next. It
counts for a model where both prompts have the same length in its tokens and the model is right on both sides: in each
run it gives that run's own answer a higher probability than the other's. Half of each kind is for development, half for
the figures that are published.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from silverstain.cli.output import table
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, load_model
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText, validated

TABLE = Path(__file__).parent / "contrasts.json"
FORMAT = "silverstain.contrasts/1"
Split = Literal["development", "figures"]
SPLITS: tuple[Split, ...] = ("development", "figures")


class Contrast(FromOutside):
    """One row. Answers are text that goes on from the prompt, with its space in front where there is one."""

    kind: ShortText
    split: Split
    base: ShortText
    contrast: ShortText
    base_answer: ShortText
    contrast_answer: ShortText


class ContrastFile(FromOutside):
    about: ShortText
    """How the rows were written and chosen."""
    contrasts: list[Contrast]


@dataclass(frozen=True, kw_only=True)
class TokenContrast:
    """A contrast in the tokens of one model, as `LanguageModel.tokenize` makes them."""

    row: Contrast
    base: tuple[int, ...]
    contrast: tuple[int, ...]
    base_answer: int
    contrast_answer: int

    @property
    def has_equal_lengths(self) -> bool:
        return len(self.base) == len(self.contrast)

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which the prompts differ, where they are equally long."""
        return tuple(p for p, (b, c) in enumerate(zip(self.base, self.contrast, strict=True)) if b != c)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What the model says after one of the two prompts."""

    own: float
    """Probability of the answer of this prompt."""
    other: float
    """Probability of the answer of the other prompt."""
    is_first_choice: bool
    """No token is more probable than the own answer."""

    @property
    def is_right(self) -> bool:
        return self.own > self.other


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A contrast and what the model says on both sides of it."""

    tokens: TokenContrast
    base: Side
    contrast: Side

    @property
    def is_right(self) -> bool:
        """On both sides."""
        return self.base.is_right and self.contrast.is_right

    @property
    def is_first_choice(self) -> bool:
        """On both sides."""
        return self.base.is_first_choice and self.contrast.is_first_choice

    @property
    def counts(self) -> bool:
        return self.tokens.has_equal_lengths and self.is_right


def read_contrasts(path: Path = TABLE, split: Split | None = None) -> list[Contrast]:
    """The rows of a table, of one split if it is named; UsageError where two prompts or two answers are the same."""
    rows = validated(ContrastFile, read_json(path, FORMAT), path, "correct the row").contrasts
    seen: set[str] = set()
    for row in rows:
        for prompt in (row.base, row.contrast):
            if prompt in seen:
                raise UsageError(f"{path} has the prompt {printable(repr(prompt), 200)} twice; write another one")
            seen.add(prompt)
        if row.base_answer == row.contrast_answer:
            raise UsageError(
                f"{path}: both answers of {printable(repr(row.base), 200)} are {printable(repr(row.base_answer), 80)}; "
                "a contrast needs two"
            )
    return [row for row in rows if split is None or row.split == split]


def in_tokens(model: LanguageModel, row: Contrast) -> TokenContrast:
    """The row in the tokens of a model; an answer of several tokens is its first one."""
    return TokenContrast(
        row=row,
        base=tuple(model.tokenize(row.base)),
        contrast=tuple(model.tokenize(row.contrast)),
        base_answer=next_token(model, row.base, row.base_answer),
        contrast_answer=next_token(model, row.contrast, row.contrast_answer),
    )


def next_token(model: LanguageModel, prompt: str, answer: str) -> int:
    """The token that follows the prompt where the answer does; UsageError where the tokenizer joins the two."""
    before, whole = model.tokenize(prompt), model.tokenize(prompt + answer)
    if whole[: len(before)] != before or len(whole) == len(before):
        raise UsageError(
            f"{printable(repr(answer), 80)} does not begin a new token of {model.name} after "
            f"{printable(repr(prompt), 200)}; write the space of the answer in the answer"
        )
    return whole[len(before)]


def answered(model: LanguageModel, tokens: TokenContrast) -> Answered:
    """Run both prompts."""
    answers = (tokens.base_answer, tokens.contrast_answer)
    return Answered(
        tokens=tokens,
        base=_side(model, tokens.base, *answers),
        contrast=_side(model, tokens.contrast, *reversed(answers)),
    )


def contrasts_of(model: LanguageModel, split: Split | None = None, path: Path = TABLE) -> list[Answered]:
    """All rows of a split with what the model says to them; those with `counts` are the ones to measure on."""
    return [answered(model, in_tokens(model, row)) for row in read_contrasts(path, split)]


def _side(model: LanguageModel, prompt: Sequence[int], own: int, other: int) -> Side:
    with torch.no_grad():  # the logits of the last position alone: a vocabulary may have 262,144 rows
        logits = model.hf(
            input_ids=torch.tensor([prompt], device=model.device), use_cache=False, logits_to_keep=1
        ).logits
    probabilities = logits[0, -1].double().softmax(dim=-1)
    first = bool(probabilities[own] >= probabilities.max())
    return Side(own=float(probabilities[own]), other=float(probabilities[other]), is_first_choice=first)


def summary(found: Sequence[Answered]) -> str:
    """A table of how many rows there are, and how many count, by kind and by split."""
    kinds = dict.fromkeys(each.tokens.row.kind for each in found)
    rows = [
        ["kind", "rows", "equal lengths", "right on both sides", "first choice on both sides"],
        *([kind, *_counts(each for each in found if each.tokens.row.kind == kind)] for kind in kinds),
        [],
        *([split, *_counts(each for each in found if each.tokens.row.split == split)] for split in SPLITS),
        ["all", *_counts(found)],
    ]
    return table(rows, right=range(1, 5))


def _counts(found: Iterable[Answered]) -> list[str]:
    """Rows; those of equal lengths; of these the right ones; of these those whose answers are first choices."""
    every = list(found)
    equal = [each for each in every if each.tokens.has_equal_lengths]
    right = [each for each in equal if each.is_right]
    return [str(len(part)) for part in (every, equal, right, [each for each in right if each.is_first_choice])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder with a Hugging Face model, or its name on the hub")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(summary(contrasts_of(load_model(given.model))))
    except UsageError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
