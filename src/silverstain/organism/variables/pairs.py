"""A hidden variable as data: pairs of prompts that differ in it, and what must follow if only it were exchanged."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence

MAX_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A prompt cut off where the variable decides the next token.

    Attributes:
        words: Words shown; digits of a number begun are a word, e.g. `9` of `95`.
        value: Value of the hidden variable here.
        combination: What is held out together when a probe is tested, e.g. the town whose state is read.
        answers: Words of which the generator says that one follows.
    """

    words: tuple[str, ...]
    value: str
    combination: str
    answers: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A base and a donor of another value; the base would go on with `counterfactual` if it had the donor's value.

    Attributes:
        among: The words compared; None compares the whole vocabulary. For answers that are open, e.g. which kind of
            verb comes next, the words of the kinds in question.
    """

    base: Case
    donor: Case
    counterfactual: frozenset[str]
    among: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class VariableSpec:
    """One hidden variable of one family, asked in one form.

    Attributes:
        roles: Name of each word of a prompt, in order; every pair of the variable has these words at these places.
        draw: A random pair, or None where the draw was not fit (drawn again). Base and donor differ in every word
            that the variable is computed from, and no donor's word alone makes the counterfactual: an exchange in
            the embedding then shows nothing but what single tokens tell.
    """

    family: str
    variable: str
    form: str
    roles: tuple[str, ...]
    draw: Callable[[random.Random], Pair | None]

    @property
    def name(self) -> str:
        return f"{self.family}: {self.variable} ({self.form})"

    def pairs(self, n: int, seed: int) -> list[Pair]:
        """`n` pairs that depend on the seed and the name alone."""
        rng = random.Random(f"{self.name} {seed}")
        found: list[Pair] = []
        for _ in range(MAX_DRAWS + 200 * n):
            pair = self.draw(rng)
            if pair is not None:
                found.append(pair)
                if len(found) == n:
                    return found
        raise AssertionError(f"{self.name} hardly ever draws a pair")


def roles(line: str) -> tuple[str, ...]:
    """Names of words from a line of them; a name met again gets a number: `the`, `the 2`."""
    names: list[str] = []
    for word in line.split():
        again = sum(name.split(" ")[0] == word for name in names)
        names.append(f"{word} {again + 1}" if again else word)
    return tuple(names)


def asked(sentence: Sentence, value: str, combination: str) -> Case:
    """The sentence up to its answer."""
    answers = frozenset({sentence.words[sentence.answer]})
    return Case(words=sentence.words[: sentence.answer], value=value, combination=combination, answers=answers)
