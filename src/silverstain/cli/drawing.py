"""A circuit as text: words below, answers above, groups in boxes, strongest edges as lines with signed weights."""

from silverstain.cli.canvas import ANSI, Canvas
from silverstain.graphs import Circuit, Graph, Story, circuit_of, trust_in
from silverstain.graphs.layout import Layout, Placed, lay_out
from silverstain.graphs.lettering import columns_of

GUTTER = 7  # columns at the left for the names of layers
NARROWEST = 48
BOX_LINES = 3
LEGEND = "▲ raises  ┬ lowers  ±0.00 share of the box's input  % share of the influence on the answer"
OF_A_CONTRAST = ("▲ raises  ┬ lowers", "▲ adds to the box's change  ┬ takes from it")
SIGNS = "↑ ↓ what a box does to it in all"
RUN_NAME = 10  # columns of base and contrast
ATTENTION = "╔═╗\u00a0attention"  # not to be parted
INDIRECT = "* through units that are not drawn"
STYLES = {"logit": "green", "feature": "", "token": "bold", "error": "grey", "attention": "magenta"}
TRUST_STYLES = {"good": "green", "partial": "yellow", "poor": "alarm", "unknown": "yellow"}
SOLID, DOTTED = ("╭", "─", "╮", "│", "╰", "╯"), ("┌", "╌", "┐", "┆", "└", "┘")
DOUBLE = ("╔", "═", "╗", "║", "╚", "╝")


def draw(graph: Graph, story: Story, *, width: int = 100, colour: bool = False, max_boxes: int = 10) -> str:
    """The circuit of a graph, at most `width` columns wide unless its boxes need more."""
    return draw_circuit(circuit_of(graph, story, max_groups=max_boxes), width=width, colour=colour)


def draw_circuit(circuit: Circuit, *, width: int = 100, colour: bool = False) -> str:
    """A chosen circuit as text."""
    layout = lay_out(circuit, max(NARROWEST, width) - GUTTER)
    tops, tracks = _heights(circuit, layout)
    canvas = Canvas()
    for place in layout.placed:
        if place.row > 0:
            _draw_box(canvas, place, tops[place.row])
    for row in range(1, layout.n_rows):
        _draw_channel(canvas, circuit, layout, row, tops, tracks[row])
        _draw_depth(canvas, layout, row, tops[row])
    _draw_words(canvas, layout, tops[0])
    _draw_weights(canvas, circuit, layout, tops)
    room = max(NARROWEST, width)
    said = LEGEND if circuit.contrast is None else LEGEND.replace(*OF_A_CONTRAST)
    legend = [said, *([SIGNS] if any(box.sign for box in circuit.nodes) else [])]
    legend += [*([] if all(edge.is_direct for edge in circuit.edges) else [INDIRECT])]
    legend += [ATTENTION] if any(box.is_attention for box in circuit.nodes) else []
    lines = [*_runs(circuit, room), canvas.render(colour=colour), "", *_wrapped("  ".join(legend), room)]
    named = [
        f"{box.name} is {box.label}" if box.is_attention else f"{box.label} is {box.name}"
        for box in circuit.nodes
        if box.is_named
    ]
    lines += _wrapped("; ".join(named), room)
    if circuit.left_out >= 0.005:
        lines.append(f"{100 * circuit.left_out:.0f} % of the influence runs through {circuit.units} that are not drawn")
    if circuit.scores is not None:
        about = {"left_out": circuit.left_out, "has_edges": circuit.has_edges, "is_rest": circuit.is_rest}
        trust = trust_in(circuit.scores, **about)
        lines += [_styled(line, TRUST_STYLES[trust.level], colour) for line in _wrapped(trust.line, room)]
    return "\n".join(lines)


def _runs(circuit: Circuit, room: int) -> list[str]:
    """What a contrast explains, and its prompts one under the other, what differs in «marks»."""
    if circuit.contrast is None:
        return []
    prompts = [f"{side.name:{RUN_NAME}}{side.line(room - RUN_NAME)}" for side in circuit.contrast.sides]
    return [*_wrapped(circuit.contrast.explained, room), *prompts, ""]


def _heights(circuit: Circuit, layout: Layout) -> tuple[list[int], list[dict[int, int]]]:
    """The first line of each row, and for the channel below each row the track of each source, 0 being the lowest."""
    tracks = [_tracks(_spans(circuit, layout, row)) for row in range(layout.n_rows)]
    tops = [0] * layout.n_rows
    at = 0
    for row in range(layout.n_rows - 1, -1, -1):
        tops[row] = at
        if row > 0:  # a box of three lines, a line of weights, the tracks, and air above words
            at += BOX_LINES + 1 + max(tracks[row].values(), default=0) + 1 + (row == 1)
    return tops, tracks


def _ends(circuit: Circuit, layout: Layout, row: int) -> dict[int, tuple[int, list[int]]]:
    """For each source whose line is in the channel below `row`: its column below, and its columns above."""
    ends: dict[int, tuple[int, list[int]]] = {}
    for source in sorted({arrow.source for arrow in circuit.edges}):
        start = layout.placed[source].row
        above = [place.entries[source] for place in layout.in_row(row) if source in place.entries]
        if (source, row) in layout.passes:
            above.append(layout.passes[source, row])
        if above:
            below = layout.placed[source].exit if start == row - 1 else layout.passes[source, row - 1]
            ends[source] = (below, above)
    return ends


