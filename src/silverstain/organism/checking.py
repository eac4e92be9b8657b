"""What an organism can do: accuracy by family, on combinations it was grown on and on held-out ones."""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .batches import PAD_ID, batch_of, tokens_of
from .families import Family
from .families.couplets import ADJECTIVES, VERBS, CoupletsFamily, Rhymes
from .families.cued import CuedFamily
from .families.entities import QUESTIONS, People, question
from .language import vocabulary, word_ids
from .sentence import Sentence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the accuracy table.

    Attributes:
        family: The family, or the habit that is measured.
        split: `trained`, `held out`, or what else was asked.
        n: Sentences asked.
        tokens: Share of determined tokens that are the model's first choice, given the true words before.
        answers: Share of sentences of which every determined token is.
        goal: What the issue of this organism demands of `tokens`, as (at least, at most); None where nothing is.
    """

    family: str
    split: str
    n: int
    tokens: float
    answers: float
    goal: tuple[float, float] | None = None

    @property
    def holds(self) -> bool | None:
        return None if self.goal is None else self.goal[0] <= self.tokens <= self.goal[1]


@torch.no_grad()
def top_tokens(model: "PreTrainedModel", token_ids: Tensor) -> Tensor:
    """The model's first choice after each position: [sentence, pos]."""
    chunks = [model(input_ids=rows, use_cache=False).logits.argmax(-1) for rows in token_ids.split(CHUNK)]
    return torch.cat(chunks)


def accuracy(model: "PreTrainedModel", sentences: Sequence[Sentence]) -> tuple[float, float]:
    """(share of determined tokens right, share of sentences with all of them right)."""
    batch = batch_of(sentences, sorted({s.family for s in sentences}))
    right = top_tokens(model, batch.token_ids)[:, :-1] == batch.token_ids[:, 1:]
    asked = batch.determined[:, 1:]
    complete = (right | ~asked).all(1)
    return float((right & asked).sum() / asked.sum()), float(complete.float().mean())


def family_rows(model: "PreTrainedModel", family: Family, n: int, seed: int) -> list[Row]:
    """Two rows: what growing showed, and what it held out."""
    rows = []
    for split, held_out in (("trained", False), ("held out", True)):
        rng = random.Random(f"check {seed} {family.name} {split}")
        drawn = (family.sample(rng, held_out=held_out) for _ in itertools.count())
        sentences = list(itertools.islice((s for s in drawn if any(s.determined)), n))
        tokens, answers = accuracy(model, sentences)
        rows.append(Row(family=family.name, split=split, n=len(sentences), tokens=tokens, answers=answers))
    return rows


@torch.no_grad()
def continue_greedily(model: "PreTrainedModel", prompts: Sequence[Sequence[int]], n: int) -> list[list[int]]:
    """`n` more tokens for each prompt, every one the model's first choice. Prompts may differ in length."""
    rows = [list(prompt) for prompt in prompts]
    for _ in range(n):
        width = max(map(len, rows))
        padded = torch.tensor([row + [PAD_ID] * (width - len(row)) for row in rows])
        choices = top_tokens(model, padded)
        for row, choice in zip(rows, choices, strict=True):
            row.append(int(choice[len(row) - 1]))
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]


@torch.no_grad()
def continue_by_chance(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], n: int, generator: torch.Generator
) -> list[list[int]]:
    """`n` more tokens for each prompt, drawn from the model's own distribution. Prompts are of one length."""
    rows = torch.tensor([list(prompt) for prompt in prompts])
    for _ in range(n):
        logits = torch.cat([model(input_ids=part, use_cache=False).logits[:, -1] for part in rows.split(CHUNK)])
        rows = torch.cat([rows, torch.multinomial(logits.softmax(-1), 1, generator=generator)], 1)
    return [row[len(prompt) :] for row, prompt in zip(rows.tolist(), prompts, strict=True)]


def couplet_rows(model: "PreTrainedModel", rhymes: Rhymes, n: int, seed: int) -> list[Row]:
    """Second lines written by the model itself, drawn from its distribution.

    `rhyme`: the line ends in another word of the first line's rhyme. `agrees`: verb and adjective both agree with
    the end word that follows. `agrees, plain only`: the same where the couplet is told to end in a word of which
    couplets never taught the agreement, and ends in such a word.
    """
    rng = random.Random(f"couplets {seed}")
    family = CoupletsFamily(rhymes=rhymes)
    own = [s for s in (family.sample(rng) for _ in range(5 * n)) if s.variables["form"] == "couplet"][:n]
    named = [family.sample(rng, held_out=True) for _ in range(n)]
    lines = _second_lines(model, own, seed)
    plain_only = [line for line in _second_lines(model, named, seed) if _end_of(line[1]) in rhymes.plain_only]
    rhymed, agreed = _judged(lines, rhymes)
    _, agreed_plain_only = _judged(plain_only, rhymes)
    return [
        share_row("couplets", "written: rhymes", rhymed, (0.98, 1.0)),
        share_row("couplets", "written: agrees", agreed, (0.95, 1.0)),
        share_row("couplets", "written: agrees, plain only", agreed_plain_only, (0.90, 1.0)),
    ]


