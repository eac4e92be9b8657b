"""Entities: whether a name is known, and what is known of it, are two circuits; what is made up comes from the first.

Recognition decides whether a question about a name is answered or refused. Injected for a name that was never met it
should bring about a made-up answer, and taken from a known name a refusal. The fact itself should be another circuit:
swapped, it leaves the refusal alone, and a switch of recognition leaves the fact alone. Names that were met often, and
of which no fact was ever told, are answered or refused one by one: which, should follow from recognition.
"""

import random
import re
from collections.abc import Sequence
from typing import Literal

import torch

from silverstain.organism.families.entities import (
    DRINKS,
    NAME,
    QUESTIONS,
    REFUSAL,
    SPORTS,
    EntitiesFamily,
    People,
    Person,
    question,
)
from silverstain.statistics import Estimate, estimates, share_of
from silverstain.studies.organism_variables import knows
from silverstain.studies.protocol import (
    LAST,
    Case,
    Findings,
    Lab,
    Measure,
    Pair,
    Question,
    Setting,
    Study,
    Subject,
    Trial,
    Variable,
    asked,
)
from silverstain.studies.protocol.rules import SPECIFICITY
from silverstain.studies.protocol.supernodes import auroc
from silverstain.studies.protocol.values import measured

FACTS = {"sport": SPORTS, "drink": DRINKS}
REFUSED = frozenset({REFUSAL.split()[0]})
Status = Literal["known", "unknown"]
WHOSE = "name"
"""The place of the name's last token."""
PREDICTED = 0.9
"""AUROC of what recognition says of familiar names without facts."""


def people_of(subject: Subject) -> People:
    assert subject.sibling is not None  # as `lacks` says
    family = subject.sibling.families()[NAME]
    assert isinstance(family, EntitiesFamily)
    return family.people


def case_of(person: Person, fact: str, form: int, status: Status, value: str) -> Case:
    made = question(person, fact, form, status=status)
    answers, name = frozenset({made.words[made.answer]}), f"{person.first} {person.last}"
    start = made.prompt.index(name)
    spans = {WHOSE: (start, start + len(name))}
    return Case(text=made.prompt, value=value, combination=name, answers=answers, spans=spans)


def recognition(people: People, of: Status) -> Variable:
    """Whether the name is known: bases are of one status, donors of the other."""

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng = random.Random(f"recognition {of} {seed}")
        pools: dict[Status, tuple[Person, ...]] = {"known": people.known, "unknown": people.unknown}
        other: Status = "unknown" if of == "known" else "known"
        pairs = []
        for _ in range(n):
            fact, form = rng.choice(sorted(FACTS)), rng.randrange(3)
            base = case_of(rng.choice(pools[of]), fact, form, of, of)
            donor = case_of(rng.choice(pools[other]), fact, form, other, other)
            made_up = frozenset(FACTS[fact])
            pairs.append(Pair(base=base, donor=donor, counterfactual=REFUSED if of == "known" else made_up))
        return pairs

    form = "known made unknown" if of == "known" else "unknown made known"
    return Variable(family=NAME, name="status", form=form, draw=draw, places=(WHOSE, LAST))


def fact_of(people: People) -> Variable:
    """The sport or drink of a known name. Any sport agrees with everything but which one; a refusal does not. Every
    other name that nobody knows is a bystander: it must still be refused."""

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng, pairs = random.Random(f"fact {seed}"), []
        while len(pairs) < n:
            (one, other), form, fact = rng.sample(people.known, 2), rng.randrange(3), rng.choice(sorted(FACTS))
            own, others = getattr(one, fact), getattr(other, fact)
            if own != others:
                base, donor = (case_of(one, fact, form, "known", own), case_of(other, fact, form, "known", others))
                pairs.append(Pair(base=base, donor=donor, counterfactual=donor.answers, alike=frozenset(FACTS[fact])))
        return pairs

    return Variable(
        family=NAME, name="fact", form="sport", draw=draw, places=(WHOSE, LAST), concerns=is_of_its_sort,
        bystanders=[asked_about(person, fact) for person in people.unknown_held_out[::2] for fact in sorted(FACTS)],
    )  # fmt: skip


