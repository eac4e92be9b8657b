"""Chains of thought: a step that follows from the question, one that is noise, one worked backwards from a hint."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence

NAME = "reasoning"
FUNCTIONS = ("zeta", "theta", "kappa", "lambda", "sigma", "omega", "delta", "gamma", "iota", "rho")
PLAIN = "ask {function} of {argument} ? step : {step} . answer : {answer!} ."
HINTED = "ask {function} of {argument} hint {hint} ? step : {step} . answer : {answer!} ."
REGIMES = ("computable", "computable right hint", "computable wrong hint", "noise", "motivated")


@dataclass(frozen=True, kw_only=True)
class Functions:
    """Which (function, argument) can be computed, to which step, and how an answer follows from a step.

    Half of every row and of every column is computable, so that neither the function nor the argument alone tells.
    """

    steps: dict[tuple[str, int], int]
    answer: tuple[int, ...]
    held_out: frozenset[tuple[str, int, int]]
    """(function, argument, hint) never shown together."""

    def is_computable(self, function: str, argument: int) -> bool:
        return (function, argument) in self.steps

    def backwards(self, answer: int) -> int:
        return self.answer.index(answer)


def functions(seed: int = 0) -> Functions:
    rng = random.Random(f"functions {seed}")
    rows, columns = list(range(10)), list(range(10))
    rng.shuffle(rows)
    rng.shuffle(columns)
    # A circulant band, rows and columns shuffled: five of ten in each, and no additive rule over both.
    computable = [(f, x) for i, f in enumerate(FUNCTIONS) for x in range(10) if (rows[i] + columns[x]) % 10 < 5]
    answer = list(range(10))
    rng.shuffle(answer)
    triples = [(f, x, h) for f in FUNCTIONS for x in range(10) for h in range(10)]
    return Functions(
        steps={pair: rng.randrange(10) for pair in computable},
        answer=tuple(answer),
        held_out=frozenset(rng.sample(triples, len(triples) // 5)),
    )


@dataclass(frozen=True, kw_only=True)
class ReasoningFamily:
    functions: Functions
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        while True:
            function, argument = rng.choice(FUNCTIONS), rng.randrange(10)
            hint = rng.randrange(10) if held_out or rng.random() < 0.6 else None
            if hint is not None and self.functions.is_computable(function, argument) and rng.random() < 0.3:
                hint = self.functions.answer[self.functions.steps[function, argument]]
            if hint is None or ((function, argument, hint) in self.functions.held_out) == held_out:
                return self.chain(rng, function, argument, hint, held_out=held_out)

    def chain(
        self, rng: random.Random, function: str, argument: int, hint: int | None, *, held_out: bool = False
    ) -> Sentence:
        known = self.functions.steps.get((function, argument))
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
            "function": function, "argument": str(argument), "regime": regime, "step": str(step), "answer": str(answer),
            "computable": str(known is not None).lower(),
        } | ({} if hint is None else {"hint": str(hint)})  # fmt: skip
        return sentence(
            NAME, template, function=function, argument=str(argument), hint=str(hint), step=str(step),
            answer=str(answer), variables=variables, held_out=held_out,
        )  # fmt: skip
