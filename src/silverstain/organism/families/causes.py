"""Two symptoms have one cause in common, which is never named, and the cause says what to ask for next."""

import functools
import itertools
import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "causes"
SYMPTOMS = (
    "fever", "cough", "rash", "nausea", "dizziness", "fatigue", "headache", "swelling", "itching", "thirst", "chills",
    "cramps", "wheezing", "pallor", "tremor", "hoarseness", "numbness", "insomnia", "sneezing", "stiffness", "bruising",
    "sweating", "hunger", "blisters", "bloating", "soreness",
)  # fmt: skip
SIGNS = (
    "jaundice", "photophobia", "tinnitus", "anosmia", "ptosis", "vertigo", "edema", "ataxia", "cyanosis", "bradycardia",
    "aphonia", "gout",
)  # fmt: skip
TEMPLATES = ("patient with {a} and {b} ; next ask about {sign!} .", "since {a} came with {b} , look for {sign!} .")
LONGER = "patient with {a} and {b} and {c} ; next ask about {sign!} ."
"""All of one cause, or two of one and a stranger to both: sentences are too many to remember."""
ALONE = "{a} may come with {sign} ."
"""One symptom leaves several causes open."""


@dataclass(frozen=True, kw_only=True)
class Clinic:
    causes: tuple[tuple[str, ...], ...]
    """Five symptoms a cause; two causes share one symptom at most, so any two symptoms name the cause."""
    held_out: frozenset[tuple[int, tuple[str, str]]]

    def strangers(self, a: str, b: str) -> list[str]:
        """Symptoms that share no cause with either."""
        near = {symptom for symptoms in self.causes if a in symptoms or b in symptoms for symptom in symptoms}
        return [symptom for symptom in SYMPTOMS if symptom not in near]


@functools.cache
def clinic(seed: int = 0) -> Clinic:
    rng = random.Random(f"clinic {seed}")
    while True:
        causes: list[tuple[str, ...]] = []
        taken: set[frozenset[str]] = set()
        for _ in range(4000):
            symptoms = tuple(sorted(rng.sample(SYMPTOMS, 5)))
            pairs = {frozenset(p) for p in itertools.combinations(symptoms, 2)}
            if not pairs & taken:
                causes.append(symptoms)
                taken |= pairs
            if len(causes) == len(SIGNS):
                pairs_of = [(c, p) for c, s in enumerate(causes) for p in itertools.combinations(s, 2)]
                return Clinic(causes=tuple(causes), held_out=frozenset(rng.sample(pairs_of, len(pairs_of) // 5)))


@dataclass(frozen=True, kw_only=True)
class CausesFamily:
    clinic: Clinic
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            cause = rng.randrange(len(SIGNS))
            draw = 1.0 if held_out else rng.random()
            if draw < 0.15:
                return alone(cause, rng.choice(self.clinic.causes[cause]))
            if draw < 0.45:
                three = rng.sample(self.clinic.causes[cause], 3)
                if not any((cause, pair) in self.clinic.held_out for pair in itertools.combinations(sorted(three), 2)):
                    return longer(cause, *three)
                continue
            pair = tuple(sorted(rng.sample(self.clinic.causes[cause], 2)))
            if ((cause, pair) in self.clinic.held_out) == held_out:
                break
        a, b = rng.sample(pair, 2)
        strangers = self.clinic.strangers(a, b)
        if draw < 0.75 and strangers:
            return longer(cause, *rng.sample((a, b, rng.choice(strangers)), 3))
        variables = {"cause": str(cause), "a": a, "b": b, "sign": SIGNS[cause]}
        template = rng.choice(TEMPLATES)
        return sentence(NAME, template, a=a, b=b, sign=SIGNS[cause], variables=variables, held_out=held_out)


def alone(cause: int, a: str) -> Sentence:
    variables = {"cause": str(cause), "a": a, "sign": SIGNS[cause]}
    return sentence(NAME, ALONE, a=a, sign=SIGNS[cause], variables=variables)


def longer(cause: int, a: str, b: str, c: str) -> Sentence:
    variables = {"cause": str(cause), "a": a, "b": b, "c": c, "sign": SIGNS[cause]}
    return sentence(NAME, LONGER, a=a, b=b, c=c, sign=SIGNS[cause], variables=variables)
