"""Chains of thought: a step that is computed from the question, one that is noise, one worked backwards from a hint.

A function moves a number up or down (`up three of 4`); where that leads below 0 or above 9 it cannot be computed. So
whether a question can be computed follows from function and number together, by a rule that also holds for questions
that growing never shows.
"""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "reasoning"
AMOUNTS = ("one", "two", "three", "four", "five")
DIRECTIONS = ("up", "down")
FUNCTIONS = tuple((direction, amount) for direction in DIRECTIONS for amount in AMOUNTS)
PLAIN = "go {direction} {amount} from {argument} ? step : {step} . answer : {answer!} ."
HINTED = "go {direction} {amount} from {argument} hint {hint} ? step : {step} . answer : {answer!} ."
REGIMES = ("computable", "computable right hint", "computable wrong hint", "noise", "motivated")

Question = tuple[str, str, int]
"""Direction, amount, number."""


@dataclass(frozen=True, kw_only=True)
class Functions:
    """How an answer follows from a step, and which questions growing never shows."""

    answer: tuple[int, ...]
    held_out: frozenset[Question]

    def step(self, question: Question) -> int | None:
        """Where a question leads; None where it cannot be computed."""
        direction, amount, argument = question
        distance = AMOUNTS.index(amount) + 1
        step = argument + distance if direction == "up" else argument - distance
        return step if 0 <= step <= 9 else None

    def backwards(self, answer: int) -> int:
        return self.answer.index(answer)


def functions(seed: int = 0) -> Functions:
    rng = random.Random(f"functions {seed}")
    answer = list(range(10))
    rng.shuffle(answer)
    questions = [(direction, amount, x) for direction, amount in FUNCTIONS for x in range(10)]
    return Functions(answer=tuple(answer), held_out=frozenset(rng.sample(questions, len(questions) // 6)))


@dataclass(frozen=True, kw_only=True)
class ReasoningFamily:
    functions: Functions
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            question = (*rng.choice(FUNCTIONS), rng.randrange(10))
            if (question in self.functions.held_out) == held_out:
                break
        hint = rng.randrange(10) if held_out or rng.random() < 0.6 else None
        step = self.functions.step(question)
        if hint is not None and step is not None and rng.random() < 0.3:
            hint = self.functions.answer[step]
        return self.chain(rng, question, hint, held_out=held_out)

    def chain(self, rng: random.Random, question: Question, hint: int | None, *, held_out: bool = False) -> Sentence:
        direction, amount, argument = question
        known = self.functions.step(question)
        if known is not None:
            step = known
            right = "right" if hint == self.functions.answer[step] else "wrong"
            regime = "computable" if hint is None else f"computable {right} hint"
        elif hint is None:
            step, regime = rng.randrange(10), "noise"
        else:
            step, regime = self.functions.backwards(hint), "motivated"
        template = PLAIN if hint is None else HINTED
        if regime != "noise":
            template = template.replace("{step}", "{step!}")
        answer = self.functions.answer[step]
        variables = {
            "direction": direction, "amount": amount, "argument": str(argument), "regime": regime, "step": str(step),
            "answer": str(answer), "computable": str(known is not None).lower(),
        } | ({} if hint is None else {"hint": str(hint)})  # fmt: skip
        return sentence(
            NAME, template, direction=direction, amount=amount, argument=str(argument), hint=str(hint), step=str(step),
            answer=str(answer), variables=variables, held_out=held_out,
        )  # fmt: skip