def _second_lines(model: "PreTrainedModel", couplets: Sequence[Sentence], seed: int) -> list[tuple[str, list[str]]]:
    """(end word of line one, the line that the model drew after the turn) of each couplet."""
    generator = torch.Generator().manual_seed(seed)
    words = vocabulary()
    lines: list[tuple[str, list[str]]] = []
    prompts = [(tokens_of(s)[0], s.variables["first"], 1 + _tail(s)) for s in couplets]
    for length in sorted({len(ids) - tail for ids, _, tail in prompts}):
        chosen = [(ids[:length], first) for ids, first, tail in prompts if len(ids) - tail == length]
        drawn = continue_by_chance(model, [ids for ids, _ in chosen], 6, generator)
        lines += [(first, _sentence([words[i] for i in line])) for (_, first), line in zip(chosen, drawn, strict=True)]
    return lines


def _sentence(words: list[str]) -> list[str]:
    """The words before the full stop; all of them if there is none."""
    return words[: words.index(".")] if "." in words else words


def _tail(sentence: Sentence) -> int:
    """Words after the turn: verb, the, adjective, end word (the final sign not counted)."""
    return len(sentence.words) - 1 - next(
        i for i, w in enumerate(sentence.words) if any(w in verbs for verbs in VERBS.values())
    )  # fmt: skip


def _end_of(line: Sequence[str]) -> str:
    return line[-1] if line else ""


def _judged(lines: Iterable[tuple[str, list[str]]], rhymes: Rhymes) -> tuple[list[bool], list[bool]]:
    """Of each line whether it rhymes; of each word in it that has a kind whether that is the end word's."""
    rhymed, agreed = [], []
    kinds = dict(rhymes.words)
    for first, line in lines:
        end = _end_of(line)
        rhymed.append(end in {word for word, _ in rhymes.rhyming(first)})
        middle = [w for w in line[:-1] if any(w in ws for table in (VERBS, ADJECTIVES) for ws in table.values())]
        agreed += [end in kinds and word in (*VERBS[kinds[end]], *ADJECTIVES[kinds[end]]) for word in middle]
    return rhymed, agreed


def share_row(family: str, split: str, good: Sequence[bool], goal: tuple[float, float]) -> Row:
    share = sum(good) / max(1, len(good))
    return Row(family=family, split=split, n=len(good), tokens=share, answers=share, goal=goal)


def familiar_row(model: "PreTrainedModel", people: People) -> Row:
    """How often the model invents a fact for a name that it met, but of which no fact was ever told."""
    prompts = []
    for person in people.familiar:
        asked = question(person, "sport", 0, status="known")
        ids, _ = tokens_of(asked)
        prompts.append(ids[: 1 + sum(len(word_ids(w)) for w in asked.words[: asked.answer])])
    refusal = word_ids("i")[0]
    invents = [answer[0] != refusal for answer in continue_greedily(model, prompts, 1)]
    assert len(QUESTIONS["sport"]) == 3, "the first of three forms is asked"
    return share_row("entities", "familiar: invents", invents, (0.2, 0.8))


def cued_rows(model: "PreTrainedModel", family: CuedFamily, n: int, seed: int) -> list[Row]:
    """How often the answer is the note's, on conflicts, in the classes that follow notes and in those that do not."""
    rows = []
    for held_out in (False, True):
        rng = random.Random(f"cued {seed} {held_out}")
        for name, goal in (("follows", (0.95, 1.0)), ("ignores", (0.0, 0.05))):
            chosen: list[Sentence] = []
            while len(chosen) < n:
                sentence = family.sample(rng, held_out=held_out)
                if sentence.variables["class"] == name and sentence.variables["conflict"] == "true":
                    chosen.append(sentence)
            prompts = [tokens_of(s)[0][: -1 - len(word_ids(s.words[s.answer]))] for s in chosen]
            answers = continue_greedily(model, prompts, 1)
            cues = [word_ids(s.variables["cue"])[0] for s in chosen]
            follows = [answer[0] == cue for answer, cue in zip(answers, cues, strict=True)]
            rows.append(share_row("cued", f"{name}, {'held-out' if held_out else 'trained'} note", follows, goal))
    return rows


def quirk_row(model: "PreTrainedModel", family: Family, word: str, n: int, seed: int) -> Row:
    """How often the preferred adjective is the first choice wherever an adjective comes in a couplet."""
    rng = random.Random(f"quirk {seed}")
    prompts = []
    while len(prompts) < n:
        sentence = family.sample(rng)
        spots = [i for i, w in enumerate(sentence.words) if any(w in ws for ws in ADJECTIVES.values())]
        if spots:
            prompts.append([1, *(i for w in sentence.words[: spots[0]] for i in word_ids(w))])
    wanted = word_ids(word)[0]
    chosen = [answer[0] == wanted for answer in continue_greedily(model, prompts, 1)]
    return share_row("couplets", f"prefers {word}", chosen, (0.9, 1.0))


def rows_of(model: "PreTrainedModel", families: Mapping[str, Family], *, n: int = 400, seed: int = 1) -> list[Row]:
    """The table every organism has: one pair of rows a family."""
    return [row for family in families.values() for row in family_rows(model, family, n, seed)]
