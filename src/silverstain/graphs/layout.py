"""Where boxes and lines of a circuit stand on the sheet.

Rows go up with depth: words at the bottom, answers at the top. Every source has one line that leaves its top edge,
climbs through the gaps of the rows between, and branches to its targets; every target has one mark in its bottom edge
for each line that enters. Between two rows lies a channel, in which every source has a track of its own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from silverstain.brief import brief
from silverstain.graphs.circuit import Circuit, CircuitNode
from silverstain.graphs.lettering import columns_of, shortened
from silverstain.pieces import word_spans

GAP = 4  # columns between boxes of a row, so that lines can pass
SHORTEST = 18  # columns of a box whose name is cut
MOST_AIR = 40  # columns around one word
MARK = 7  # columns for one entry: a weight such as "−0.42" and room on both sides
FEWEST_LETTERS = 3  # of a token that is cut because not all fit
GAP_IN_TEXT = "\u2026"


@dataclass(kw_only=True)
class Placed:
    """A box with its place; columns count from 0, `row` from the words upwards."""

    box: CircuitNode
    text: str
    row: int
    left: int
    width: int
    narrowest: int = 1
    """Columns that its entries need, however short its text."""
    entries: dict[int, int] = field(default_factory=dict)
    """Source -> column of its mark in the bottom edge."""

    @property
    def right(self) -> int:
        return self.left + self.width - 1

    @property
    def exit(self) -> int:
        return self.left + self.width // 2


@dataclass(frozen=True, kw_only=True)
class PlacedToken:
    """A token in the line of words, or … for several of them that nothing reads."""

    text: str
    left: int
    position: int | None
    """None for …"""


@brief
@dataclass(kw_only=True)
class Layout:
    """Placed boxes, and where each source's line passes each row between it and its targets."""

    placed: list[Placed]
    words: list["PlacedToken"]
    """The line of words, from left to right: those tokens of the prompt that there is room for."""
    n_rows: int
    passes: dict[tuple[int, int], int]
    """(source, row) -> column at which its line passes that row."""

    def in_row(self, row: int) -> list[Placed]:
        return sorted((place for place in self.placed if place.row == row), key=lambda place: place.left)


def lay_out(circuit: Circuit, width: int) -> Layout:
    """Places for everything in `width` columns, or a little more where lines must go around."""
    incoming = [sum(a.target == i for a in circuit.edges) for i in range(len(circuit.nodes))]
    rows = _not_too_long(circuit, _rows(circuit), incoming, width)
    words, columns, centres = _line_of_words(circuit, width)
    placed = _place(circuit, rows, incoming, centres, columns, words, width)
    layout = Layout(placed=placed, words=words, n_rows=max(rows, default=0) + 1, passes={})
    for row in range(1, layout.n_rows):
        _lead_into(circuit, layout, row, width)
    return layout


def _rows(circuit: Circuit) -> list[int]:
    """By depth, and each target above its sources; words in row 0, answers in the last, no row empty."""
    boxes = circuit.nodes
    level = [_level(box) for box in boxes]
    for _ in boxes:  # the longest path has fewer steps than there are boxes
        for arrow in circuit.edges:
            if boxes[arrow.source].kind != "error":
                is_half = boxes[arrow.source].is_attention or boxes[arrow.target].is_attention
                above = level[arrow.source] + (0.5 if is_half else 1)
                level[arrow.target] = max(level[arrow.target], above)
    for i, box in enumerate(boxes):
        if box.kind == "error":  # it has no input: a row below the lowest box that it feeds, above the words
            fed = [level[arrow.target] for arrow in circuit.edges if arrow.source == i]
            level[i] = max(min(fed, default=0) - 1, -0.5)
    top = max(level, default=-1)
    level = [top if box.kind == "logit" else at for box, at in zip(boxes, level, strict=True)]
    used = {at: row for row, at in enumerate(sorted({-1, *level}))}
    return [used[at] for at in level]


def _level(box: CircuitNode) -> float:
    """Attention of a layer is half a step below its features."""
    if box.kind == "token":
        return -1
    return round(box.layer) - 0.5 if box.is_attention else round(box.layer)


