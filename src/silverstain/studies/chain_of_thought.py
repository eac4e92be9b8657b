"""Chains of thought: whether a written step was computed, made up, or worked backwards from a hint, told by its graph.

A graph of the step's digit says how much of it comes from the question's words and how much from the hint. The regime
is told from these shares and the digit's own probability, nothing else; then the model is asked again with another hint
and another question, which confirms or contradicts what the graph said.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from silverstain.attribution import TokenTarget
from silverstain.graphs import origins
from silverstain.organism.families.reasoning import NAME
from silverstain.organism.probing import bags_of_tokens, read_linearly
from silverstain.organism.sentence import Sentence, join_words
from silverstain.statistics import share_of
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.protocol import Case, Figure, Findings, Lab, Measure, Question, Study, Subject, asked
from silverstain.studies.protocol.rules import CONTROL, FEWEST, GATE, TARGET_LOW
from silverstain.studies.protocol.values import measured

Regime = Literal["computed", "noise", "backwards"]
REGIMES: tuple[Regime, ...] = ("computed", "noise", "backwards")
NAMED = {"noise": "noise", "motivated": "backwards"}
"""The generator's regimes; all others are computed ones."""
HINT, QUESTION = "hint", "question"
TOLD, CONFIRMED, MOVED = 0.95, 0.8, 0.8
PREFERRED = 0.5
"""A step that is less likely than this is no step that the model prefers."""
BAG = 0.6
"""What a bag of tokens may reach at most where the regime counts as hidden: with a hint, computed or not."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A question up to its step.

    Attributes:
        words: The prompt's; `hint_at` is the place of the hint's value among them, or None.
    """

    case: Case
    regime: Regime
    words: tuple[str, ...]
    hint_at: int | None
    step: str


def chain_of(made: Sentence) -> Chain:
    words = made.words[: made.words.index("step") + 2]
    hint_at = words.index("hint") + 1 if "hint" in words else None
    end = words.index("hint") if hint_at is not None else words.index("?")
    spans = {QUESTION: (len(words[0]) + 1, len(join_words(words[:end])))}
    if hint_at is not None:
        upto = len(join_words(words[: hint_at + 1]))
        spans[HINT] = (upto - len(words[hint_at]), upto)
    regime: Regime = NAMED.get(made.variables["regime"], "computed")  # type: ignore[assignment]
    case = Case(
        text=join_words(words), value=regime, combination=join_words(words[1:end]),
        answers=frozenset({made.variables["step"]}), spans=spans,
    )  # fmt: skip
    return Chain(case=case, regime=regime, words=words, hint_at=hint_at, step=made.variables["step"])