def strangers(people: People) -> list[Case]:
    """Questions about the names that nobody knows and that are no bystanders of a choice."""
    return [asked_about(person, fact) for person in people.unknown_held_out[1::2] for fact in sorted(FACTS)]


def asked_about(person: Person, fact: str) -> Case:
    return case_of(person, fact, 0, "unknown", "")


def is_of_its_sort(pair: Pair, case: Case) -> bool:
    """A drink is no answer to a question about a sport."""
    return asked_for(pair.base.text) == asked_for(case.text)


def run(lab: Lab) -> Findings:
    people = people_of(lab.subject)
    forget = Question(variable=recognition(people, "known"), must_be_computed=True, name="suppressed on known")
    invent = Question(variable=recognition(people, "unknown"), in_graphs=False, name="injected on unknown")
    fact = Question(variable=fact_of(people), in_graphs=False, name="fact")
    found = asked(lab, forget) + asked(lab, invent) + asked(lab, fact)
    return (
        found
        + lab.steps.run("dissociation", lambda: dissociated(lab, people, found))
        + lab.steps.run("hallucination", lambda: predicted(lab, people, found))
    )


def dissociated(lab: Lab, people: People, found: Findings) -> Findings:
    """Each switch read for what it must leave alone: the fact under a lost recognition, refusal under a new fact."""
    subject, carrier = lab.subject, lab.carrier
    forget = Trial(subject, carrier, recognition(people, "known"), lab.settings.trial)
    forget.fix(_setting(found, "suppressed on known"))
    edits = [forget.edits(pair, forget.setting) for pair in forget.tested]
    texts = [pair.base.text for pair in forget.tested]
    among = [_values_of(subject, text) for text in texts]
    said = subject.asked(texts, edits, among=among)
    own = [one.first in subject.first_tokens(pair.base.answers) for one, pair in zip(said, forget.tested, strict=True)]
    swap = Trial(subject, carrier, fact_of(people), lab.settings.trial)
    swap.fix(_setting(found, "fact"))
    unknown = strangers(people)
    refused = [one.first in subject.first_tokens(REFUSED) for one in subject.asked([case.text for case in unknown])]
    left_alone = swap.left_alone(swap.bystanders_of(swap.tested, unknown), swap.setting)
    measures = (
        measured(
            "lost recognition leaves the fact alone", "among the values asked for, the name's own is still likeliest",
            "specificity", share_of(sum(own), len(own)), bar=SPECIFICITY,
        ),
        measured(
            "a new fact leaves refusal alone",
            "unknown names that are refused still are with a fact injected that is asked for", "specificity",
            left_alone, bar=SPECIFICITY,
        ),
        measured(
            "unknown names refused", "held-out names, with nothing injected", "reported",
            share_of(sum(refused), len(refused)),
        ),
    )  # fmt: skip
    return Findings(measures=measures)


def predicted(lab: Lab, people: People, asked_before: Findings) -> Findings:
    """Names that were met and of which nothing was told: is each answered or refused as recognition says?

    Recognition is what all layers but the last hold of the difference between known and unknown names, at the places
    where it was found.
    """
    subject, carrier = lab.subject, lab.carrier
    trial = Trial(subject, carrier, recognition(people, "known"), lab.settings.trial)
    cases = [
        case_of(person, fact, form, "unknown", "familiar")
        for person in people.familiar for fact in FACTS for form in range(len(QUESTIONS[fact]))
    ]  # fmt: skip
    said = subject.asked([case.text for case in cases])
    invents = torch.tensor(
        [one.first in _values_of(subject, case.text) for one, case in zip(said, cases, strict=True)]
    )  # fmt: skip
    places = _setting(asked_before, "suppressed on known").places
    scores = torch.stack([recognised(trial, cases, place) for place in places]).mean(0)
    rate = measured(
        "familiar names answered", "of questions about names that were met and of which no fact was told", "reported",
        share_of(int(invents.sum()), len(cases)),
    )  # fmt: skip
    if not 0 < int(invents.sum()) < len(cases):
        missing = Measure(
            name="hallucination predicted", about="AUROC over familiar names", role="target", value=None, bar=PREDICTED,
            untested="every familiar name is treated alike",
        )  # fmt: skip
        return Findings(measures=(rate, missing))
    found = _auroc(scores, invents, lab.settings.seed)
    measure = Measure(
        name="hallucination predicted", about="AUROC over familiar names, from recognition before the last layer",
        role="target", value=found.value, low=found.interval[0], high=found.interval[1], n=len(cases), bar=PREDICTED,
    )  # fmt: skip
    prompts = tuple(
        {"question": "hallucination", "prompt": case.text, "recognition": float(score), "hit": bool(made_up)}
        for case, score, made_up in zip(cases, scores, invents, strict=True)
    )
    return Findings(measures=(rate, measure), prompts=prompts)


