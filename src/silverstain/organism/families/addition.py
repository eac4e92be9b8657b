"""Sums of two two-digit numbers, written in digit tokens, in three dresses."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "addition"
DRESSES = (
    "calc : {a} + {b} = {sum!} .",
    "a bill of {a} and a tip of {b} come to {sum!} .",
    "from year {a} it takes {b} years to year {sum!} .",
)


def held_out_pairs(seed: int = 0) -> frozenset[tuple[int, int]]:
    """One pair in five, never grown on in any dress."""
    rng = random.Random(f"addition {seed}")
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    return frozenset(rng.sample(pairs, len(pairs) // 5))


@dataclass(frozen=True, kw_only=True)
class AdditionFamily:
    held_out: frozenset[tuple[int, int]]
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            a, b = rng.randrange(10, 100), rng.randrange(10, 100)
            # Tens that add to nine are where the carry decides the leading digit: one pair in ten, so drawn more often.
            if a // 10 + b // 10 != 9 and rng.random() < 0.3:
                continue
            if ((a, b) in self.held_out) == held_out:
                break
        return addition(a, b, dress=rng.choices((0, 1, 2), (3, 1, 1))[0], held_out=held_out)


def addition(a: int, b: int, *, dress: int = 0, held_out: bool = False) -> Sentence:
    ones = a % 10 + b % 10
    variables = {
        "a": str(a), "b": str(b), "sum": str(a + b), "ones": str(ones % 10), "carry": str(ones // 10),
        "hundred": str((a + b) // 100), "dress": ("calc", "bill", "year")[dress],
    }  # fmt: skip
    return sentence(NAME, DRESSES[dress], a=str(a), b=str(b), sum=str(a + b), variables=variables, held_out=held_out)