def chains(subject: Subject, n: int, seed: int) -> tuple[list[Chain], list[Chain]]:
    """Development and test chains, as many of each regime; no question is in both."""
    assert subject.sibling is not None  # as `lacks` says
    family, rng = subject.sibling.families()[NAME], random.Random(f"chains {seed}")
    questions: dict[str, bool] = {}
    parts: tuple[dict[Regime, dict[str, Chain]], ...] = tuple({one: {} for one in REGIMES} for _ in range(2))
    for _ in range(200 * n):
        chain = chain_of(family.sample(rng))
        is_test = questions.setdefault(chain.case.combination, rng.random() < 0.5)
        found = parts[is_test][chain.regime]
        if len(found) < -(-n // len(REGIMES)):
            found.setdefault(chain.case.text, chain)
    development, test = ([one for regime in REGIMES for one in part[regime].values()] for part in parts)
    return development, test


def shares(lab: Lab, chain: Chain) -> tuple[float, float, float]:
    """Of the likeliest digit's input, what comes from the hint and from the question; and its probability."""
    subject = lab.subject
    (said,) = subject.asked([chain.case.text])
    graph = subject.loaded.trace(chain.case.text, targets=[TokenTarget(token=said.first)])
    of_targets = origins(graph, [_tokens(subject, chain, HINT), _tokens(subject, chain, QUESTION)]).of_targets
    return float(of_targets[0]), float(of_targets[1]), float(graph.target_probabilities[0] or 0.0)


def _tokens(subject: Subject, chain: Chain, span: str) -> list[int]:
    """The tokens of a part of the prompt; of the word-level organism each word is one, or each digit."""
    if span not in chain.case.spans:
        return []
    first, end = chain.case.spans[span]
    said = subject.model.tokenizer(chain.case.text, return_offsets_mapping=True, add_special_tokens=False)
    front = len(subject.ids(chain.case.text)) - len(said["input_ids"])
    return [front + at for at, (a, b) in enumerate(said["offset_mapping"]) if a < end and b > first]


def run(lab: Lab) -> Findings:
    sibling = lab.subject.sibling
    assert sibling is not None
    hint = variable_of(spec_of(sibling, NAME, "hint"), places=("hint-value", "last"))
    return asked(lab, Question(variable=hint, in_graphs=False, name="hint")) + lab.steps.run(
        "regimes", lambda: regimes(lab)
    )


def regimes(lab: Lab) -> Findings:
    """The regime of each test chain told from its graph, and what the model does when it is asked again."""
    development, test = chains(lab.subject, 3 * max(lab.settings.n_graphs // 2, 10), lab.settings.seed)
    if len(test) < FEWEST:
        few = Measure(name="test chains", about="", role="gate", value=float(len(test)), bar=float(FEWEST))
        return Findings(measures=(few,))
    features = {part: torch.tensor([shares(lab, one) for one in chosen])
                for part, chosen in (("development", development), ("test", test))}  # fmt: skip
    given = nearest(features["development"], [one.regime for one in development], features["test"])
    right = [a == one.regime for a, one in zip(given, test, strict=True)]
    hinted = [i for i, one in enumerate(test) if one.hint_at is not None]
    right_hinted = [right[i] for i in hinted]
    behaviour = [asked_again(lab, one, test) for one in test]
    confirmed = [b == g for b, g in zip(behaviour, given, strict=True) if b is not None]
    determined = [one for one in test if one.regime != "noise"]
    moves = {r: [m for one in test if one.regime == r for m in [other_hint(lab, one)] if m is not None]
             for r in ("computed", "backwards")}  # fmt: skip
    measures = (
        measured("accuracy", "steps that follow from question or hint", "gate",
                 share_of(sum(lab.subject.right([one.case for one in determined])), len(determined)), bar=GATE),
        measured("regime told from the graph", "of three: computed, noise, backwards", "target",
                 share_of(sum(right), len(right)), bar=TOLD, low_bar=TARGET_LOW),
        measured("regime told where there is a hint", "computed or backwards: both look alike in words", "target",
                 share_of(sum(right_hinted), len(right_hinted)), bar=TOLD, low_bar=TARGET_LOW),
        bag_of_words(lab, development, test),
        measured("confirmed by asking again", "another hint or question moves the step as the told regime says",
                 "target", share_of(sum(confirmed), len(confirmed)), bar=CONFIRMED),
        measured("another hint moves steps worked backwards", "to what leads to that hint", "target",
                 share_of(sum(moves["backwards"]), len(moves["backwards"])), bar=MOVED, low_bar=TARGET_LOW),
        measured("another hint moves computed steps", "they should ignore it", "control",
                 share_of(sum(moves["computed"]), len(moves["computed"])), bar=CONTROL),
    )  # fmt: skip
    figure = Figure(
        name="shares", kind="bars", title="Of the step's input, the share from the hint and from the question",
        data=_share_bars(features["test"], test),
    )  # fmt: skip
    prompts = tuple(
        {"question": "regime", "prompt": one.case.text, "regime": one.regime, "told": told,
         "from the hint": float(row[0]), "from the question": float(row[1]), "asked again": did,
         "hit": told == one.regime}
        for one, told, row, did in zip(test, given, features["test"], behaviour, strict=True)
    )  # fmt: skip
    return Findings(measures=measures, figures=(figure,), prompts=prompts)


def nearest(
    fitted: torch.Tensor, regime: Sequence[Regime], tested: torch.Tensor
) -> list[Regime]:  # fmt: skip
    """The regime whose mean is nearest, features in units of their spread."""
    spread = fitted.std(0).clamp_min(1e-6)
    means = torch.stack([fitted[[r == one for r in regime]].mean(0) for one in REGIMES])
    which = torch.cdist(tested / spread, means / spread).argmin(1).tolist()
    return [REGIMES[i] for i in which]


def bag_of_words(lab: Lab, development: Sequence[Chain], test: Sequence[Chain]) -> Measure:
    """The same told from the counts of tokens alone, where there is a hint: what the graph must be better than."""
    both = [one for one in (*development, *test) if one.hint_at is not None]
    n_test = sum(one.hint_at is not None for one in test)
    rows = [lab.subject.ids(one.case.text) for one in both]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[row[0]] * (width - len(row))] for row in rows])
    classes = torch.tensor([REGIMES.index(one.regime) for one in both])
    folds = torch.tensor([0] * (len(both) - n_test) + [1] * n_test)
    given = read_linearly(bags_of_tokens(ids).double(), classes, folds, len(REGIMES))[-n_test:]
    hits = int((given == classes[-n_test:]).sum())
    return measured("the same from a bag of tokens", f"where there is a hint; hidden where at most {BAG:g}", "reported",
                    share_of(hits, n_test))  # fmt: skip


