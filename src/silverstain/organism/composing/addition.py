"""Sums of two numbers of two or three digits, written in digit tokens, in three dresses.

A digit of the sum depends on the column and on what the columns to its right carry over, so two carries may have to be
known before the first digit can be said.
"""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "addition"
DRESSES = (
    "calc : {a} + {b} = {sum!} .",
    "a bill of {a} and a tip of {b} come to {sum!} .",
    "from year {a} it takes {b} years to year {sum!} .",
)
CARRYING = 0.5
"""Share of sums whose tens add to nine: there the ones decide whether the tens carry."""


def is_held_out(a: int, b: int, seed: int = 0) -> bool:
    """One pair in five, never grown on in any dress."""
    return random.Random(f"addition {seed} {a} {b}").random() < 0.2


@dataclass(frozen=True, kw_only=True)
class AdditionFamily:
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            a, b = numbers(rng, 2 if rng.random() < 0.3 else 3)
            if is_held_out(a, b) == held_out:
                break
        return addition(a, b, dress=rng.choices((0, 1, 2), (3, 1, 1))[0], held_out=held_out)


def numbers(rng: random.Random, n_digits: int) -> tuple[int, int]:
    """Two numbers of so many digits."""
    low, high = 10 ** (n_digits - 1), 10**n_digits
    a, b = rng.randrange(low, high), rng.randrange(low, high)
    if rng.random() < CARRYING:
        tens = 9 - a // 10 % 10
        b = b - b // 10 % 10 * 10 + tens * 10
        b = b if b >= low else b + low
    return a, b


def addition(a: int, b: int, *, dress: int = 0, held_out: bool = False) -> Sentence:
    first = a % 10 + b % 10
    second = a // 10 % 10 + b // 10 % 10 + first // 10
    variables = {
        "a": str(a), "b": str(b), "sum": str(a + b), "ones": str(first % 10), "carry": str(first // 10),
        "tens": str(second % 10), "second carry": str(second // 10), "digits": str(len(str(a))),
        "dress": ("calc", "bill", "year")[dress],
    }  # fmt: skip
    return sentence(NAME, DRESSES[dress], a=str(a), b=str(b), sum=str(a + b), variables=variables, held_out=held_out)
