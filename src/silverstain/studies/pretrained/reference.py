"""What a word further back settles: the gender of a pronoun, the time of a verb, the sign that ends a sentence."""

from collections.abc import Mapping, Sequence
from itertools import permutations, product

from silverstain.studies.pretrained.pairs import HALVES, Half, PromptFamily, PromptPair, Side, halves

MEN = (
    "Tom", "John", "James", "David", "Peter", "Paul", "Jack", "Mark", "Simon", "Daniel", "Michael", "Robert", "George",
    "Henry", "William", "Charles",
)  # fmt: skip
WOMEN = (
    "Mary", "Sarah", "Anna", "Emma", "Alice", "Kate", "Laura", "Lucy", "Susan", "Helen", "Jane", "Elizabeth", "Julia",
    "Emily", "Linda", "Rachel",
)  # fmt: skip
PRONOUN = (
    "{} went home early because", "Everybody knows that {} smiled when", "{} was late for the meeting because",
)  # fmt: skip
REFLEXIVE = ("{} looked in the mirror and saw", "Last week {} fell off the chair and hurt")
KIN = {
    "brother": "sister", "father": "mother", "king": "queen", "uncle": "aunt", "boy": "girl", "man": "woman",
    "son": "daughter", "husband": "wife", "prince": "princess", "grandfather": "grandmother", "actor": "actress",
    "gentleman": "lady", "nephew": "niece", "grandson": "granddaughter", "boyfriend": "girlfriend", "monk": "nun",
}  # fmt: skip
BY_KIN = ("The {} went home early because", "The {} was late for the meeting because", "The {} said that")
QUESTIONS = (("Where", "There"), ("Why", "So"))
QUESTION = ("{} is the {worker} in the {place}", "{} was the {worker} at the {place}")
ROOMS = ("garden", "kitchen", "office", "park", "station", "house")
ONE_AND_MANY = {
    "teacher": "teachers", "doctor": "doctors", "farmer": "farmers", "student": "students", "soldier": "soldiers",
    "king": "kings", "nurse": "nurses", "driver": "drivers", "singer": "singers", "boy": "boys", "girl": "girls",
    "actor": "actors", "lawyer": "lawyers", "artist": "artists", "player": "players", "worker": "workers",
}  # fmt: skip
NUMBER = ("In the {place} the {} looked in the mirror and saw", "In the {place} the {} fell off the chair and hurt")
WORKERS = (
    "teacher", "doctor", "farmer", "student", "king", "queen", "company", "team", "artist", "author", "driver", "judge",
    "soldier", "nurse", "president", "museum",
)  # fmt: skip
PERIODS = ("week", "month", "year", "summer", "winter", "spring")
TENSE = ("He told me that {} {period} the {worker}", "I know that {} {period}, this {worker}")
TENSES = {"last": (" was", " had"), "next": (" will", " is")}


def pronoun() -> PromptFamily:
    """He or she, by a name."""
    return _by_gender("pronoun", "he or she, by the name before", PRONOUN, (" he", " she"), _couples("pronoun"))


def pronoun_of_kin() -> PromptFamily:
    """He or she, by a noun."""
    by_half = halves(KIN.items(), "pronoun of kin")
    return _by_gender("pronoun-of-kin", "he or she, by the noun before", BY_KIN, (" he", " she"), by_half)


def reflexive() -> PromptFamily:
    """Himself or herself, by a name."""
    answers = (" himself", " herself")
    return _by_gender("reflexive", "himself or herself, by the name before", REFLEXIVE, answers, _couples("reflexive"))


def _couples(key: str) -> dict[Half, list[tuple[str, str]]]:
    """Every man with every woman of a half."""
    men, women = halves(MEN, f"{key} men"), halves(WOMEN, f"{key} women")
    return {half: list(product(men[half], women[half])) for half in HALVES}


def reflexive_number() -> PromptFamily:
    """Themselves, or himself and herself, by the number of a noun."""
    split = halves(ONE_AND_MANY, "reflexive number")
    answers = ((" himself", " herself"), (" themselves",))

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for template, place, noun in product(NUMBER, ROOMS, split[half]):
            one, many = (
                Side(prompt=template.format(word, place=place), answers=right)
                for word, right in zip((noun, ONE_AND_MANY[noun]), answers, strict=True)
            )
            found += [
                PromptPair(base=base, contrast=contrast, variables={"noun": noun, "place": place})
                for base, contrast in permutations((one, many))
            ]
        return found

    return PromptFamily(
        name="reflexive-number", about="himself or themselves, by the number of the noun before", topic="agreement",
        pairs=pairs, choices=(*answers[0], *answers[1]),
    )  # fmt: skip


def _by_gender(
    name: str, about: str, templates: Sequence[str], answers: tuple[str, str],
    by_half: Mapping[Half, Sequence[tuple[str, str]]],
) -> PromptFamily:  # fmt: skip
    """Every (his, her) of a half in every template, both ways."""

    def pairs(half: Half) -> list[PromptPair]:
        return [
            PromptPair(
                base=Side(prompt=template.format(one), answers=(answer,)),
                contrast=Side(prompt=template.format(other), answers=(answer_of_other,)),
                variables={"name": f"{one} | {other}", "template": template},
            )
            for template in templates
            for his, hers in by_half[half]
            for (one, answer), (other, answer_of_other) in permutations(
                ((his, answers[0]), (hers, answers[1]))
            )
        ]  # fmt: skip

    return PromptFamily(name=name, about=about, topic="gender", pairs=pairs, choices=answers)


def tense() -> PromptFamily:
    """Was or will, by a word of time before the subject."""
    split = halves(WORKERS, "tense")

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for template, worker, period in product(TENSE, split[half], PERIODS):
            sides = {
                when: Side(prompt=template.format(when, period=period, worker=worker), answers=answers)
                for when, answers in TENSES.items()
            }
            found += [
                PromptPair(
                    base=sides[one], contrast=sides[other],
                    variables={"when": f"{one} | {other}", "subject": worker, "period": period},
                )
                for one, other in permutations(TENSES)
            ]  # fmt: skip
        return found

    every = tuple(answer for answers in TENSES.values() for answer in answers)
    return PromptFamily(
        name="tense", about="past or future, by a word before the subject", topic="tense", pairs=pairs, choices=every
    )


def question_mark() -> PromptFamily:
    """A question mark or a full stop, by the first word."""
    split = halves(WORKERS, "question mark")

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for words, template, worker, room in product(QUESTIONS, QUESTION, split[half], ROOMS):
            sides = {
                word: Side(prompt=template.format(word, worker=worker, place=room), answers=answers)
                for word, answers in zip(words, (("?",), (".", ",")), strict=True)
            }
            found += [
                PromptPair(
                    base=sides[one], contrast=sides[other], variables={"word": f"{one} | {other}", "subject": worker}
                )
                for one, other in permutations(words)
            ]
        return found

    return PromptFamily(
        name="question-mark", about="a question mark or a full stop, by the first word", topic="question",
        pairs=pairs, choices=("?", ".", ","),
    )  # fmt: skip


def families() -> list[PromptFamily]:
    return [pronoun(), pronoun_of_kin(), reflexive(), reflexive_number(), tense(), question_mark()]