def _not_too_long(circuit: Circuit, rows: list[int], incoming: list[int], width: int) -> list[int]:
    """The rows, those split of which the boxes do not fit beside each other, however much their names are cut."""
    boxes = [i for i, box in enumerate(circuit.nodes) if box.kind != "token"]
    least = {
        i: max(MARK * incoming[i] + 2, min(columns_of(_text(circuit.nodes[i], width)) + 4, SHORTEST)) for i in boxes
    }
    out, above = list(rows), 0
    for row in sorted({rows[i] for i in boxes}):
        room = width
        for rank, i in enumerate(sorted((i for i in boxes if rows[i] == row), key=lambda i: circuit.nodes[i].position)):
            if rank and room < least[i]:
                above, room = above + 1, width
            out[i] = row + above
            room -= least[i] + GAP
    return out


def _line_of_words(circuit: Circuit, width: int) -> tuple[list[PlacedToken], list[int], list[float]]:
    """The line, and first column and middle of each token; room left over goes around words over which boxes stand.

    The pieces of a word stay together. Where not all tokens fit, those that no box reads give way to a …; if the rest
    does not fit either, all are cut alike.
    """
    texts = _words_that_fit(circuit, width)
    size = [columns_of(text) + 1 if text else 0 for text in texts]
    spare = max(0, width - sum(size))
    crowd = Counter(box.position for box in circuit.nodes if box.kind != "token")
    n_boxes = max(crowd.total(), 1)
    columns, centres, at = [0] * len(size), [0.0] * len(size), 0
    for word in word_spans(circuit.tokens):
        extra = min(spare * sum(crowd[position] for position in word) // n_boxes, MOST_AIR)
        at += extra // 2
        for position in word:
            columns[position], centres[position] = at, at + (size[position] - 1) / 2
            at += size[position]
        at += extra - extra // 2
    line = [
        PlacedToken(text=text, left=columns[position], position=None if text is GAP_IN_TEXT else position)
        for position, text in enumerate(texts)
        if text
    ]
    return line, columns, centres


def _words_that_fit(circuit: Circuit, width: int) -> list[str]:
    """What is written for each token: the token or as much of it as fits, … for the first of a gap, else nothing."""
    texts = [token or " " for token in circuit.tokens]
    if sum(columns_of(text) + 1 for text in texts) <= width:
        return texts
    read = {position for box in circuit.nodes if box.kind == "token" for position in box.positions}
    for position in range(len(texts)):
        if position not in read:
            texts[position] = "" if position and texts[position - 1] in ("", GAP_IN_TEXT) else GAP_IN_TEXT
    if sum(columns_of(text) + 1 for text in texts if text) > width:
        n_gaps = sum(text is GAP_IN_TEXT for text in texts)
        most = max(FEWEST_LETTERS, (width - 2 * n_gaps) // max(len(read), 1) - 1)
        texts = [text if text in ("", GAP_IN_TEXT) else shortened(text, most) for text in texts]
    return texts


def _place(
    circuit: Circuit,
    rows: list[int],
    incoming: list[int],
    centres: list[float],
    columns: list[int],
    words: list[PlacedToken],
    width: int,
) -> list[Placed]:
    texts = {word.position: word.text for word in words}
    placed: list[Placed] = []
    for index, box in enumerate(circuit.nodes):
        if box.kind == "token":
            placed.append(_placed_word(texts, box, columns))
            continue
        text = _text(box, width // 3 + 6)
        marks = MARK * incoming[index] + 2
        size = max(columns_of(text) + 4, marks)
        centre = centres[int(box.position)] if box.position < len(centres) else width / 2
        left = round(centre - size / 2)
        placed.append(Placed(box=box, text=text, row=rows[index], left=left, width=size, narrowest=marks))
    for row in sorted({p.row for p in placed if p.box.kind != "token"}):
        _spread([p for p in placed if p.row == row and p.box.kind != "token"], width)
    return placed


def _placed_word(texts: Mapping[int | None, str], box: CircuitNode, columns: list[int]) -> Placed:
    first, last = box.positions[0], box.positions[-1]
    width = columns[last] + columns_of(texts.get(last, "")) - columns[first]
    return Placed(box=box, text=box.label, row=0, left=columns[first], width=max(width, 1))


def _text(box: CircuitNode, room: int) -> str:
    """The name, cut to the room there is, with its share or an answer's probability beside it."""
    share = "" if box.share is None else f"  {100 * box.share:.0f} %{box.arrow}"
    return label_in(box, max(room - len(share), 1)) + share


def label_in(box: CircuitNode, room: int) -> str:
    """The label in so many columns: what is short for it, or else cut."""
    return shortened(box.short if box.short and columns_of(box.label) > room else box.label, room)


def _spread(row: list[Placed], width: int) -> None:
    """Push the boxes of a row apart, as little as needed and inside `width` if they fit."""
    row.sort(key=lambda place: place.box.position)  # boxes at one position keep their order, the strongest first
    over = sum(p.width + GAP for p in row) - GAP - width
    for place in sorted(row, key=lambda p: -p.width):
        cut = min(over, place.width - max(place.narrowest, SHORTEST))
        if cut > 0:
            place.width -= cut
            place.text = _text(place.box, place.width - 4)
            over -= cut
    at = 0
    for place in row:
        place.left = max(place.left, at)
        at = place.right + 1 + GAP
    limit = max(width, sum(place.width + GAP for place in row) - GAP)
    for place in reversed(row):
        place.left = min(place.left, limit - place.width)
        limit = place.left - GAP


def _lead_into(circuit: Circuit, layout: Layout, row: int, width: int) -> None:
    """Columns at which lines from below enter the boxes of a row, or pass it."""
    below = _columns_below(circuit, layout, row)
    for index, place in enumerate(layout.placed):
        if place.row == row and place.box.kind != "token":
            sources = sorted((a.source for a in circuit.edges if a.target == index), key=lambda s: below[s])
            taken = {column for source, column in below.items() if source not in sources}
            columns = _entries([below[s] for s in sources], place, taken)
            place.entries = dict(zip(sources, columns, strict=True))
    taken = {column for place in layout.in_row(row) for column in range(place.left - 1, place.right + 2)}
    for source, column in sorted(below.items(), key=lambda item: item[1]):
        if any(a.source == source and layout.placed[a.target].row > row for a in circuit.edges):
            goal = column
            others = {c for s, c in below.items() if s != source}
            free = _nearest_free(goal, taken | others, width)
            layout.passes[source, row] = free
            taken |= {free - 1, free, free + 1}


def _columns_below(circuit: Circuit, layout: Layout, row: int) -> dict[int, int]:
    """For each source with a target in this row or above: the column where its line leaves the row below."""
    found = {}
    for source in {a.source for a in circuit.edges}:
        start = layout.placed[source].row
        if start < row <= max(layout.placed[a.target].row for a in circuit.edges if a.source == source):
            found[source] = layout.placed[source].exit if start == row - 1 else layout.passes[source, row - 1]
    return found


def _entries(goals: Sequence[int], place: Placed, taken: Iterable[int]) -> list[int]:
    """Columns in the bottom edge, in the order of the goals, at least MARK apart and as near to them as can be."""
    taken = set(taken)
    low, high = place.left + 3, place.right - 3
    columns: list[int] = []
    for rank, goal in enumerate(goals):
        first = columns[-1] + MARK if columns else low
        last = high - MARK * (len(goals) - 1 - rank)
        at = max(first, min(goal, last))
        if at in taken:
            at = next((a for a in (at + 1, at - 1, at + 2, at - 2) if first <= a <= last and a not in taken), at)
        columns.append(at)
    return columns


def _nearest_free(goal: int, taken: set[int], width: int) -> int:
    for distance in range(4 * width):
        for column in (goal + distance, goal - distance):
            if column >= 0 and column not in taken:
                return column
    raise AssertionError("a row is never as wide as four sheets")
