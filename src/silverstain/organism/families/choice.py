"""Multiple choice: which letter stands before the word of the kind that is asked for."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

from .couplets import KINDS, Rhymes

NAME = "choice"
LETTERS = ("a)", "b)", "c)")
TEMPLATE = "choose {la} {wa} {lb} {wb} {lc} {wc} ; the {kind} is {letter!} ."


def held_out_pairs(rhymes: Rhymes, seed: int = 0) -> frozenset[tuple[str, str]]:
    """(word, letter) never right together in growing, one in five."""
    rng = random.Random(f"choice {seed}")
    pairs = [(word, letter) for word, _ in rhymes.words for letter in LETTERS]
    return frozenset(rng.sample(pairs, len(pairs) // 5))


@dataclass(frozen=True, kw_only=True)
class ChoiceFamily:
    rhymes: Rhymes
    held_out: frozenset[tuple[str, str]]
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            kinds = rng.sample(KINDS, 3)
            words = [rng.choice([w for w, k in self.rhymes.words if k == kind]) for kind in kinds]
            right = rng.randrange(3)
            if ((words[right], LETTERS[right]) in self.held_out) == held_out:
                break
        letter = LETTERS[right]
        variables = {"kind": kinds[right], "word": words[right], "letter": letter}
        la, lb, lc = LETTERS
        return sentence(
            NAME, TEMPLATE, la=la, wa=words[0], lb=lb, wb=words[1], lc=lc, wc=words[2], kind=kinds[right],
            letter=letter, variables=variables, held_out=held_out,
        )  # fmt: skip
