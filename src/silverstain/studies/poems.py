"""Poems of a world: which words rhyme, what goes with which end word, prompts up to where a plan may be, and the lines
that a model writes behind them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from silverstain.interventions import AnyEdit
from silverstain.organism.composing.couplets import OWNERS
from silverstain.organism.composing.couplets import CoupletsFamily as PlannedCouplets
from silverstain.organism.families.apart import FREE, FreeCouplets
from silverstain.organism.families.couplets import ADJECTIVES, NAME, VERBS, CoupletsFamily, Rhymes
from silverstain.organism.sentence import Sentence, join_words
from silverstain.studies.organism_variables import has_variable
from silverstain.studies.protocol import Case, Lab, Pair, Subject, Variable

LINE_END, LINE_BREAK = "line end", "line break"
SITES = (LINE_BREAK, "first word", "second word", "third word")
"""Where a plan may be: so many words of line two are written."""
LONGEST = 8
"""Words of a line."""


@dataclass(frozen=True, kw_only=True)
class Couplets:
    """What the study knows of the poems of a world: which words rhyme, and which words go with which end word."""

    rhymes: Rhymes
    goes_with: Callable[[str, str], bool | None]
    """(word on the way, end word): None for words that go with every end word."""

    def wanted(self, pair: Pair) -> frozenset[str]:
        """End words of the donor's rhyme that go with all that the base has already said of line two."""
        said = words_behind_the_break(pair.base.text)
        return frozenset(
            end for end in pair.donor.answers if all(self.goes_with(word, end) is not False for word in said)
        )


def words_behind_the_break(text: str) -> list[str]:
    return text[text.index(",") + 1 :].split()


def couplets_of(subject: Subject) -> Couplets:
    assert subject.sibling is not None  # as `lacks` says
    family = subject.sibling.families()[NAME]
    if isinstance(family, PlannedCouplets):
        table, agreeing = family.rhymes, {word: kind for kind, words in ADJECTIVES.items() for word in words}

        def goes_with(word: str, end: str) -> bool | None:
            if word in OWNERS:
                return table.owners[end] == word
            return agreeing[word] == table.kind_of(end) if word in agreeing else None

        return Couplets(rhymes=table, goes_with=goes_with)
    if isinstance(family, FreeCouplets):
        return Couplets(rhymes=family.rhymes, goes_with=lambda word, end: None)
    assert isinstance(family, CoupletsFamily)
    kinds = {word: kind for table in (VERBS, ADJECTIVES) for kind, words in table.items() for word in words}
    return Couplets(
        rhymes=family.rhymes,
        goes_with=lambda word, end: kinds[word] == family.rhymes.kind_of(end) if word in kinds else None,
    )


def rhyme_at(subject: Subject, site: str, n_written: int = 0) -> Variable:
    """The rhyme of line one, in prompts that end at the line break, or so many words behind it. What line two then
    says already must leave an end word of the donor's rhyme."""
    assert subject.sibling is not None
    family, couplets = subject.sibling.families()[NAME], couplets_of(subject)

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng = random.Random(f"poems {seed}")
        cases: list[Case] = []
        while len(cases) < 2 * n:
            made = family.sample(rng)
            form = made.variables.get("form", "")
            if form.startswith(("couplet", "neutral couplet", FREE)) and "named" not in form:
                cases.append(case_of(made, couplets.rhymes, n_written))
        pairs = [
            Pair(base=a, donor=b, counterfactual=b.answers)
            for a, b in zip(cases[:n], cases[n:], strict=True)
            if a.value != b.value
        ]
        return [pair for pair in pairs if couplets.wanted(pair)]

    form = "planned before the first words" if has_variable(subject.sibling, NAME, "rhyme") else ""
    name = "rhyme"
    if has_variable(subject.sibling, NAME, "kinds left open"):
        name, form = "kinds left open", "planned before the verb"
    return Variable(family=NAME, name=name, form=form, draw=draw, places=(site,))


def case_of(made: Sentence, rhymes: Rhymes, n_written: int = 0) -> Case:
    """Line one up to its break and so many words of line two; the site is the last token of it."""
    comma = made.words.index(",")
    first, site = made.variables["first"], SITES[n_written]
    line_one = join_words(made.words[: comma + 1])
    text = join_words(made.words[: comma + 1 + n_written])
    last = made.words[comma + n_written]
    return Case(
        text=text, value=made.variables["rhyme"], combination=first,
        answers=frozenset(word for word, _ in rhymes.rhyming(first)),
        spans={
            LINE_END: (len(line_one) - 1 - len(first), len(line_one) - 1), site: (len(text) - len(last), len(text)),
        },
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


def fits(couplets: Couplets, line: Sequence[str], end: str) -> bool:
    """Whether all words on the way could stand before another end word."""
    return all(couplets.goes_with(word, end) is not False for word in line[:-2])


def agrees(couplets: Couplets, line: Sequence[str]) -> bool | None:
    """Whether every word on the way that must go with the end word does; None where none must."""
    end = end_of(line)
    known = {word for word, _ in couplets.rhymes.words}
    said = [couplets.goes_with(word, end) for word in line[:-2] if end in known]
    judged = [one for one in said if one is not None]
    return all(judged) if judged else None
