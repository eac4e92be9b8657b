"""A row of nonsense words, then the same row again: what follows is what followed before."""

import itertools
import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "induction"
SYLLABLES = tuple(a + b for a in ("z", "v", "k", "p", "x", "dr", "fl", "gr") for b in ("ib", "ax", "oz", "un"))


def held_out_pairs(seed: int = 0) -> frozenset[tuple[str, str]]:
    """One pair of neighbours in five, never side by side in growing."""
    rng = random.Random(f"induction {seed}")
    pairs = [(a, b) for a in SYLLABLES for b in SYLLABLES if a != b]
    return frozenset(rng.sample(pairs, len(pairs) // 5))


@dataclass(frozen=True, kw_only=True)
class InductionFamily:
    held_out: frozenset[tuple[str, str]]
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            row = rng.sample(SYLLABLES, rng.randrange(3, 8))
            start = rng.randrange(len(row) - 1)
            pairs = list(itertools.pairwise(row))
            if held_out:
                if pairs[start] in self.held_out:
                    break
            elif not self.held_out.intersection(pairs):
                break
        variables = {"cue": row[start], "answer": row[start + 1], "length": str(len(row))}
        # The rest of the row is determined too: once the cue is repeated, so is everything behind it.
        rest = " ".join(row[start + 1 :])
        return sentence(
            NAME, "chant {row} ; chant {cue} {rest!} .", row=" ".join(row), cue=row[start], rest=rest,
            variables=variables, held_out=held_out,
        )  # fmt: skip
