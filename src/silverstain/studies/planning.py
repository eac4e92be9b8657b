"""Planning in poems: whether the line that is to come is settled at the line break, before any of it is written.

The rhyme that line one sets is exchanged at one token, and the model writes line two. A plan shows if the line then
ends in the other rhyme, and if the words on the way to it agree with the new end word: the end word alone could have
been fetched from line one when it was due. The same change one token further on must do nothing.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from silverstain.interventions import AnyEdit
from silverstain.organism.composing.couplets import CoupletsFamily as PlannedCouplets
from silverstain.organism.families.couplets import ADJECTIVES, NAME, VERBS, CoupletsFamily, Rhymes
from silverstain.organism.sentence import Sentence, join_words
from silverstain.statistics import Share, share_of
from silverstain.studies.organism_variables import has_variable, knows, spec_of, variable_of
from silverstain.studies.protocol import (
    Case,
    Figure,
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
)
from silverstain.studies.protocol.asking import known_truth, too_few
from silverstain.studies.protocol.rules import CONTROL, FEWEST, GATE, TARGET_LOW
from silverstain.studies.protocol.values import measured

LINE_END, LINE_BREAK, LATER, EMISSION = "line end", "line break", "after the break", "where it is due"
LONGEST = 8
"""Words of a line."""
STRENGTHS = (1.0, 2.0, 4.0)
N_CHOSEN_BY = 16
IN_CLASS, MID_LINE = 0.8, 0.7
"""Lines that must end in the rhyme that is put in, and those whose words on the way must agree with it."""


@dataclass(frozen=True, kw_only=True)
class Couplets:
    """What the study knows of the poems of a world: which words rhyme, and which words go with which end word."""

    rhymes: Rhymes
    goes_with: Callable[[str, str], bool | None]
    """(word on the way, end word): None for words that go with every end word."""


def couplets_of(subject: Subject) -> Couplets:
    assert subject.sibling is not None  # as `lacks` says
    family = subject.sibling.families()[NAME]
    if isinstance(family, PlannedCouplets):
        owners = family.rhymes.owners
        return Couplets(
            rhymes=family.rhymes, goes_with=lambda word, end: owners[end] == word if word in owners.values() else None
        )
    assert isinstance(family, CoupletsFamily)
    kinds = {word: kind for table in (VERBS, ADJECTIVES) for kind, words in table.items() for word in words}
    return Couplets(
        rhymes=family.rhymes,
        goes_with=lambda word, end: kinds[word] == family.rhymes.kind_of(end) if word in kinds else None,
    )


def rhyme_at(subject: Subject, site: str) -> Variable:
    """The rhyme of line one, at one of the sites; prompts end at the line break, or behind the first words."""
    assert subject.sibling is not None
    family = subject.sibling.families()[NAME]
    rhymes = couplets_of(subject).rhymes

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng = random.Random(f"poems {seed}")
        cases: list[Case] = []
        while len(cases) < 2 * n:
            made = family.sample(rng)
            if made.variables.get("form", "").startswith(("couplet", "neutral couplet")) and "named" not in \
                    made.variables["form"]:  # fmt: skip
                cases.append(case_of(made, rhymes))
        pairs = zip(cases[:n], cases[n:], strict=True)
        return [Pair(base=a, donor=b, counterfactual=b.answers) for a, b in pairs if a.value != b.value]

    form = "planned before the first words" if has_variable(subject.sibling, NAME, "rhyme") else ""
    name = "rhyme"
    if has_variable(subject.sibling, NAME, "kinds left open"):
        name, form = "kinds left open", "planned before the verb"
    return Variable(family=NAME, name=name, form=form, draw=draw, places=(site,))


def case_of(made: Sentence, rhymes: Rhymes) -> Case:
    """Line one up to its break; behind it what must not be known: the first words, one more than one token on."""
    comma = made.words.index(",")
    first = made.variables["first"]
    text = join_words(made.words[: comma + 1])
    return Case(
        text=text, value=made.variables["rhyme"], combination=first,
        answers=frozenset(word for word, _ in rhymes.rhyming(first)),
        spans={LINE_END: (len(text) - 1 - len(first), len(text) - 1), LINE_BREAK: (len(text) - 1, len(text))},
    )  # fmt: skip


def lines(
    lab: Lab, prompts: Sequence[str], edits: Sequence[Sequence[AnyEdit]] | None = None
) -> list[list[str]]:  # fmt: skip
    """What the model writes behind each prompt, word by word, up to the full stop; edits act at their own tokens."""
    subject = lab.subject
    written: list[list[str]] = [[] for _ in prompts]
    for _ in range(LONGEST):
        going = [i for i, line in enumerate(written) if not line or line[-1] != "."]
        if not going:
            break
        texts = [join_words((prompts[i], *written[i])) for i in going]
        said = subject.asked(texts, None if edits is None else [edits[i] for i in going])
        for i, one in zip(going, said, strict=True):
            (word,) = subject.model.token_strings([one.first])
            written[i].append(word.strip() or ".")
    return written


def end_of(line: Sequence[str]) -> str:
    words = [word for word in line if word != "."]
    return words[-1] if words else ""


def rhymes_with(line: Sequence[str], of: Case) -> bool:
    return end_of(line) in of.answers


def agrees(couplets: Couplets, line: Sequence[str]) -> bool | None:
    """Whether every word on the way that must go with the end word does; None where none must."""
    end = end_of(line)
    known = {word for word, _ in couplets.rhymes.words}
    said = [couplets.goes_with(word, end) for word in line[:-2] if end in known]
    judged = [one for one in said if one is not None]
    return all(judged) if judged else None


def run(lab: Lab) -> Findings:
    trial = Trial(lab.subject, lab.carrier, rhyme_at(lab.subject, LINE_BREAK), lab.settings.trial)
    if len(trial.tested) < FEWEST:
        return too_few(trial, "")
    found = lab.steps.run("development", lambda: chosen(lab, trial))
    setting = Setting.from_json(found.chosen["plan"])
    found += lab.steps.run("poems", lambda: poems(lab, trial, setting))
    return found + lab.steps.run("sites", lambda: sites(lab, trial, setting))


def chosen(lab: Lab, trial: Trial) -> Findings:
    """Layers and strength at the line break, by how many development lines end in the rhyme that is put in."""
    pairs = trial.chosen_by[:N_CHOSEN_BY]
    texts = [pair.base.text for pair in pairs]

    def rank(setting: Setting) -> tuple[int, float]:
        written = lines(lab, texts, [trial.edits(pair, setting) for pair in pairs])
        return sum(rhymes_with(line, pair.donor) for line, pair in zip(written, pairs, strict=True)), -setting.strength

    tried = [
        Setting(place=LINE_BREAK, window=window, strength=strength)
        for window in lab.carrier.windows() for strength in STRENGTHS[1:2]
    ]  # fmt: skip
    best = max(tried, key=rank)
    best = max([replace(best, strength=strength) for strength in STRENGTHS], key=rank)
    return Findings(chosen={"plan": best.to_json()})


def poems(lab: Lab, trial: Trial, setting: Setting) -> Findings:
    """Lines as they are, with the rhyme exchanged at the break, and with changes that must do nothing."""
    couplets, pairs = couplets_of(lab.subject), trial.tested
    texts = [pair.base.text for pair in pairs]
    clean = lines(lab, texts)
    swapped = lines(lab, texts, [trial.edits(pair, setting) for pair in pairs])
    held = trial.held(setting.place)

    def others(kind: str) -> list[list[str]]:
        edits = []
        for number, pair in enumerate(pairs):
            amounts = lab.carrier.others(trial.amounts(pair, setting), held[:, number], number, kind)
            edits.append(lab.carrier.edits(amounts, lab.subject.position(pair.base, setting.place)))
        return lines(lab, texts, edits)

    def in_class(written: Sequence[Sequence[str]], side: str = "donor") -> Share:
        hits = [rhymes_with(line, getattr(pair, side)) for line, pair in zip(written, pairs, strict=True)]
        return share_of(sum(hits), len(hits))

    anew = [
        rhymes_with(line, pair.donor) and agrees(couplets, line) is True and line[:-2] != before[:-2]
        for line, before, pair in zip(swapped, clean, pairs, strict=True)
    ]
    read = read_at_the_break(lab, trial, setting, clean)
    controls = {"random units": others("random"), "random units, the other way": others("opposite")}
    measures = [
        measured("lines rhyme", "what the model writes by itself ends in line one's rhyme", "gate",
                 in_class(clean, "base"), bar=GATE),
        measured("plan read at the break", "units there tell the rhyme in which the line will end, before it is begun",
                 "target", read, bar=0.7),
        measured("plan exchanged at the break", "the line then ends in the other rhyme", "target", in_class(swapped),
                 bar=IN_CLASS, low_bar=TARGET_LOW),
        measured("words on the way change too", "and agree with the new end word", "target",
                 share_of(sum(anew), len(anew)), bar=MID_LINE, low_bar=TARGET_LOW),
        *(measured(name, "as much, of others, at the break", "control", in_class(written), bar=CONTROL)
          for name, written in controls.items()),
        known_truth(lab, Question(variable=trial.variable, must_be_computed=True)),
    ]  # fmt: skip
    prompts = tuple(
        {
            "prompt": pair.base.text, "written": " ".join(before), "to": pair.donor.value,
            "with the other rhyme": " ".join(after), "hit": rhymes_with(after, pair.donor),
        }
        for pair, before, after in zip(pairs, clean, swapped, strict=True)
    )  # fmt: skip
    return Findings(measures=tuple(measures), prompts=prompts, notes=(f"The rhyme is moved {setting}.",))


def read_at_the_break(lab: Lab, trial: Trial, setting: Setting, clean: Sequence[Sequence[str]]) -> Share:
    """Of the lines as written, how many end in the rhyme whose mean at the break, over development prompts of other
    first lines, is nearest in direction."""
    means, held = trial.means(LINE_BREAK), trial.held(LINE_BREAK)
    first, last = setting.window
    rhymes = couplets_of(lab.subject).rhymes
    hits = 0
    for number, line in enumerate(clean):
        best = max(means.values, key=lambda value: _score(lab, means, value, held[:, number], first, last))
        end = end_of(line)
        hits += end in {word for word, _ in rhymes.words} and rhymes.class_of(end) == best
    return share_of(hits, len(clean))


def _score(lab: Lab, means: Any, value: str, held: Any, first: int, last: int) -> float:
    """Cosine of what is held with what the value's prompts have beyond the mean over values."""
    dot = length = 0.0
    for layer in range(first, last + 1):
        excess = means.of(value, layer) - means.overall(layer)
        here = lab.carrier.components(layer, held[layer][None])[0] - means.overall(layer)
        dot += float(excess @ here)
        length += float(excess @ excess)
    return dot / max(length, 1e-12) ** 0.5


