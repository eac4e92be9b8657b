"""What grammar and the sentence decide: agreement, the indirect object, the article before a noun that is planned."""

from collections.abc import Sequence
from itertools import permutations, product

from silverstain.studies.pretrained.pairs import Half, PromptFamily, PromptPair, Side, halves

NOUNS = {
    "key": "keys", "book": "books", "car": "cars", "dog": "dogs", "tree": "trees", "house": "houses", "boy": "boys",
    "girl": "girls", "picture": "pictures", "letter": "letters", "teacher": "teachers", "doctor": "doctors",
    "farmer": "farmers", "student": "students", "ship": "ships", "bird": "birds", "table": "tables", "cup": "cups",
    "horse": "horses", "door": "doors",
}  # fmt: skip
"""Singular and plural."""
PLACES = (
    "near the {}", "behind the {}", "beside the {}", "from the {}", "next to the {}",
)  # fmt: skip
ATTRACTORS = ("window", "road", "river", "wall", "garden", "church", "bridge", "station")
CLAUSES = ("that the {} saw", "that the {} liked", "which the {} found", "that the {} wanted")
OWNERS = ("king", "queen", "artist", "soldier", "child", "woman")
NAMES = (
    "Tom", "John", "Mary", "Sarah", "James", "David", "Anna", "Peter", "Paul", "Emma", "Alice", "Jack", "Kate",
    "Mark", "Laura", "Simon", "Lucy", "Daniel", "Michael", "Robert",
)  # fmt: skip
SCENES = (
    "Then {a} and {b} went to the {place}. {giver} gave a {thing} to",
    "When {a} and {b} met at the {place}, {giver} handed the {thing} to",
)
MEETING_PLACES = ("park", "station", "school", "office")
THINGS = ("book", "ticket", "ball", "letter")
VOWEL = (
    "apple", "orange", "egg", "onion", "elephant", "eagle", "owl", "umbrella", "engine", "island", "artist", "actor",
    "engineer", "author", "arrow", "ant", "oven", "angel", "army", "airport",
)  # fmt: skip
CONSONANT = (
    "banana", "lemon", "potato", "tiger", "lion", "horse", "table", "hammer", "bridge", "castle", "doctor", "teacher",
    "farmer", "pilot", "sword", "spider", "bottle", "ghost", "church", "garden",
)  # fmt: skip
NAMED = ("house: a house, ice: an ice, cat: a cat, arm: an arm, {}:",)
CLUED = ("person who rules a country: a king, person who leads an army: an officer, animal that barks: a dog, {}:",)
CLUES = {
    "fruit that is round and keeps the doctor away": "apple", "fruit that is long and yellow": "banana",
    "animal with the long trunk": "elephant", "animal with the long neck": "giraffe",
    "bird that hunts at night": "owl", "person who flies a plane": "pilot", "person who paints pictures": "artist",
    "person who writes books": "author", "person who teaches children": "teacher",
    "person who treats the sick": "doctor", "person who designs buildings": "architect",
    "person who designs machines": "engineer", "person who grows crops": "farmer", "person who bakes bread": "baker",
    "person who performs on stage": "actor", "person who studies the stars": "astronomer",
    "person who travels in space": "astronaut", "person who cuts hair": "barber",
    "person who repairs cars": "mechanic", "person who takes photographs": "photographer",
    "person who writes poems": "poet", "person who argues in court": "lawyer",
    "person who keeps the accounts": "accountant", "person who repairs wires": "electrician",
    "person who cleans teeth": "dentist", "person who sings songs": "singer",
}  # fmt: skip


def agreement() -> PromptFamily:
    """The verb agrees with a subject that a phrase separates from it."""
    phrases = [place.format(attractor) for place, attractor in product(PLACES, ATTRACTORS)]
    return _agreement("agreement", "the verb agrees with its subject across a phrase", "phrase", phrases)


def agreement_across_clause() -> PromptFamily:
    """The verb agrees with a subject that a clause with a noun of its own separates from it."""
    clauses = [clause.format(owner) for clause, owner in product(CLAUSES, OWNERS)]
    return _agreement("agreement-across-clause", "the verb agrees with its subject across a clause", "clause", clauses)


def _agreement(name: str, about: str, between: str, phrases: Sequence[str]) -> PromptFamily:
    """Every noun of a half, in singular and plural, before each of some phrases."""
    split = halves(NOUNS, name)

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for noun, phrase in product(split[half], phrases):
            one, many = (Side(prompt=f"I know that the {word} {phrase}", answers=answers)
                         for word, answers in ((noun, (" is", " was")), (NOUNS[noun], (" are", " were"))))  # fmt: skip
            for base, contrast in ((one, many), (many, one)):
                found.append(PromptPair(base=base, contrast=contrast, variables={"noun": noun, between: phrase}))
        return found

    return PromptFamily(
        name=name, about=about, topic="agreement", pairs=pairs, choices=(" is", " was", " are", " were")
    )  # fmt: skip


def indirect_object() -> PromptFamily:
    """Of two names the one that did not give receives."""
    split = halves(NAMES, "indirect object")

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for (a, b), scene, place, thing in product(permutations(split[half], 2), SCENES, MEETING_PLACES, THINGS):
            first, second = (scene.format(a=a, b=b, place=place, thing=thing, giver=giver) for giver in (b, a))
            for (base, own), (contrast, other) in permutations(((first, a), (second, b))):
                found.append(
                    PromptPair(
                        base=Side(prompt=base, answers=(f" {own}",)),
                        contrast=Side(prompt=contrast, answers=(f" {other}",)),
                        variables={"names": f"{a}, {b}", "giver": f"{other} | {own}"},
                    )
                )
        return found

    return PromptFamily(
        name="indirect-object", about="of two people the one who did not give receives", topic="indirect object",
        pairs=pairs, choices=tuple(f" {name}" for name in NAMES),
    )  # fmt: skip


def article() -> PromptFamily:
    """The article fits a noun that was named before and is written next."""
    return _articles("article", "a or an, before a noun that was named", NAMED, {w: w for w in (*VOWEL, *CONSONANT)})


def article_from_clue() -> PromptFamily:
    """The article fits a noun that nothing but a description names."""
    return _articles("article-from-clue", "a or an, before a noun that was described", CLUED, CLUES)


def _articles(name: str, about: str, templates: tuple[str, ...], nouns: dict[str, str]) -> PromptFamily:
    split = {
        kind: halves([clue for clue, noun in nouns.items() if (noun[0] in "aeiou") == kind], f"{name} {kind}")
        for kind in (True, False)
    }

    def side(template: str, clue: str) -> Side:
        return Side(prompt=template.format(clue), answers=(" an" if nouns[clue][0] in "aeiou" else " a",))

    def pairs(half: Half) -> list[PromptPair]:
        return [
            PromptPair(
                base=side(template, one), contrast=side(template, other),
                variables={"noun": f"{nouns[one]} | {nouns[other]}"},
            )
            for template in templates
            for vowel, consonant in product(split[True][half], split[False][half])
            for one, other in permutations((vowel, consonant))
        ]  # fmt: skip

    return PromptFamily(name=name, about=about, topic="article", pairs=pairs, choices=(" a", " an"))


def families() -> list[PromptFamily]:
    return [agreement(), indirect_object(), article(), article_from_clue(), agreement_across_clause()]
