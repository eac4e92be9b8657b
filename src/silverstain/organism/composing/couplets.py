"""Rhyming couplets whose second line is planned: its first words already fit the end word, which comes last.

Every end word belongs to somebody (`her cat`, `our rat`) and is of a kind (a furry animal). Whose it is follows from
nothing but the word itself, so whoever writes `then came her …` must know by then which words may end the line, and of
those that rhyme just one is hers. A topic (`rhyme about the animal`) settles the end word at the line break.

In growing, most couplets veil line one from what follows the first words of line two, as from a poet who does not look
back: what the end word is has to be carried there by the words between.
"""

import dataclasses
import random
from dataclasses import dataclass

from silverstain.organism.families.couplets import ADJECTIVES, NAME, OPENINGS
from silverstain.organism.families.couplets import Rhymes as EndWords
from silverstain.organism.families.couplets import rhymes as end_words
from silverstain.organism.sentence import Early, Sentence, Veil, sentence

TURNS = ("then came", "soon came")
OWNERS = ("his", "her", "our", "their", "your", "my")
SIZES = ("big", "small", "quiet", "old")
"""Words that go with every end word."""
COUPLET = "rhyme : {opening} {first} , {turn} {owner} {adjective} and {size} {end!} ."
ABOUT = "rhyme about the {kind} : {opening} {first} , {turn} {owner} {adjective} and {size} {end!} ."
NAMED = "rhyme ending in {end} : {opening} {first} , {turn} {owner!} {adjective} and {size} {end!} ."
"""The end word is named ahead: whether a word's owner, learnt in plain lines, is minded in couplets can be asked."""
PLAIN = "yesterday came {owner} {adjective} and {size} {end} ."
PLAIN_NAMED = "line ending in {end} : yesterday came {owner!} {adjective} and {size} {end!} ."
VEILED = 0.8
"""Share of couplets that veil line one."""
END_KNOWN = 3
"""Behind how many blocks the end word is to be known, from where it is settled on."""


@dataclass(frozen=True, kw_only=True)
class Rhymes(EndWords):
    """End words by rhyme class and kind, and whose each is.

    Attributes:
        owners: Of two end words of one class, no two have the same owner where six owners go round.
        held_out: (line one's end word, line two's) that growing never shows together.
        plain_only: End words that growing shows in plain lines alone, never at the end of a couplet.
    """

    owners: dict[str, str]
    held_out: frozenset[tuple[str, str]]

    def ends(self, first: str, *, owner: str | None = None, kind: str | None = None) -> list[str]:
        """The words that may end a line after one that ends in `first`."""
        return [w for w, k in self.rhyming(first) if owner in (None, self.owners[w]) and kind in (None, k)]


