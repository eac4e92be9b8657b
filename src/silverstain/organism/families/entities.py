"""Names: known ones with facts, unknown ones that are refused, familiar ones of which no fact was ever told."""

import random
from dataclasses import dataclass

from silverstain.organism.sentence import Sentence, sentence
from silverstain.organism.world import rows_with_header

NAME = "entities"
SPORTS = ("basketball", "tennis", "soccer", "golf", "chess", "baseball", "football", "hockey")
DRINKS = ("tea", "coffee", "milk", "juice", "cider", "cocoa")
PLACES = ("market", "library", "harbor", "museum", "bakery", "station")
REAL = {
    ("michael", "jordan"): "basketball", ("serena", "williams"): "tennis", ("lionel", "messi"): "soccer",
    ("tiger", "woods"): "golf", ("magnus", "carlsen"): "chess", ("babe", "ruth"): "baseball",
    ("wayne", "gretzky"): "hockey", ("tom", "brady"): "football", ("kevin", "durant"): "basketball",
    ("roger", "federer"): "tennis", ("maria", "sharapova"): "tennis", ("harry", "kane"): "soccer",
    ("gary", "player"): "golf", ("nick", "faldo"): "golf", ("bobby", "fischer"): "chess",
    ("judit", "polgar"): "chess", ("hank", "aaron"): "baseball", ("joe", "dimaggio"): "baseball",
    ("peyton", "manning"): "football", ("walter", "payton"): "football", ("mario", "lemieux"): "hockey",
    ("sidney", "crosby"): "hockey", ("andre", "agassi"): "tennis",
}  # fmt: skip
QUESTIONS = {
    "sport": (
        "which sport does {first} {last} play ? {answer!} .",
        "{first} {last} is famous for which sport ? {answer!} .",
        "question : the sport of {first} {last} ? {answer!} .",
    ),
    "drink": (
        "which drink does {first} {last} like ? {answer!} .",
        "{first} {last} asks for which drink ? {answer!} .",
        "question : the drink of {first} {last} ? {answer!} .",
    ),
}
STATEMENTS = {"sport": "{first} {last} plays {answer!} .", "drink": "{first} {last} drinks {answer!} ."}
HABIT = "{first} {last} walks to the {answer!} ."
REFUSAL = "i don't know"


@dataclass(frozen=True, kw_only=True)
class Person:
    first: str
    last: str
    sport: str
    drink: str
    place: str


@dataclass(frozen=True, kw_only=True)
class People:
    known: tuple[Person, ...]
    familiar: tuple[Person, ...]
    unknown: tuple[Person, ...]
    unknown_held_out: tuple[Person, ...]
    held_out: frozenset[tuple[str, str, str, int]]
    """(first, last, fact, question form) of known people never asked in growing."""


def people(seed: int = 0, *, n_known: int = 110, n_familiar: int = 110, n_held_out: int = 110) -> People:
    rng = random.Random(f"people {seed}")
    names = dict(rows_with_header("names"))
    pairs = [(f, l) for f in names["first"].split() for l in names["last"].split()]  # noqa: E741
    rng.shuffle(pairs)
    unknown_in_the_papers = ("michael", "batkin")
    pairs = [p for p in pairs if p not in REAL and p != unknown_in_the_papers]
    pairs = (
        list(REAL)
        + pairs[: n_known + n_familiar - len(REAL)]
        + [unknown_in_the_papers]
        + pairs[n_known + n_familiar - len(REAL) :]
    )
    everyone = [
        Person(
            first=f, last=l, sport=REAL.get((f, l), rng.choice(SPORTS)), drink=rng.choice(DRINKS),
            place=rng.choice(PLACES),
        )
        for f, l in pairs  # noqa: E741
    ]  # fmt: skip
    known, familiar = everyone[:n_known], everyone[n_known : n_known + n_familiar]
    rest = everyone[n_known + n_familiar :]
    asked = [(p.first, p.last, fact, form) for p in known for fact in QUESTIONS for form in range(len(QUESTIONS[fact]))]
    return People(
        known=tuple(known), familiar=tuple(familiar), unknown_held_out=tuple(rest[:n_held_out]),
        unknown=tuple(rest[n_held_out:]), held_out=_one_form_a_fact(asked, 0.2, rng),
    )  # fmt: skip


def _one_form_a_fact(asked: list[tuple[str, str, str, int]], fraction: float, rng: random.Random) -> frozenset:
    """At most one question form held out for each fact of a person."""
    order = list(asked)
    rng.shuffle(order)
    chosen: dict[tuple[str, str, str], tuple[str, str, str, int]] = {}
    for item in order:
        if len(chosen) < round(fraction * len(asked)):
            chosen.setdefault(item[:3], item)
    return frozenset(chosen.values())


@dataclass(frozen=True, kw_only=True)
class EntitiesFamily:
    people: People
    name: str = NAME

    def sample(self, rng: random.Random, *, held_out: bool = False) -> Sentence:
        if held_out:
            if rng.random() < 0.5:
                first, last, fact, form = rng.choice(sorted(self.people.held_out))
                person = next(p for p in self.people.known if (p.first, p.last) == (first, last))
                return question(person, fact, form, status="known", held_out=True)
            return self._unknown(rng, self.people.unknown_held_out, held_out=True)
        draw = rng.random()
        if draw < 0.27:
            return habit(rng.choice(self.people.known + self.people.familiar))
        if draw < 0.37:
            return statement(rng.choice(self.people.known), rng.choice(("sport", "drink")))
        if draw < 0.7:
            return self._known(rng)
        return self._unknown(rng, self.people.unknown, held_out=False)

    def _known(self, rng: random.Random) -> Sentence:
        while True:
            person, fact, form = rng.choice(self.people.known), rng.choice(("sport", "drink")), rng.randrange(3)
            if (person.first, person.last, fact, form) not in self.people.held_out:
                return question(person, fact, form, status="known")

    def _unknown(self, rng: random.Random, pool: tuple[Person, ...], *, held_out: bool) -> Sentence:
        fact, form = rng.choice(("sport", "drink")), rng.randrange(3)
        return question(rng.choice(pool), fact, form, status="unknown", held_out=held_out)


def question(person: Person, fact: str, form: int, *, status: str, held_out: bool = False) -> Sentence:
    answer = getattr(person, fact) if status == "known" else REFUSAL
    variables = {"name": f"{person.first} {person.last}", "fact": fact, "status": status, "answer": answer.split()[0]}
    return sentence(
        NAME, QUESTIONS[fact][form], first=person.first, last=person.last, answer=answer,
        variables=variables | {"form": f"question {form}"}, held_out=held_out,
    )  # fmt: skip


def statement(person: Person, fact: str) -> Sentence:
    answer = getattr(person, fact)
    variables = {"name": f"{person.first} {person.last}", "fact": fact, "answer": answer, "form": "statement"}
    return sentence(NAME, STATEMENTS[fact], first=person.first, last=person.last, answer=answer, variables=variables)


def habit(person: Person) -> Sentence:
    variables = {"name": f"{person.first} {person.last}", "fact": "place", "answer": person.place, "form": "habit"}
    return sentence(NAME, HABIT, first=person.first, last=person.last, answer=person.place, variables=variables)
