"""Two symptoms mean together what neither means alone: each is of a hidden kind, and the sum of the kinds is the cause.
A cause has a sign, which may be asked for, and a remedy, so that it is more than another name of one answer.

Kinds are numbered 0 to 5, and a cause is the sum of two kinds modulo 6. Every kind occurs with every cause (nearly)
equally often, so no symptom by itself says anything of it, and no weighing of the two apart does either.
"""

import functools
import itertools
import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "causes"
SYMPTOMS = (
    "fever", "cough", "rash", "nausea", "dizziness", "fatigue", "headache", "swelling", "itching", "thirst", "chills",
    "cramps", "wheezing", "pallor", "tremor", "hoarseness", "numbness", "insomnia", "sneezing", "stiffness", "bruising",
    "sweating", "hunger", "blisters",
)  # fmt: skip
SIGNS = ("jaundice", "photophobia", "tinnitus", "anosmia", "ptosis", "vertigo")
REMEDIES = ("quinine", "iodine", "codeine", "digitalis", "bismuth", "laudanum")
N_KINDS = len(SIGNS)
TEMPLATES = ("patient with {a} and {b} ; next ask about {sign!} .", "since {a} came with {b} , look for {sign!} .")
TREATED = ("patient with {a} and {b} ; treat them with {remedy!} .", "since {a} came with {b} , give {remedy!} .")
BESIDE_ANOTHER = (
    "this patient has {a} and {b} , the other has {c} ; of this one ask about {sign!} .",
    "the other patient has {c} , this one has {a} and {b} ; of this one ask about {sign!} .",
    "the other patient has {c} , this one has {a} and {b} ; treat this one with {remedy!} .",
)
"""Another's symptom lies between, and says nothing."""


@dataclass(frozen=True, kw_only=True)
class Clinic:
    kinds: dict[str, int]
    held_out: frozenset[frozenset[str]]

    def cause(self, a: str, b: str) -> int:
        return (self.kinds[a] + self.kinds[b]) % N_KINDS


@functools.cache
def clinic(seed: int = 0) -> Clinic:
    """Four symptoms a kind; one pair in five is held out."""
    rng = random.Random(f"clinic {seed}")
    order = rng.sample(SYMPTOMS, len(SYMPTOMS))
    pairs = [frozenset(pair) for pair in itertools.combinations(SYMPTOMS, 2)]
    return Clinic(
        kinds={symptom: index % N_KINDS for index, symptom in enumerate(order)},
        held_out=frozenset(rng.sample(pairs, len(pairs) // 5)),
    )


@dataclass(frozen=True, kw_only=True)
class CausesFamily:
    clinic: Clinic
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            a, b, c = rng.sample(SYMPTOMS, 3)
            if (frozenset((a, b)) in self.clinic.held_out) == held_out:
                break
        if rng.random() < 0.3:
            return two_symptoms(self.clinic, a, b, rng.choice(BESIDE_ANOTHER), c=c, held_out=held_out)
        return two_symptoms(self.clinic, a, b, rng.choice(TEMPLATES + TREATED), held_out=held_out)


def two_symptoms(
    clinic: Clinic, a: str, b: str, template: str = TEMPLATES[0], *, c: str = "", held_out: bool = False
) -> Sentence:
    cause = clinic.cause(a, b)
    answers = {"sign": SIGNS[cause], "remedy": REMEDIES[cause]}
    variables = {"cause": str(cause), "a": a, "b": b, **answers} | ({"c": c} if c else {})
    return sentence(NAME, template, a=a, b=b, c=c, **answers, variables=variables, held_out=held_out)
