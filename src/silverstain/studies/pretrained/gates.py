"""Whether a model can do a task at all: a study of one that cannot is not applicable, and has not failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from silverstain.models import LanguageModel
from silverstain.models.last_logits import last_logits
from silverstain.statistics import Share, share_of
from silverstain.studies.pretrained.pairs import TokenPair


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says to one prompt."""

    is_right: bool
    """One of the prompt's own answers is the likeliest of all answers of the family."""
    is_first: bool
    """… and of all tokens."""
    best: int
    """The likeliest of the prompt's own answers."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A pair, and what the model says to both prompts."""

    tokens: TokenPair
    base: Answer
    contrast: Answer

    @property
    def is_right(self) -> bool:
        """On both sides."""
        return self.base.is_right and self.contrast.is_right


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How often a model is right, each prompt counted once."""

    right: Share
    first_choice: Share


def answered(model: LanguageModel, pairs: Sequence[TokenPair]) -> list[Answered]:
    """Every prompt of some pairs asked once."""
    asked: dict[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for pair in pairs:
        asked.setdefault(pair.base, (pair.base_answers, pair.choices))
        asked.setdefault(pair.contrast, (pair.contrast_answers, pair.choices))
    said, prompts = {}, list(asked)
    for numbers, logits in last_logits(model, prompts):
        for prompt, row in zip([prompts[number] for number in numbers], logits, strict=True):
            answers, choices = asked[prompt]
            said[prompt] = Answer(
                is_right=is_right(row, answers, choices), is_first=int(row.argmax()) in answers,
                best=max(answers, key=lambda token, row=row: float(row[token])),
            )  # fmt: skip
    return [Answered(tokens=pair, base=said[pair.base], contrast=said[pair.contrast]) for pair in pairs]


def gate_of(found: Sequence[Answered]) -> Gate:
    """The share of prompts that are answered rightly."""
    by_prompt = {one.tokens.base: one.base for one in found} | {one.tokens.contrast: one.contrast for one in found}
    answers = list(by_prompt.values())
    return Gate(
        right=share_of(sum(one.is_right for one in answers), len(answers)),
        first_choice=share_of(sum(one.is_first for one in answers), len(answers)),
    )


def is_right(logits: Float[Tensor, " d_vocab"], answers: Sequence[int], choices: Sequence[int]) -> bool:
    """Whether the likeliest of the choices is one of the answers."""
    return choices[int(logits[list(choices)].argmax())] in answers
