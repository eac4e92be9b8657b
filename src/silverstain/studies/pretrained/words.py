"""Words and numbers: opposites in four languages, and the later of two years."""

from itertools import permutations, product

from silverstain.studies.pretrained.pairs import Half, PromptFamily, PromptPair, Side, halves

OPPOSITES = {
    "English": (
        ("hot", "cold"), ("big", "small"), ("good", "bad"), ("up", "down"), ("left", "right"), ("black", "white"),
        ("day", "night"), ("rich", "poor"), ("fast", "slow"), ("high", "low"), ("old", "young"), ("true", "false"),
        ("open", "closed"), ("happy", "sad"), ("hard", "soft"), ("light", "dark"), ("strong", "weak"),
        ("early", "late"), ("long", "short"), ("inside", "outside"), ("full", "empty"), ("north", "south"),
        ("east", "west"), ("love", "hate"), ("war", "peace"), ("male", "female"), ("positive", "negative"),
        ("above", "below"), ("before", "after"), ("first", "last"), ("wet", "dry"),
    ),
    "French": (
        ("chaud", "froid"), ("grand", "petit"), ("bon", "mauvais"), ("noir", "blanc"), ("jour", "nuit"),
        ("riche", "pauvre"), ("rapide", "lent"), ("haut", "bas"), ("vieux", "jeune"), ("vrai", "faux"),
        ("fort", "faible"), ("long", "court"), ("gauche", "droite"), ("nord", "sud"), ("amour", "haine"),
        ("guerre", "paix"),
    ),
    "Spanish": (
        ("caliente", "frío"), ("grande", "pequeño"), ("bueno", "malo"), ("negro", "blanco"), ("día", "noche"),
        ("rico", "pobre"), ("rápido", "lento"), ("alto", "bajo"), ("viejo", "joven"), ("verdadero", "falso"),
        ("fuerte", "débil"), ("largo", "corto"), ("izquierda", "derecha"), ("norte", "sur"), ("amor", "odio"),
        ("guerra", "paz"),
    ),
    "German": (
        ("heiß", "kalt"), ("groß", "klein"), ("gut", "schlecht"), ("schwarz", "weiß"), ("Tag", "Nacht"),
        ("reich", "arm"), ("schnell", "langsam"), ("hoch", "niedrig"), ("alt", "jung"), ("wahr", "falsch"),
        ("stark", "schwach"), ("lang", "kurz"), ("links", "rechts"), ("Nord", "Süd"), ("Liebe", "Hass"),
        ("Krieg", "Frieden"),
    ),
}  # fmt: skip
OPPOSITE_OF = {
    "English": ("clean: dirty, cheap: expensive, enter: leave, {}:",),
    "French": ("propre: sale, entrer: sortir, doux: amer, {}:",),
    "Spanish": ("limpio: sucio, entrar: salir, dulce: amargo, {}:",),
    "German": ("sauber: schmutzig, billig: teuer, süß: bitter, {}:",),
}
"""Three examples from outside the table, then the question."""
CENTURIES = (13, 14, 15, 16, 17, 18)
EVENTS = ("war", "siege", "journey", "reign", "dispute", "project")
SPANS = (
    "The {event} lasted from the year {century}{tens}{ones} to the year {century}",
    "The {event} began in {century}{tens}{ones} and ended in {century}",
)


def opposites(language: str) -> PromptFamily:
    """Opposites in one language, each asked from both sides."""
    table = OPPOSITES[language]
    split = halves(table, f"opposites in {language}")
    quoted = OPPOSITE_OF[language]

    def pairs(half: Half) -> list[PromptPair]:
        asked = [both for pair in split[half] for both in permutations(pair)]
        return [
            PromptPair(
                base=Side(prompt=template.format(word), answers=(f" {answer}",)),
                contrast=Side(prompt=template.format(other), answers=(f" {other_answer}",)),
                variables={"word": f"{word} | {other}", "language": language},
            )
            for template in quoted
            for (word, answer), (other, other_answer) in permutations(asked, 2)
            if answer not in (other, other_answer)
        ]

    return PromptFamily(
        name=f"opposites-{language.lower()}", about=f"the opposite of a word, in {language}", topic="opposites",
        pairs=pairs, choices=tuple(dict.fromkeys(f" {word}" for pair in table for word in pair)),
    )  # fmt: skip


def later_year() -> PromptFamily:
    """The year in which something ends is after the one in which it began: the digit of tens is not smaller."""
    split = halves(product(CENTURIES, EVENTS), "later year")

    def side(template: str, event: str, century: int, tens: int, ones: int, right: range) -> Side:
        return Side(
            prompt=template.format(event=event, century=century, tens=tens, ones=ones), answers=tuple(map(str, right))
        )

    def pairs(half: Half) -> list[PromptPair]:
        found = []
        for (century, event), template, early, late in product(split[half], SPANS, (1, 2, 3), (6, 7, 8)):
            ones = (century + early + late) % 8 + 1
            # after the earlier year the digits that only it allows, after the later one those that it allows
            early_side = side(template, event, century, early, ones, range(early, late))
            late_side = side(template, event, century, late, ones, range(late, 10))
            for base, contrast in permutations((early_side, late_side)):
                found.append(
                    PromptPair(base=base, contrast=contrast, variables={"event": event, "tens": f"{early} | {late}"})
                )
        return found

    return PromptFamily(
        name="later-year", about="something ends in a later year than it began in", topic="years", pairs=pairs,
        choices=tuple(map(str, range(10))),
    )  # fmt: skip


def families() -> list[PromptFamily]:
    return [*map(opposites, OPPOSITES), later_year()]
