"""Requests to mix two substances, and questions whether they may be mixed.

Both are answered by whether the pair is forbidden, in other words, so that it is more than another name of one answer.
"""

import dataclasses
import random
from dataclasses import dataclass

from silverstain.organism.families import refusal
from silverstain.organism.families.refusal import ALLOWED, NAME, REFUSED
from silverstain.organism.families.refusal import TEMPLATES as REQUESTS
from silverstain.organism.families.refusal import held_out_pairs as held_out_pairs
from silverstain.organism.sentence import Sentence, sentence

MAY, MAY_NOT = "yes", "no"
QUESTIONS = (
    "we mix {a} with {b} ? {reply!} .", "may we put {b} into {a} ? {reply!} .",
    "is it safe to mix {a} with {b} ? {reply!} .",
)  # fmt: skip
"""The first has as many words as a request."""


@dataclass(frozen=True, kw_only=True)
class RefusalFamily(refusal.RefusalFamily):
    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        made = super().sample(rng, held_out=held_out)
        return made if made.variables["form"] == "membership" or rng.random() < 0.5 else asked_first(made, rng)


def asked_first(request: Sentence, rng: random.Random) -> Sentence:
    """Whether what is requested may be done."""
    known = request.variables
    template = rng.choice(QUESTIONS)
    answer = reply(template, known["reply"] == REFUSED)
    made = sentence(
        NAME, template, a=known["a"], b=known["b"], reply=answer,
        variables={**known, "reply": answer, "form": "question"},
    )  # fmt: skip
    return dataclasses.replace(made, held_out=request.held_out)


def reply(template: str, is_forbidden: bool) -> str:
    """What answers a request, or a question."""
    if template in REQUESTS:
        return REFUSED if is_forbidden else ALLOWED
    return MAY_NOT if is_forbidden else MAY