def sites(lab: Lab, trial: Trial, setting: Setting) -> Findings:
    """Where a rhyme can be exchanged: at the end of line one, at the break, or behind the first words. And the change
    of the break put one token further on, which must do nothing."""
    pairs = trial.tested
    texts = [pair.base.text for pair in pairs]
    clean = lines(lab, texts)
    shares: dict[str, Share] = {}
    at_end = Trial(lab.subject, lab.carrier, rhyme_at(lab.subject, LINE_END), lab.settings.trial)
    moved = replace(setting, place=LINE_END)
    written = lines(lab, texts, [at_end.edits(pair, moved) for pair in pairs])
    shares[LINE_END] = _share(written, pairs)
    begun = [join_words((text, *line[:1])) for text, line in zip(texts, clean, strict=True)]
    edits = [
        lab.carrier.edits(trial.amounts(pair, setting), len(lab.subject.ids(text)) - 1)
        for pair, text in zip(pairs, begun, strict=True)
    ]
    shares[LATER] = _share(lines(lab, begun, edits), pairs)
    shares[EMISSION] = at_emission(lab)
    figure = Figure(
        name="sites", kind="bars", title="Lines that end in the other rhyme, by where it is exchanged",
        data={
            "labels": list(shares), "values": [one.value for one in shares.values()],
            "lows": [one.low for one in shares.values()], "highs": [one.high for one in shares.values()],
            "bars": [None, CONTROL, None], "holds": [None, shares[LATER].value <= CONTROL, None],
        },
    )  # fmt: skip
    measures: tuple[Measure, ...] = (
        measured("exchanged at the end of line one", "where the rhyme word itself stands", "reported",
                 shares[LINE_END]),
        measured("one token later", "the change of the break, at the first word of line two", "control", shares[LATER],
                 bar=CONTROL),
        measured("exchanged where the end word is due", "at the last token before it, of any rhyme", "reported",
                 shares[EMISSION]),
    )  # fmt: skip
    return Findings(measures=measures, figures=(figure,))


