"""How much room text takes, in columns of a terminal."""

from unicodedata import category, combining, east_asian_width


def columns_of_letter(letter: str) -> int:
    """2 for Chinese and the like, 0 for marks that stand on the letter before them, else 1."""
    if east_asian_width(letter) in "WF":
        return 2
    return 0 if combining(letter) or category(letter) in ("Mn", "Me", "Cf") else 1


def columns_of(text: str) -> int:
    """How many terminal columns a text takes."""
    return len(text) if text.isascii() else sum(map(columns_of_letter, text))


def shortened(text: str, columns: int) -> str:
    """The text, cut with … if it takes more columns than there are; no more of it is looked at than fits."""
    taken, fits = 0, 0
    for at, letter in enumerate(text):
        taken += columns_of_letter(letter)
        if taken > columns:
            return text[:fits].rstrip() + "…"
        if taken < columns:  # a column is left for the …
            fits = at + 1
    return text