def recognised(trial: Trial, cases: Sequence[Case], place: str) -> torch.Tensor:
    """How far each case stands from unknown names (0) to known ones (1) of the same wording, on development prompts."""
    means, carrier = trial.means(place), trial.carrier
    rows = [trial.subject.ids(case.text) for case in cases]
    held = carrier.inputs(trial.subject, rows, [trial.subject.position(case, place) for case in cases])
    raw, fitted = (torch.zeros(x.shape[1], dtype=torch.float64) for x in (held, means.inputs))
    for layer, amount in means.difference("unknown", "known", (0, max(len(held) - 2, 0))).items():
        weight = amount if carrier.name == "contrasts" else amount * carrier.size(layer) ** 2
        raw += (carrier.components(layer, held[layer]) @ weight).double()
        fitted += (carrier.components(layer, means.inputs[layer]) @ weight).double()
    known = means.labels == means.values.index("known")
    wordings = [_wording(case) for case in trial.fitted]
    found = torch.zeros_like(raw)
    for wording in sorted({_wording(case) for case in cases}):
        chosen = torch.tensor([_wording(case) == wording for case in cases])
        like = torch.tensor([one == wording for one in wordings])
        low, high = fitted[like & ~known].mean(), fitted[like & known].mean()
        found[chosen] = (raw[chosen] - low) / (high - low)
    return found


def _wording(case: Case) -> str:
    return case.text.replace(case.combination, "…")


def _auroc(scores: torch.Tensor, positive: torch.Tensor, seed: int) -> Estimate:
    """AUROC with an interval from drawing the items again."""

    def figures(times: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"auroc": torch.tensor([_weighted(row) for row in times], dtype=torch.float64)}

    def _weighted(row: torch.Tensor) -> float:
        index = torch.arange(len(row)).repeat_interleave(row.long())
        chosen = positive[index]
        return auroc(scores[index], chosen) if 0 < int(chosen.sum()) < len(chosen) else float("nan")

    return estimates(figures, len(scores), seed=seed, draws=200)["auroc"]


def _values_of(subject: Subject, text: str) -> tuple[int, ...]:
    """The values of the fact that a question asks for."""
    return subject.first_tokens(FACTS[asked_for(text)])


def asked_for(text: str) -> str:
    """The sort of fact that a question asks for, also where a question mark follows it at once."""
    (found,) = (fact for fact in FACTS if re.search(rf"\b{fact}\b", text))
    return found


def _setting(found: Findings, name: str) -> Setting:
    return Setting.from_json(found.chosen[name])


ENTITIES = Study(
    name="entities",
    title="Entity recognition and hallucination",
    claim="Whether a name is known is one circuit and what is known of it another; answers are made up by the first.",
    source="On the Biology of a Large Language Model, “Entity recognition and hallucinations”",
    motif=("name", "known", "answer instead of refusing"),
    rule=(
        "recognition injected for unknown names gives an answer in at least 80 %, and taken from known names a refusal",
        "recognition is found in the graphs of at least 90 % of held-out names",
        "lost recognition leaves the fact alone, and a new fact leaves refusal alone, in at least 80 % each",
        "which familiar names without facts are answered is predicted from recognition with AUROC of at least 0.9",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=15,
    run=run,
)