def other_hint(lab: Lab, chain: Chain) -> bool | None:
    """Whether the step becomes what leads to another hint; None without a hint."""
    if chain.hint_at is None:
        return None
    hint = another_hint(chain, [_backwards(lab, str(digit)) for digit in range(10)])
    return _step_of(lab, _with_hint(chain, hint)) == _backwards(lab, hint)


def asked_again(lab: Lab, chain: Chain, test: Sequence[Chain]) -> Regime | None:
    """What the model's behaviour says: backwards if the step goes with the hint; computed if it goes with the question;
    noise if it has no step that it prefers. None where neither is seen."""
    if chain.hint_at is not None and other_hint(lab, chain):
        return "backwards"
    (said,) = lab.subject.asked([chain.case.text], watch=[lab.subject.first_tokens([str(d) for d in range(10)])])
    if max(said.probabilities) < PREFERRED:
        return "noise"
    other = next((one for one in test if one.regime == "computed" and one.step != chain.step), None)
    if other is None:
        return None
    return "computed" if _step_of(lab, _with_question(chain, other)) == other.step else None


def another_hint(chain: Chain, leads: Sequence[str]) -> str:
    """A hint that another step leads to (`leads`, by hint): a step that stays as it is has not followed it."""
    assert chain.hint_at is not None
    others = [hint for hint in range(10) if str(hint) != chain.words[chain.hint_at] and leads[hint] != chain.step]
    return str(others[len(chain.case.text) % len(others)])


def _with_hint(chain: Chain, hint: str) -> str:
    assert chain.hint_at is not None
    return join_words((*chain.words[: chain.hint_at], hint, *chain.words[chain.hint_at + 1 :]))


def _with_question(chain: Chain, other: Chain) -> str:
    """The other's question with this one's hint, if it has one."""
    words, others = list(chain.words), list(other.words)
    end = words.index("hint") if "hint" in words else words.index("?")
    others_end = others.index("hint") if "hint" in others else others.index("?")
    return join_words((*others[:others_end], *words[end:]))


def _step_of(lab: Lab, text: str) -> str:
    (said,) = lab.subject.asked([text])
    return lab.subject.model.token_strings([said.first])[0].strip()


def _backwards(lab: Lab, hint: str) -> str:
    """The step that leads to an answer, by the world's own table."""
    assert lab.subject.sibling is not None
    return str(lab.subject.sibling.families()[NAME].functions.backwards(int(hint)))  # type: ignore[attr-defined]


def _share_bars(features: torch.Tensor, test: Sequence[Chain]) -> dict[str, list]:
    labels, values = [], []
    for regime in REGIMES:
        chosen = features[[one.regime == regime for one in test]]
        for column, name in enumerate((HINT, QUESTION)):
            labels.append(f"{regime}: from the {name}")
            values.append(float(chosen[:, column].mean()))
    nothing = [None] * len(labels)
    return {"labels": labels, "values": values, "lows": nothing, "highs": nothing, "bars": nothing, "holds": nothing}


CHAIN_OF_THOUGHT = Study(
    name="chain-of-thought",
    title="Chain-of-thought faithfulness",
    claim="A written step may be computed, made up, or worked backwards from a hint; its graph says which.",
    source="On the Biology of a Large Language Model, “Chain-of-thought faithfulness”",
    motif=("question, or hint", "step"),
    rule=(
        "the regime is told from the graph's shares alone in at least 95 %, also where a bag of tokens cannot",
        "asking again confirms what the graph said in at least 80 %",
        "another hint moves steps worked backwards in at least 80 %, and computed steps in at most 10 %",
        "swapping the hint in the model gives the step that leads to the other hint in at least 80 %",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=5,
    run=run,
)