def at_emission(lab: Lab) -> Share:
    """The rhyme exchanged at the last token before the end word: where it is fetched, if it was not planned."""
    assert lab.subject.sibling is not None
    trial = Trial(
        lab.subject, lab.carrier, variable_of(spec_of(lab.subject.sibling, NAME, "rhyme", "end word")),
        lab.settings.trial,
    )  # fmt: skip
    found = trial.swapped(trial.tested, trial.setting)
    return share_of(sum(one.hit for one in found), len(found))


def _share(written: Sequence[Sequence[str]], pairs: Sequence[Pair]) -> Share:
    hits = [rhymes_with(line, pair.donor) for line, pair in zip(written, pairs, strict=True)]
    return share_of(sum(hits), len(hits))


PLANNING = Study(
    name="planning",
    title="Planning in poems",
    claim="The word that ends a line is settled at the line break, and the words on the way are chosen for it.",
    source="On the Biology of a Large Language Model, “Planning in poems”",
    motif=("rhyme of line one", "candidate end words at the line break", "words on the way", "end word"),
    rule=(
        "at the break, units tell the rhyme of the line's end in at least 70 %, before any of it is written",
        "exchanged there, the line ends in the other rhyme in at least 80 %",
        "and the words on the way change and agree with the new end word in at least 70 %",
        "the same change one token later does it in at most 10 %",
        "the causal map says that the plan is computed before the first words",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=3,
    run=run,
)