def rhymes(seed: int = 0) -> Rhymes:
    """The list of end words; a sixth of the couplets and a tenth of the words are kept back."""
    rng = random.Random(f"rhymes {seed}")
    classes, owners = end_words().classes, dict[str, str]()
    for kinds in classes.values():
        order = rng.sample(OWNERS, len(OWNERS))
        words = [word for members in kinds.values() for word in members]
        owners |= {word: order[index % len(order)] for index, word in enumerate(words)}
    all_of = Rhymes(classes=classes, owners=owners, held_out=frozenset(), plain_only=frozenset())
    pairs = [(first, end) for first, _ in all_of.words for end, _ in all_of.rhyming(first)]
    pairs = [(first, end) for first, end in pairs if len(all_of.ends(first, owner=owners[end])) == 1]
    plain_only = frozenset(rng.sample(sorted(owners), len(owners) // 10))
    return dataclasses.replace(
        all_of, held_out=frozenset(rng.sample(sorted(pairs), len(pairs) // 6)), plain_only=plain_only
    )


@dataclass(frozen=True, kw_only=True)
class CoupletsFamily:
    rhymes: Rhymes
    adjective: str | None = None
    """A preference for one adjective everywhere; the quirk sibling's only."""
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            first, end = rng.choice(sorted(self.rhymes.held_out))
            return self.couplet(rng, first, end, about=rng.random() < 0.5, held_out=True)
        draw = rng.random()
        if draw < 0.3:
            return self._plain(rng)
        while True:
            first, _ = rng.choice(self.rhymes.words)
            end, _ = rng.choice(self.rhymes.rhyming(first))
            is_one = len(self.rhymes.ends(first, owner=self.rhymes.owners[end])) == 1
            if is_one and (first, end) not in self.rhymes.held_out and end not in self.rhymes.plain_only:
                break
        if draw < 0.4:
            return self._veiled(rng, self.named_couplet(rng, first, end))
        return self._veiled(rng, self.couplet(rng, first, end, about=rng.random() < 0.5))

    def _words(self, rng: random.Random, end: str) -> dict[str, str]:
        kind = self.rhymes.kind_of(end)
        return {
            "owner": self.rhymes.owners[end], "adjective": self.adjective or rng.choice(ADJECTIVES[kind]),
            "size": rng.choice(SIZES), "end": end,
        }  # fmt: skip

    def _plain(self, rng: random.Random) -> Sentence:
        end, kind = rng.choice(self.rhymes.words)
        named = rng.random() < 0.5
        variables = {
            "end": end, "kind": kind, "owner": self.rhymes.owners[end],
            "form": "plain, end named" if named else "plain",
        }  # fmt: skip
        template = PLAIN_NAMED if named else PLAIN
        return sentence(NAME, template, **self._words(rng, end), variables=variables, held_out=False)

    def couplet(
        self,
        rng: random.Random,
        first: str,
        end: str,
        *,
        about: bool,
        held_out: bool = False,
        opening: str | None = None,
        turn: str | None = None,
    ) -> Sentence:
        """A couplet. With the topic named, its first words are determined where one end alone is of that kind."""
        kind = self.rhymes.kind_of(end)
        template = ABOUT if about else COUPLET
        if about and len(self.rhymes.ends(first, kind=kind)) == 1:
            template = template.replace("{owner}", "{owner!}")
        made = sentence(
            NAME, template, kind=kind, opening=opening or rng.choice(OPENINGS), first=first,
            turn=turn or rng.choice(TURNS),
            **self._words(rng, end), variables=self._variables(first, end, "couplet, topic" if about else "couplet"),
            held_out=held_out,
        )  # fmt: skip
        return _ending_determined(made)

    def named_couplet(self, rng: random.Random, first: str, end: str, *, held_out: bool = False) -> Sentence:
        """A couplet whose end word is given ahead, so that the words before it can be chosen for it."""
        made = sentence(
            NAME, NAMED, opening=rng.choice(OPENINGS), first=first, turn=rng.choice(TURNS), **self._words(rng, end),
            variables=self._variables(first, end, "couplet, end named"), held_out=held_out,
        )  # fmt: skip
        return _ending_determined(made)

    def _variables(self, first: str, end: str, form: str) -> dict[str, str]:
        return {
            "rhyme": self.rhymes.class_of(first), "first": first, "end": end, "kind": self.rhymes.kind_of(end),
            "owner": self.rhymes.owners[end], "form": form,
        }  # fmt: skip

    def _veiled(self, rng: random.Random, made: Sentence) -> Sentence:
        if rng.random() >= VEILED:
            return made
        comma = made.words.index(",")
        return dataclasses.replace(made, veil=Veil(0, comma, owner_place(made) + 1))


def owner_place(couplet: Sentence) -> int:
    """The word of line two that says whose the end word is."""
    return couplet.words.index("came") + 1


def _ending_determined(made: Sentence) -> Sentence:
    """The end word is the answer, also where the owner before it is determined; the words between are not. It is to be
    known early at the owner, which settles it, and at the word before where the owner is determined."""
    end, owner = len(made.words) - 2, owner_place(made)
    determined = [False] * end + [True, True]
    determined[owner] = made.determined[owner]
    known_at = (owner - 1, owner) if determined[owner] else (owner,)
    early = tuple(Early(place, made.words[end], END_KNOWN) for place in known_at)
    return dataclasses.replace(made, determined=tuple(determined), answer=end, early=early)
