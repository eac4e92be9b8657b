"""Poems of a world: which words rhyme, what goes with which end word, prompts up to where a plan may be, and the lines
that a model writes behind them.
"""

import random
from collections.abc import Callable, Iterable, Sequence
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

    def fitting(self, ends: Iterable[str], said: Sequence[str]) -> frozenset[str]:
        """The end words that go with all words of line two that are said already."""
        return frozenset(end for end in ends if all(self.goes_with(word, end) is not False for word in said))

    def wanted(self, pair: Pair) -> frozenset[str]:
        """End words of the donor's rhyme that go with all that the base has already said of line two."""
        return self.fitting(pair.donor.answers, words_behind_the_break(pair.base.text))

    def plan(self, word: str, said: Sequence[str]) -> str:
        """What can be planned behind a line one that ends in a word of this rhyme: the rhyme, or where the words that
        are said already rule some of its end words out, the others."""
        rhyme = self.rhymes.class_of(word)
        ends = [end for words in self.rhymes.classes[rhyme].values() for end in words]
        still = self.fitting(ends, said)
        return rhyme if len(still) == len(ends) else " ".join(sorted(still))


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


def plan_at(subject: Subject, site: str, n_written: int = 0) -> Variable:
    """What is planned in prompts that end at the line break, or so many words behind it: the rhyme of line one, and of
    its end words those that go with what line two says already (`Couplets.plan`). The donor has another line one and
    the same words behind it, and these must leave an end word of its rhyme."""
    assert subject.sibling is not None
    family, couplets = subject.sibling.families()[NAME], couplets_of(subject)

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng = random.Random(f"poems {seed}")
        made: list[Sentence] = []
        while len(made) < 2 * n:
            one = family.sample(rng)
            form = one.variables.get("form", "")
            if form.startswith(("couplet", "neutral couplet", FREE)) and "named" not in form:
                made.append(one)
        pairs = []
        for base, donor in zip(made[:n], made[n:], strict=True):
            said = second_line(base)[:n_written]
            a, b = case_of(base, couplets, said), case_of(donor, couplets, said)
            pairs.append(Pair(base=a, donor=b, counterfactual=couplets.fitting(b.answers, said)))
        return [pair for pair in pairs if pair.base.value != pair.donor.value and pair.counterfactual]

    form = "planned before the first words" if has_variable(subject.sibling, NAME, "rhyme") else ""
    name = "rhyme"
    if has_variable(subject.sibling, NAME, "kinds left open"):
        name, form = "kinds left open", "planned before the verb"
    return Variable(family=NAME, name=name, form=form, draw=draw, places=(site,))


def second_line(made: Sentence) -> tuple[str, ...]:
    return made.words[made.words.index(",") + 1 :]


def case_of(made: Sentence, couplets: Couplets, said: Sequence[str] = ()) -> Case:
    """Line one up to its break, and the words of line two that are said; the site is the last token of it."""
    first, site = made.variables["first"], SITES[len(said)]
    line_one = join_words(made.words[: made.words.index(",") + 1])
    text = join_words((line_one, *said))
    last = said[-1] if said else ","
    return Case(
        text=text, value=couplets.plan(first, said), combination=first,
        answers=frozenset(word for word, _ in couplets.rhymes.rhyming(first)),
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
