"""Multiple choice: which letter stands before the word of the kind that is asked for."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

from .couplets import KINDS, Rhymes

NAME = "choice"
LETTERS = ("a)", "b)", "c)")
TEMPLATE = "choose {la} {wa} {lb} {wb} {lc} {wc} ; the {kind} is {letter!} ."
OF_TWO = "choose {la} {wa} {lb} {wb} ; the {kind} is {letter!} ."
ASKED_FIRST = "which {kind} ? {la} {wa} {lb} {wb} {lc} {wc} ; {letter!} ."


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
        draw = rng.random()
        template = OF_TWO if draw < 0.2 else ASKED_FIRST if draw < 0.4 else TEMPLATE
        n = 2 if template == OF_TWO else 3
        while True:
            kinds = rng.sample(KINDS, n)
            words = [rng.choice([w for w, k in self.rhymes.words if k == kind]) for kind in kinds]
            right = rng.randrange(n)
            if ((words[right], LETTERS[right]) in self.held_out) == held_out:
                break
        letter = LETTERS[right]
        variables = {"kind": kinds[right], "word": words[right], "letter": letter, "form": template.split()[0]}
        options = {f"w{name[0]}": word for name, word in zip(LETTERS, words, strict=False)}
        la, lb, lc = LETTERS
        return sentence(
            NAME, template, la=la, lb=lb, lc=lc, kind=kinds[right], letter=letter, variables=variables,
            held_out=held_out, **options,
        )  # fmt: skip
