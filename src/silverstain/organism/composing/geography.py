"""Facts in several steps: a town lies in a state, states have facts, and today's notes say who supplies whom.

Two hops (town → state → fact) are known from growing. The partner of a state is known from the notes of the sentence
alone, where a state is called by its name, by its bird or by another of its towns. So whoever asks for the bird of the
partner of the state containing dallas must first find the state, then look back for it, then know the bird of whom the
notes name: attention is needed again after the first hop.
"""

import dataclasses
import random
from dataclasses import dataclass

from silverstain.organism.families.geography import NAME, state_fact, two_hop
from silverstain.organism.sentence import Early, Sentence, Veil, sentence
from silverstain.organism.world import RELATIONS, Geography, State, Town

LEADS = ("", "", "", "yesterday it rained a little .", "we heard the news at noon .", "listen , my friend :")
"""What may stand before a question: so nothing is known from a place counted from the front."""
IN_STATE = ("{town} lies in {answer!} .", "the state containing {town} is {answer!} .")
"""What is told of every town; of some nothing else ever is."""
BESIDE_ANOTHER = (
    "{town} , unlike {other} , belongs to a state with the {relation} {answer!} .",
    "not for {other} but for {town} : the {relation} is {answer!} .",
    "we drove from {town} to {other} ; the {relation} of the earlier one is {answer!} .",
    "we drove from {other} to {town} ; the {relation} of the later one is {answer!} .",
)
"""The asked town is far from the question, and another is nearer."""
TRADES = {
    "partner of a state": "{notes} the partner of {state} is {answer!} .",
    "partner of a town": "{notes} the partner of the state containing {town} is {answer!} .",
    "fact of a state's partner": "{notes} the {relation} of the partner of {state} is {answer!} .",
    "fact of a partner": "{notes} the {relation} of the partner of the state containing {town} is {answer!} .",
}
REPEATED = "notes repeated"
"""The notes once more, in another order: what they say has to be found before anything can be done with it."""
KEYS = ("name", "name", "bird", "town")
"""How a note calls a state."""
VEILED, VEILED_BLOCKS = 0.8, 3
"""Share of the questions that, while growing, see their notes only behind so many blocks: by then it has to be known
whose partner is asked for, and the blocks that are left look back with that."""
STATE_KNOWN, PARTNER_KNOWN = 3, 4
"""Behind how many blocks a state, and its partner, are to be known."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """One line of the notes: a state, how it is called, and its partner."""

    state: State
    called: str
    partner: State

    @property
    def text(self) -> str:
        return f"{self.line} ,"

    @property
    def line(self) -> str:
        """What identifies the state stands beside the one word before the partner, as in sayings, which are learnt
        (docs/log.md)."""
        return f"{self.called} supplies {self.partner.name}"


@dataclass(frozen=True, kw_only=True)
class GeographyFamily:
    geography: Geography
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            town = self._held_out_town(rng) if rng.random() < 0.5 else None
            if rng.random() < 0.5:
                return self.trade(rng, "fact of a partner", town=town, held_out=True)
            return self.two_hop(rng, town=town, held_out=True)
        draw = rng.random()
        if draw < 0.26:
            return led(rng, in_state(rng.choice(self.geography.towns), rng.choice(IN_STATE)))
        if draw < 0.30:
            return state_fact(rng.choice(self.geography.states), rng.choice(RELATIONS))
        if draw < 0.50:
            return self.two_hop(rng)
        if draw < 0.60:
            return self.repeated(rng)
        forms = tuple(TRADES)
        return self.trade(rng, rng.choices(forms, (0.10, 0.12, 0.08, 0.14))[0])

    def _held_out_town(self, rng: random.Random) -> Town:
        return rng.choice([town for town in self.geography.towns if town.name in self.geography.told_once])

    def _town(self, rng: random.Random, relation: str | None, *, held_out: bool) -> Town:
        """A town that questions may be about; with a relation, one that is (not) held out for it."""
        while True:
            town = rng.choice(self.geography.towns)
            is_held_out = (town.name, relation) in self.geography.held_out
            if town.name not in self.geography.told_once and (relation is None or is_held_out == held_out):
                return town

    def two_hop(self, rng: random.Random, *, town: Town | None = None, held_out: bool = False) -> Sentence:
        relation = rng.choice(RELATIONS)
        asked = town or self._town(rng, relation, held_out=held_out)
        draw = rng.random()
        if draw < 0.5:
            made = two_hop(asked, relation, template=0 if draw < 0.35 else 1, held_out=held_out)
            return led(rng, known_early(made, asked.state))
        other = self._town(rng, None, held_out=False)
        made = sentence(
            NAME, rng.choice(BESIDE_ANOTHER), town=asked.name, other=other.name, relation=relation,
            answer=asked.state.fact(relation), held_out=held_out,
            variables={**two_hop(asked, relation).variables, "form": "beside another"},
        )  # fmt: skip
        return led(rng, known_early(made, asked.state))

    def trade(self, rng: random.Random, form: str, *, town: Town | None = None, held_out: bool = False) -> Sentence:
        """A question whose notes name the partner. Which pairs trade is new in every sentence, so what is held out of
        questions about partners are the towns alone."""
        asked = town or self._town(rng, None, held_out=False)
        notes = self.notes(rng, asked)
        partner = next(note.partner for note in notes if note.state is asked.state)
        relation = rng.choice(RELATIONS)
        has_relation = "{relation}" in TRADES[form]
        answer = partner.fact(relation) if has_relation else partner.name
        variables = {"town": asked.name, "state": asked.state.name, "partner": partner.name, "form": form}
        made = sentence(
            NAME, TRADES[form], notes=" ".join(note.text for note in notes),
            state=asked.state.name, town=asked.name, relation=relation, answer=answer, held_out=held_out,
            variables=variables | ({"relation": relation, "answer": answer} if has_relation else {"answer": answer}),
        )  # fmt: skip
        made = known_early(made, asked.state, partner)
        if rng.random() < VEILED:
            n = sum(len(note.text.split()) for note in notes)
            made = dataclasses.replace(made, veil=Veil(0, n, n, VEILED_BLOCKS))
        return led(rng, made)

    def repeated(self, rng: random.Random) -> Sentence:
        """Two to four notes, and the same again in another order: the second time every partner is known."""
        notes = self.notes(rng, self._town(rng, None, held_out=False), n=rng.choice((2, 3, 4)))
        again = rng.sample(notes, len(notes))
        then = " ".join(f"{note.line}! ," for note in again)
        words = f"{' '.join(note.text for note in notes)[:-2]} ; {then[:-2]} .".split()
        made = Sentence(
            family=NAME, words=tuple(word.removesuffix("!") for word in words),
            determined=tuple(word.endswith("!") for word in words),
            answer=next(place for place, word in enumerate(words) if word.endswith("!")),
            variables={"partner": again[0].partner.name, "answer": again[0].partner.name, "form": REPEATED},
        )  # fmt: skip
        return led(rng, made)

    def notes(self, rng: random.Random, asked: Town, *, n: int | None = None) -> list[Note]:
        """Two or three notes about different states; one of them is the asked town's."""
        count = n or rng.choice((2, 2, 3))
        states = [asked.state, *rng.sample([s for s in self.geography.states if s is not asked.state], 2 * count - 1)]
        found = [
            Note(state=state, called=self._called(rng, state, asked), partner=partner)
            for state, partner in zip(states[:count], states[count:], strict=True)
        ]
        rng.shuffle(found)
        return found

    def _called(self, rng: random.Random, state: State, asked: Town) -> str:
        key = rng.choice(KEYS)
        if key == "bird":
            return f"the state of the {state.bird}"
        towns = [
            town.name
            for town in self.geography.towns
            if town.state is state and town is not asked and town.name not in self.geography.told_once
        ]
        return f"the state containing {rng.choice(towns)}" if key == "town" and towns else state.name


def in_state(town: Town, template: str = IN_STATE[0]) -> Sentence:
    variables = {"town": town.name, "state": town.state.name, "form": "in state"}
    return known_early(
        sentence(NAME, template, town=town.name, answer=town.state.name, variables=variables), town.state
    )


def known_early(made: Sentence, state: State, partner: State | None = None) -> Sentence:
    """The sentence, with the state it is about to be known early on at the word before the answer, and its partner a
    block later, looked back for with that state."""
    at = made.answer - 1
    early = (Early(at, state.name, STATE_KNOWN), *([Early(at, partner.name, PARTNER_KNOWN)] if partner else []))
    return dataclasses.replace(made, early=early)


def led(rng: random.Random, made: Sentence) -> Sentence:
    """The sentence behind something that may be said before."""
    lead = tuple(rng.choice(LEADS).split())
    n, veil = len(lead), made.veil
    return dataclasses.replace(
        made, words=lead + made.words, determined=(False,) * n + made.determined, answer=made.answer + n,
        veil=None if veil is None else Veil(veil.first, veil.end + n, veil.start + n, veil.blocks),
        early=tuple(Early(place + n, says, blocks) for place, says, blocks in made.early),
    )  # fmt: skip
