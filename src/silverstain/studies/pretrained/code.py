"""What code decides: the bracket that closes a list is of the kind that opened it."""

from itertools import permutations, product

from silverstain.studies.pretrained.pairs import Half, PromptFamily, PromptPair, Side, halves

BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"))
VARIABLES = (
    "values", "numbers", "items", "prices", "sizes", "points", "names", "keys", "words", "data", "result", "colors",
)  # fmt: skip
CONTENTS = ("a, b, c", "x, y, z", "p, q, r", "left, right", "first, second, third", "i, j, k", "red, green", "u, v, w")


def closing_bracket() -> PromptFamily:
    """A list of names in brackets of three kinds, cut off before it is closed."""
    variables, contents = halves(VARIABLES, "variables"), halves(CONTENTS, "contents")

    def pairs(half: Half) -> list[PromptPair]:
        return [
            PromptPair(
                base=Side(prompt=f"{variable} = {opened}{inside}", answers=(closed,)),
                contrast=Side(prompt=f"{variable} = {other}{inside}", answers=(others,)),
                variables={"variable": variable, "inside": inside, "bracket": f"{opened} | {other}"},
            )
            for variable, inside in product(variables[half], contents[half])
            for (opened, closed), (other, others) in permutations(BRACKETS, 2)
        ]

    return PromptFamily(
        name="closing-bracket", about="a list is closed as it was opened", topic="brackets", pairs=pairs,
        choices=tuple(closed for _, closed in BRACKETS),
    )  # fmt: skip


def families() -> list[PromptFamily]:
    return [closing_bracket()]
