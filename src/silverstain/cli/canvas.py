"""A sheet of characters on which lines know where they join and where they only cross."""

from silverstain.graphs.lettering import columns_of_letter

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
GLYPHS = {
    UP: "│",
    DOWN: "│",
    UP | DOWN: "│",
    LEFT: "─",
    RIGHT: "─",
    LEFT | RIGHT: "─",
    UP | RIGHT: "╰",
    UP | LEFT: "╯",
    DOWN | RIGHT: "╭",
    DOWN | LEFT: "╮",
    UP | DOWN | RIGHT: "├",
    UP | DOWN | LEFT: "┤",
    UP | LEFT | RIGHT: "┴",
    DOWN | LEFT | RIGHT: "┬",
    UP | DOWN | LEFT | RIGHT: "┼",
}
ANSI = {
    "grey": "2;3",
    "dim": "2",
    "bold": "1",
    "green": "1;32",
    "cyan": "36",
    "red": "31",
    "yellow": "33",
    "magenta": "35",
    "alarm": "1;31",
}


class Canvas:
    """Cells by (row, column); row 0 is the top. Lines belong to a net and join only lines of their own net."""

    def __init__(self) -> None:
        self._text: dict[tuple[int, int], tuple[str, str]] = {}
        self._lines: dict[tuple[int, int], dict[int, tuple[int, bool]]] = {}

    def write(self, row: int, column: int, text: str, style: str = "") -> None:
        """Put a text; it covers lines."""
        for letter in text:
            columns = columns_of_letter(letter)
            if columns == 0 and (row, column - 1) in self._text:  # it stands on the letter before it
                before, its_style = self._text[row, column - 1]
                self._text[row, column - 1] = (before + letter, its_style)
                continue
            self._text[row, column] = (letter, style)
            if columns == 2:
                self._text[row, column + 1] = ("", style)
            column += max(columns, 1)

    def vertical(self, net: int, column: int, top: int, bottom: int, *, dashed: bool = False) -> None:
        """A line from the middle of cell `top` to the middle of cell `bottom`, both in one column."""
        for row in range(top, bottom + 1):
            self._join(net, row, column, (UP if row > top else 0) | (DOWN if row < bottom else 0), dashed)

    def horizontal(self, net: int, row: int, left: int, right: int) -> None:
        """A line from the middle of cell `left` to the middle of cell `right`, both in one row."""
        for column in range(left, right + 1):
            self._join(net, row, column, (LEFT if column > left else 0) | (RIGHT if column < right else 0), False)

    def _join(self, net: int, row: int, column: int, arms: int, dashed: bool) -> None:
        cell = self._lines.setdefault((row, column), {})
        known, was_dashed = cell.get(net, (0, dashed))
        cell[net] = (known | arms, was_dashed and dashed)

    def render(self, *, colour: bool = False) -> str:
        """The sheet as lines without trailing spaces."""
        cells = {at: self._glyph(nets) for at, nets in self._lines.items()} | self._text
        if not cells:
            return ""
        last = max(row for row, _ in cells)
        return "\n".join(self._row(row, cells, colour) for row in range(last + 1))

    def _row(self, row: int, cells: dict[tuple[int, int], tuple[str, str]], colour: bool) -> str:
        width = max((column for at, column in cells if at == row), default=-1) + 1
        line = [cells.get((row, column), (" ", "")) for column in range(width)]
        text = "".join(letter for letter, _ in line).rstrip()
        return _coloured(line).rstrip() if colour and text else text

    @staticmethod
    def _glyph(nets: dict[int, tuple[int, bool]]) -> tuple[str, str]:
        """Lines of one net join; where two nets meet, the one that goes up and down passes over the other."""
        if len(nets) > 1:
            upright = [(arms, dashed) for arms, dashed in nets.values() if arms & (UP | DOWN)]
            arms, dashed = upright[0] if upright else (LEFT | RIGHT, False)
        else:
            ((arms, dashed),) = nets.values()
        glyph = GLYPHS.get(arms, " ")
        return ("╎" if dashed and glyph == "│" else glyph), "dim"


def _coloured(line: list[tuple[str, str]]) -> str:
    pieces, last = [], ""
    for letter, style in line:
        if style != last:
            pieces.append("\033[0m" if last else "")
            pieces.append(f"\033[{ANSI[style]}m" if style else "")
            last = style
        pieces.append(letter)
    return "".join(pieces) + ("\033[0m" if last else "")
