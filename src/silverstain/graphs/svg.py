"""A circuit as a picture: SVG, drawn by hand on the places that `layout` gives.

Sign is shown by colour, by dashes and by the end of the line, so that it can be read without colour; attention by its
colour and by boxes without corners.
"""

from collections.abc import Iterator
from itertools import accumulate, pairwise

from silverstain.graphs.circuit import Circuit, CircuitEdge, CircuitNode
from silverstain.graphs.contrast import Side
from silverstain.graphs.layout import Layout, Placed, label_in, lay_out
from silverstain.graphs.lettering import columns_of, shortened
from silverstain.graphs.pen import LIGHT, cut_box, dark_style, fill, in_xml, rounded_box, stroke, text_at
from silverstain.graphs.trust import Trust, trust_in

COLUMNS = 112
"""Of the sheet on which the boxes are placed; a picture is as wide as that or wider."""
COLUMN = 8.0
"""Pixels."""
MARGIN, GUTTER = 28.0, 40.0
BOX, CHANNEL, WORDS = 44.0, 84.0, 30.0
"""Heights of a box, of the room for lines between two rows, and of the line of words."""
TIP, CUT = 8.0, 10.0
"""Of the end of a line, and off the corners of a box of attention."""
RUN, RUN_NAME = 22.0, 68.0
"""Height of the line of one of two runs, and room for its name."""
LEGEND_LETTER = 6.2
"""Width of a letter of the legend."""
THIN, THICK = 1.3, 6.0
"""Widths of a line of weight 0 and of weight 1."""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"


def circuit_svg(circuit: Circuit, *, follows_theme: bool = True) -> str:
    """The picture as one SVG element that needs nothing else; without `follows_theme` it is light everywhere."""
    return "".join(_Sheet(circuit).elements(follows_theme))


