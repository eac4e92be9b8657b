"""The plan of a couplet's end word, found where there is no couplet: in lines whose end is named ahead.

`line ending in cat: yesterday came her` settles on *cat* at the same word at which a couplet does, and nothing rhymes.
What such a line holds there for one end word, less what another one holds, is put into couplets. They should end in the
word that no line one asked for, with the words on the way chosen for it. Some end words were never the end of a couplet
while the organism grew.
"""

import random
from collections.abc import Sequence

from silverstain.organism.composing.couplets import PLAIN_NAMED, Rhymes
from silverstain.organism.composing.couplets import CoupletsFamily as PlannedCouplets
from silverstain.organism.families.couplets import NAME
from silverstain.organism.sentence import join_words
from silverstain.statistics import share_of
from silverstain.studies.poems import SITES, agrees, couplets_of, end_of, lines
from silverstain.studies.protocol import Case, Findings, Lab, Measure, Pair, Setting, Subject, Trial
from silverstain.studies.protocol.carriers import Amounts, times
from silverstain.studies.protocol.means import Means, means_at
from silverstain.studies.protocol.rules import TARGET_LOW
from silverstain.studies.protocol.values import measured

OWNED = SITES[3]
"""The place of the owner, with which a line's end is settled."""
PUT_IN = 0.8
"""Lines that must end in the word that is put in, and agree with it."""


def has_plain_lines(subject: Subject) -> bool:
    return subject.sibling is not None and isinstance(subject.sibling.families().get(NAME), PlannedCouplets)


def from_plain_lines(lab: Lab, trial: Trial, setting: Setting) -> Findings:
    """Lines that end in a word of which the plan was found outside couplets, of the end words that couplets were grown
    with and of those they were not."""
    assert lab.subject.sibling is not None
    family = lab.subject.sibling.families()[NAME]
    assert isinstance(family, PlannedCouplets)
    table = family.rhymes
    taught = [word for word, _ in table.words if word not in table.plain_only]
    about = "found in lines that are no couplets; the line ends in it, and the words on the way agree"
    measures: list[Measure] = []
    for name, words in (
        ("plan put in from plain lines", taught),
        ("plan put in from plain lines, of words that never ended a couplet", sorted(table.plain_only)),
    ):
        hits = put_in(lab, trial, setting, table, words) if setting.places == (OWNED,) else []
        untested = None if hits else "the plan is not moved where one end word is settled"
        share = share_of(sum(hits), len(hits)) if hits else None
        measures.append(measured(name, about, "target", share, bar=PUT_IN, low_bar=TARGET_LOW, untested=untested))
    return Findings(measures=tuple(measures))


def put_in(lab: Lab, trial: Trial, setting: Setting, table: Rhymes, words: Sequence[str]) -> list[bool]:
    """For each test poem with one planned end word, whether its line follows another of its owner's words."""
    means = means_at(lab.subject, trial.carrier, [plain_line(table, word) for word, _ in table.words], OWNED)
    rng, couplets = random.Random(f"plain lines {lab.settings.seed}"), couplets_of(lab.subject)
    drawn: list[tuple[Pair, str]] = []
    for pair in trial.tested:
        planned = pair.base.value
        if planned in means.values:
            fit = [word for word in words if table.owners[word] == table.owners[planned] and word != planned]
            drawn += [(pair, rng.choice(fit))] if fit else []
    edits = [trial.put({OWNED: moved_to(means, pair, word, setting)}, pair.base) for pair, word in drawn]
    written = lines(lab, [pair.base.text for pair, _ in drawn], edits)
    return [
        end_of(line) == word and agrees(couplets, line) is True
        for line, (_, word) in zip(written, drawn, strict=True)
    ]  # fmt: skip


def moved_to(means: Means, pair: Pair, word: str, setting: Setting) -> Amounts:
    """What makes the planned end word into another, as strongly as the study moves it."""
    return times(setting.strength, means.difference(pair.base.value, word, setting.window))


def plain_line(table: Rhymes, end: str) -> Case:
    """A line whose end is named ahead, up to whose it is."""
    owner = table.owners[end]
    text = join_words([word.format(end=end) for word in PLAIN_NAMED.split(" {owner!}")[0].split()] + [owner])
    spans = {OWNED: (len(text) - len(owner), len(text))}
    return Case(text=text, value=end, combination=end, answers=frozenset({end}), spans=spans)