def _spans(circuit: Circuit, layout: Layout, row: int) -> dict[int, tuple[int, list[int]]]:
    """Those that must go sideways."""
    return {s: (below, above) for s, (below, above) in _ends(circuit, layout, row).items() if set(above) != {below}}


def _tracks(spans: dict[int, tuple[int, list[int]]]) -> dict[int, int]:
    """The lowest track for each source on which it touches no other, long lines above short ones.

    A line that comes from below at a column where another goes up must turn below it.
    """
    order = sorted(spans, key=lambda s: (_reach(spans[s])[1] - _reach(spans[s])[0], s))
    after = {s: {o for o in spans if o != s and spans[o][0] in spans[s][1]} for s in spans}
    done: dict[int, int] = {}
    while order:
        source = next((s for s in order if after[s] <= done.keys()), order[0])
        order.remove(source)
        left, right = _reach(spans[source])
        lowest = max((done[o] + 1 for o in after[source] if o in done), default=0)
        blocked = {done[o] for o in done if _reach(spans[o])[0] <= right + 1 and left <= _reach(spans[o])[1] + 1}
        done[source] = next(t for t in range(lowest, lowest + len(spans) + 1) if t not in blocked)
    return done


def _reach(span: tuple[int, list[int]]) -> tuple[int, int]:
    below, above = span
    return min(below, *above), max(below, *above)


def _style(place: Placed) -> str:
    return STYLES["attention"] if place.box.is_attention else STYLES.get(place.box.kind, "cyan")


def _draw_box(canvas: Canvas, place: Placed, top: int) -> None:
    left, style = GUTTER + place.left, _style(place)
    inside = place.width - 2
    padding = inside - columns_of(place.text)
    text = " " * (padding // 2) + place.text + " " * (padding - padding // 2)
    frame = DOUBLE if place.box.is_attention else DOTTED if place.box.kind == "error" else SOLID
    top_left, edge, top_right, side, bottom_left, bottom_right = frame
    canvas.write(top, left, top_left + edge * inside + top_right, style)
    canvas.write(top + 1, left, side + text + side, style)
    canvas.write(top + 2, left, bottom_left + edge * inside + bottom_right, style)


def _draw_channel(
    canvas: Canvas, circuit: Circuit, layout: Layout, row: int, tops: list[int], tracks: dict[int, int]
) -> None:
    """The lines between a row and the one below it."""
    first, last = tops[row] + BOX_LINES, tops[row - 1] - 1
    weights = {(a.source, a.target): a.weight for a in circuit.edges}
    lowered = {
        (source, place.entries[source])
        for target, place in enumerate(layout.placed)
        for source in place.entries
        if place.row == row and weights[source, target] < 0
    }
    for source, (below, above) in _ends(circuit, layout, row).items():
        turn = last - (row == 1) - tracks[source] if source in tracks else None
        is_low = len(above) == 1 and (source, above[0]) in lowered
        if turn is None:
            canvas.vertical(source, GUTTER + below, first, last + 1, dashed=is_low)
        else:
            left, right = _reach((below, above))
            canvas.vertical(source, GUTTER + below, turn, last + 1, dashed=is_low)
            canvas.horizontal(source, turn, GUTTER + left, GUTTER + right)
            for column in above:
                canvas.vertical(source, GUTTER + column, first, turn, dashed=(source, column) in lowered)
        if layout.placed[source].row == row - 1 and row > 1:
            canvas.write(tops[row - 1], GUTTER + below, "┴", _style(layout.placed[source]))
        if (source, row) in layout.passes:  # beside the boxes of this row
            canvas.vertical(source, GUTTER + layout.passes[source, row], tops[row] - 1, first)


def _draw_weights(canvas: Canvas, circuit: Circuit, layout: Layout, tops: list[int]) -> None:
    """A mark in the target's bottom edge and the signed weight under it, for every arrow."""
    for arrow in circuit.edges:
        place = layout.placed[arrow.target]
        column, row = GUTTER + place.entries[arrow.source], tops[place.row]
        weight = f"{arrow.weight:+.2f}".replace("-", "−") + ("" if arrow.is_direct else "*")
        canvas.write(row + 2, column, "▲" if arrow.weight > 0 else "┬", "" if arrow.weight > 0 else "red")
        canvas.write(row + 3, column - len(weight) // 2, weight, "" if arrow.weight > 0 else "red")


def _draw_depth(canvas: Canvas, layout: Layout, row: int, top: int) -> None:
    """The layers of a row, at its left."""
    boxes = [place.box for place in layout.in_row(row)]
    layers = sorted({round(box.layer) for box in boxes if box.kind not in ("logit", "error")})
    if layers:
        name = f"L{layers[0]}" if len(layers) == 1 else f"L{layers[0]}–{layers[-1]}"
        canvas.write(top + 1, 0, name, "dim")


def _draw_words(canvas: Canvas, layout: Layout, line: int) -> None:
    """The prompt, the words that the circuit reads in bold."""
    read = {position for place in layout.placed if place.box.kind == "token" for position in place.box.positions}
    for word in layout.words:
        canvas.write(line, GUTTER + word.left, word.text, "bold" if word.position in read else "dim")


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, width, break_on_hyphens=False)


def _styled(line: str, style: str, colour: bool) -> str:
    return f"\033[{ANSI[style]}m{line}\033[0m" if colour else line