def percent(share: float) -> str:
    """37 %, <1 %."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def signed(edge: CircuitEdge) -> str:
    """+0.29, and with a star where it goes through units that are not drawn."""
    return f"{edge.weight:+.2f}".replace("-", "\u2212") + ("" if edge.is_direct else "*")


def detail_of(node: CircuitNode, units: str = "features") -> str:
    """The line under a name: its share, and what stands behind it."""
    share = "" if node.share is None else percent(node.share) + node.arrow
    behind = ""
    if node.is_named:
        behind = node.name
    elif node.name:
        behind = f"@{node.position}"
    elif node.kind not in ("logit", "token"):
        behind = f"{node.n_members} {'nodes' if node.kind == 'error' else units}"
    return " · ".join(part for part in (share, behind) if part)


def trust_of(circuit: Circuit) -> Trust | None:
    """The trust line of a circuit, if its scores came with it."""
    if circuit.scores is None:
        return None
    about = {"left_out": circuit.left_out, "has_edges": circuit.has_edges, "is_rest": circuit.is_rest}
    return trust_in(circuit.scores, **about)


def in_words(circuit: Circuit) -> str:
    """The circuit for those who do not see it: its edges from the answer down."""
    names = [node.label for node in circuit.nodes]
    lines = [f"{names[e.target]} from {names[e.source]} {signed(e)}" for e in circuit.edges]
    trust = trust_of(circuit)
    runs = [] if circuit.contrast is None else [f"{one.name}: {one.line()}. " for one in circuit.contrast.sides]
    return "".join(runs) + "; ".join(lines[:40]) + ("." if lines else "") + (f" {trust.line}." if trust else "")


class _Sheet:
    """Pixels for the rows and columns of a layout."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.layout: Layout = lay_out(circuit, COLUMNS)
        self.trust = trust_of(circuit)
        right = max([COLUMNS, *(place.right + 2 for place in self.layout.placed)])
        right = max([right, *(column + 2 for column in self.layout.passes.values())])
        self.width = 2 * MARGIN + GUTTER + right * COLUMN
        said = circuit.prompt if circuit.contrast is None else circuit.contrast.explained
        self.header = _wrapped(said, (self.width - 2 * MARGIN) / 8.6, most=2)
        self.runs = () if circuit.contrast is None else circuit.contrast.sides
        runs = RUN * len(self.runs) + 6 if self.runs else 0
        self.top = MARGIN + 24 * len(self.header) + runs + (34 if self.header else 0)
        self.bottom = self.top + (self.layout.n_rows - 1) * (BOX + CHANNEL) + WORDS
        self.notes = _wrapped(self.trust.line if self.trust else "", (self.width - 2 * MARGIN - 22) / 7.2, most=3)
        self.signs = self.legend_signs()
        self.is_legend_long = self.signs[-1][1] + LEGEND_LETTER * len(self.legend_text()) > self.width - MARGIN
        self.height = self.bottom + 58 + 19 * self.is_legend_long + 19 * len(self.notes) + MARGIN / 2

    def x(self, column: float) -> float:
        return MARGIN + GUTTER + column * COLUMN

    def y(self, row: int) -> float:
        """The top of a row."""
        return self.top + (self.layout.n_rows - 1 - row) * (BOX + CHANNEL)

    def elements(self, follows_theme: bool) -> Iterator[str]:
        width, height = round(self.width), round(self.height)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="silverstain" role="img" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{FONT}" style="max-width:100%;height:auto">'
        )
        yield f"<title>{in_xml(self.title())}</title><desc>{in_xml(in_words(self.circuit))}</desc>"
        if follows_theme:
            yield f"<style>{dark_style()}</style>"
        yield f'<rect {fill("page")} width="{width}" height="{height}" rx="10"/>'
        yield from self.heading()
        yield from self.rows()
        for edge in sorted(self.circuit.edges, key=lambda edge: -abs(edge.weight)):
            yield self.line(edge)
        for place in self.layout.placed:
            if place.row > 0:
                yield from self.box(place)
        for edge in self.circuit.edges:
            yield from self.end(edge)
        yield from self.words()
        yield from self.legend()
        yield "</svg>\n"

    def title(self) -> str:
        answers = [f"{node.label} {detail_of(node)}".strip() for node in self.circuit.nodes if node.kind == "logit"]
        return f"{self.circuit.prompt or 'Circuit'} → {', '.join(answers)}"

    def heading(self) -> Iterator[str]:
        for i, line in enumerate(self.header):
            yield text_at(MARGIN, MARGIN + 12 + 24 * i, line, "ink", size=17, weight=650)
        y = MARGIN + 8 + 24 * len(self.header)
        for side in self.runs:
            yield text_at(MARGIN, y + 4, side.name, "muted", size=12)
            yield self.run(side, y + 4)
            y += RUN
        read_by = " · ".join(name for name in (self.circuit.model, self.circuit.dictionary) if name)
        if self.header and read_by:
            yield text_at(MARGIN, y + (6 if self.runs else 0), read_by, "muted", size=12)

    def run(self, side: Side, y: float) -> str:
        """The prompt of one of two runs, what differs in it set off, and its answer."""
        room = int((self.width - 2 * MARGIN - RUN_NAME) / 7.6) - columns_of(side.answer) - 3
        parts = [
            f'<tspan class="f-attention" fill="{LIGHT["attention"]}" font-weight="700">{in_xml(piece.text)}</tspan>'
            if piece.is_changed
            else in_xml(piece.text)
            for piece in side.fitted(max(room, 1))
        ]
        if side.answer:
            parts.append(f'<tspan class="f-muted" fill="{LIGHT["muted"]}">{in_xml(f" → {side.answer}")}</tspan>')
        place = f'x="{MARGIN + RUN_NAME:.1f}" y="{y:.1f}" font-size="14"'
        return f'<text {fill("ink")} {place} xml:space="preserve">{"".join(parts)}</text>'

    def rows(self) -> Iterator[str]:
        for row in range(1, self.layout.n_rows):
            layers = sorted(
                {round(p.box.layer) for p in self.layout.in_row(row) if p.box.kind not in ("logit", "error")}
            )
            if layers:
                middle = self.y(row) + BOX / 2
                name = f"L{layers[0]}" if len(layers) == 1 else f"L{layers[0]}–{layers[-1]}"
                yield f'<path {stroke("rule")} d="M{MARGIN + GUTTER - 6:.0f} {middle:.1f}H{self.width - MARGIN:.0f}"/>'
                yield text_at(MARGIN, middle + 4, name, "muted", size=12)

    def box(self, place: Placed) -> Iterator[str]:
        node, left, top = place.box, self.x(place.left), self.y(place.row)
        width = place.width * COLUMN
        colour = "attention" if node.is_attention else {"logit": "answer", "error": "error"}.get(node.kind, "unit")
        most = max(
            (n.share or 0.0 for n in self.circuit.nodes if n.kind not in ("token", "logit", "error")), default=1.0
        )
        shade = (
            0.16
            if node.kind == "logit"
            else 0.05
            if node.kind == "error"
            else 0.05 + 0.27 * (node.share or 0) / (most or 1)
        )
        shape = cut_box(left, top, width, BOX, CUT) if node.is_attention else rounded_box(left, top, width, BOX)
        dashes = ' stroke-dasharray="3 4"' if node.kind == "error" else ""
        yield f"<g><title>{in_xml(_whole(node, self.circuit.units))}</title>{shape.format(fill('page'))}"
        look = f'class="f-{colour} s-{colour}" fill="{LIGHT[colour]}" stroke="{LIGHT[colour]}"'
        yield shape.format(f'{look} fill-opacity="{shade:.2f}" stroke-width="1.4"{dashes}')
        middle, letters = left + width / 2, place.width - 2
        yield text_at(middle, top + 19, label_in(node, letters), "ink", size=13.5, weight=600, anchor="middle")
        detail = shortened(detail_of(node, self.circuit.units), letters + 2)
        yield text_at(middle, top + 35, detail, "muted", size=11.5, anchor="middle") + "</g>"

    def waypoints(self, edge: CircuitEdge) -> list[tuple[float, float]]:
        """Where a line leaves its source, passes rows, and ends; from below upwards."""
        source, target = self.layout.placed[edge.source], self.layout.placed[edge.target]
        points = [(self.x(source.exit + 0.5), self.y(source.row))]
        for row in range(source.row + 1, target.row):
            at = self.x(self.layout.passes[edge.source, row] + 0.5)
            points += [(at, self.y(row) + BOX), (at, self.y(row))]
        return [*points, (self.x(target.entries[edge.source] + 0.5), self.y(target.row) + BOX + TIP - 1)]

    def line(self, edge: CircuitEdge) -> str:
        points = self.waypoints(edge)
        path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
        for (x0, y0), (x1, y1) in pairwise(points):
            bend = 0.55 * (y0 - y1)
            path.append(
                f"V{y1:.1f}" if x0 == x1 else f"C{x0:.1f} {y0 - bend:.1f} {x1:.1f} {y1 + bend:.1f} {x1:.1f} {y1:.1f}"
            )
        colour = "raises" if edge.weight > 0 else "lowers"
        width = THIN + (THICK - THIN) * min(abs(edge.weight), 1.0)
        dashes = "" if edge.weight > 0 and edge.is_direct else f' stroke-dasharray="{_dashes(edge)}"'
        opacity = 0.45 + 0.5 * min(abs(edge.weight), 1.0)
        return (
            f'<path {stroke(colour)} fill="none" stroke-width="{width:.1f}" stroke-opacity="{opacity:.2f}"{dashes} '
            f'd="{"".join(path)}"/>'
        )

    def end(self, edge: CircuitEdge) -> Iterator[str]:
        """An arrow head for what raises, a bar for what lowers, and the weight."""
        x, y = self.waypoints(edge)[-1]
        y -= TIP - 1
        if edge.weight > 0:
            half = 3.6 + 2.2 * min(abs(edge.weight), 1.0)
            yield f'<path {fill("raises")} d="M{x:.1f} {y:.1f}l{half:.1f} {TIP + 1}h{-2 * half:.1f}z"/>'
        else:
            bar = f"M{x - 7:.1f} {y + 3:.1f}h14M{x:.1f} {y + 3:.1f}v6"
            yield f'<path {stroke("lowers")} stroke-width="2.6" d="{bar}"/>'
        yield text_at(
            x, y + 23, signed(edge), "raises" if edge.weight > 0 else "lowers", size=11.5, anchor="middle", halo=True
        )

    def words(self) -> Iterator[str]:
        read = {at: place.box for place in self.layout.placed if place.row == 0 for at in place.box.positions}
        top = self.y(0)
        for place in self.layout.placed:
            if place.row == 0 and place.box.kind == "token":
                yield (
                    f'<rect {fill("word")} x="{self.x(place.left) - 3:.1f}" y="{top:.1f}" '
                    f'width="{place.width * COLUMN + 6:.1f}" height="{WORDS - 4:.0f}" rx="7"/>'
                )
            elif place.row == 0:  # an error that has nothing below it
                yield from self.box(place)
        for word in self.layout.words:
            is_read = word.position in read
            middle = self.x(word.left + columns_of(word.text) / 2)
            yield text_at(
                middle, top + 18, word.text, "ink" if is_read else "muted", size=13, weight=600 if is_read else 400,
                anchor="middle",
            )  # fmt: skip

    def legend_signs(self) -> list[tuple[str, float, str]]:
        """What each sign in the legend is called, where it ends, and how it looks."""
        up, down = ("raises", "lowers") if self.circuit.contrast is None else ("adds to its change", "takes from it")
        signs = [(up, stroke("raises")), (down, f'{stroke("lowers")} stroke-dasharray="7 4"')]
        if not all(edge.is_direct for edge in self.circuit.edges):
            signs.append(("* through units that are not drawn", f'{stroke("raises")} stroke-dasharray="2 4"'))
        if any(node.is_attention for node in self.circuit.nodes):
            colour = f'class="f-attention s-attention" fill="{LIGHT["attention"]}" stroke="{LIGHT["attention"]}"'
            signs.append(("attention", f'{colour} fill-opacity="0.2" stroke-width="1.4"'))
        ends = accumulate((36 + 7 * len(name) + 26 for name, _ in signs), initial=MARGIN)
        return [(name, end, look) for (name, look), end in zip(signs, [*ends][1:], strict=True)]

    def legend_text(self) -> str:
        """What the numbers mean, and how much is not there."""
        text = "numbers: share of the box's input · percentages: share of the influence on the answer"
        if any(node.sign for node in self.circuit.nodes):
            text += " · ↑ ↓: what a box does to it in all"
        if self.circuit.left_out >= 0.005:
            text += f" · {percent(self.circuit.left_out)} in {self.circuit.units} not drawn"
        return text

    def legend(self) -> Iterator[str]:
        y = self.bottom + 28
        yield f'<path {stroke("rule")} d="M{MARGIN:.0f} {y - 16:.1f}H{self.width - MARGIN:.0f}"/>'
        x = MARGIN
        for name, end, look in self.signs:
            if name == "attention":
                yield cut_box(x, y - 7, 28, 14, 4).format(look)
            else:
                yield f'<path {look} stroke-width="3" d="M{x:.0f} {y:.1f}h28"/>'
            yield text_at(x + 36, y + 4, name, "muted", size=12)
            x = end
        if self.is_legend_long:
            x, y = MARGIN, y + 19
        yield text_at(x, y + 4, self.legend_text(), "muted", size=12)
        if self.trust is not None:
            y += 27
            yield f'<circle {fill(self.trust.level)} cx="{MARGIN + 6:.0f}" cy="{y - 4:.1f}" r="5.5"/>'
            for i, line in enumerate(self.notes):
                yield text_at(
                    MARGIN + 22, y + 19 * i, line, "ink", size=13, weight=600 if self.trust.level == "poor" else 450
                )


def _whole(node: CircuitNode, units: str) -> str:
    return f"{node.label} {detail_of(node, units)}".strip()


def _dashes(edge: CircuitEdge) -> str:
    return "2 4" if not edge.is_direct else "7 4"


def _wrapped(text: str, letters: float, *, most: int) -> list[str]:
    """The text in at most `most` lines, the last cut with … if there is more."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and columns_of(lines[-1]) + 1 + columns_of(word) <= letters:
            lines[-1] += " " + word
        elif len(lines) == most:
            lines[-1] = shortened(f"{lines[-1]} {word} …", int(letters))
            break
        else:
            lines.append(shortened(word, int(letters)))
    return [line for line in lines if line]
