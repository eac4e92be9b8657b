"""What a noun is: one or several, by the word before it; somebody or something, by what refers to it."""

from itertools import permutations, product

from silverstain.studies.pretrained.pairs import Half, PromptFamily, PromptPair, Side, halves

OF_ONE = ("this", "one", "another", "each", "every", "a")
OF_SEVERAL = ("these", "those", "two", "several", "all", "many", "some", "few", "three", "both", "four", "most")
FRAMES = (
    "In the {place} the {person} found {determiner} {quality}",
    "Near the {place} the {person} saw {determiner} {quality}",
)
PLACES = ("garden", "church", "station", "office")
PERSONS = ("teacher", "farmer", "doctor", "student")
QUALITIES = ("old", "small", "beautiful")
NOUNS = {
    "book": "books", "car": "cars", "dog": "dogs", "man": "men", "woman": "women", "house": "houses", "tree": "trees",
    "box": "boxes", "coin": "coins", "letter": "letters", "bottle": "bottles", "knife": "knives", "key": "keys",
    "picture": "pictures", "map": "maps", "chair": "chairs", "table": "tables", "friend": "friends",
    "child": "children", "door": "doors", "piece": "pieces", "stone": "stones", "hat": "hats", "shoe": "shoes",
}  # fmt: skip
PEOPLE = (
    "teacher", "doctor", "farmer", "student", "king", "queen", "boy", "girl", "woman", "man", "soldier", "artist",
    "lawyer", "nurse", "friend", "child",
)  # fmt: skip
THINGS = (
    "house", "table", "book", "car", "ship", "tree", "picture", "letter", "bridge", "song", "story", "film", "river",
    "door", "city", "machine",
)  # fmt: skip
MENTIONS = ("This is the {},", "I remember the {},", "Nobody had seen the {},", "We talked about the {},")


def noun_number() -> PromptFamily:
    """The noun is singular or plural by a word before its adjective; nothing says which noun."""
    one_of, several_of = halves(OF_ONE, "of one"), halves(OF_SEVERAL, "of several")

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        determiners = product(one_of[half], several_of[half])
        for both, frame, place, person, quality in product(determiners, FRAMES, PLACES, PERSONS, QUALITIES):
            one, many = (
                Side(
                    prompt=frame.format(place=place, person=person, determiner=word, quality=quality),
                    answers=tuple(f" {noun}" for noun in nouns),
                )
                for word, nouns in zip(both, (NOUNS.keys(), NOUNS.values()), strict=True)
            )
            for (base, own), (contrast, other) in permutations(((one, both[0]), (many, both[1]))):
                found.append(PromptPair(base=base, contrast=contrast, variables={"determiner": f"{own} | {other}"}))
        return found

    choices = tuple(f" {noun}" for noun in (*NOUNS.keys(), *NOUNS.values()))
    return PromptFamily(
        name="noun-number", about="one or several, by the word before a noun that is left open", topic="noun number",
        pairs=pairs, choices=choices,
    )  # fmt: skip


def relative_pronoun() -> PromptFamily:
    """Of a person it goes on with *who*, of a thing with *which*."""
    split = {kind: halves(words, kind) for kind, words in (("people", PEOPLE), ("things", THINGS))}

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for mention, person, thing in product(MENTIONS, split["people"][half], split["things"][half]):
            sides = (
                (Side(prompt=mention.format(person), answers=(" who",)), person),
                (Side(prompt=mention.format(thing), answers=(" which",)), thing),
            )
            for (base, own), (contrast, other) in permutations(sides):
                found.append(PromptPair(base=base, contrast=contrast, variables={"noun": f"{own} | {other}"}))
        return found

    return PromptFamily(
        name="relative-pronoun", about="who or which, by the noun before", topic="somebody or something", pairs=pairs,
        choices=(" who", " which"),
    )  # fmt: skip


def families() -> list[PromptFamily]:
    return [noun_number(), relative_pronoun()]
