"""The figures of a study's report as SVG: bars with intervals, curves with bands, and plots over two operands."""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from silverstain.graphs.pen import dark_style, fill, in_xml, stroke, text_at
from silverstain.studies.protocol import Figure

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
WIDTH, MARGIN = 720.0, 16.0
BAR, BAR_LABEL, BAR_VALUE = 24.0, 300.0, 60.0
"""Height of a bar with the room around it, and the room for its label and its figure."""
CURVE_HEIGHT, AXIS = 260.0, 44.0
PLOT, PLOT_GAP, PLOTS_A_ROW = 156.0, 18.0, 4
SERIES = ("raises", "lowers", "answer", "attention", "error")
"""Colours of curves, in order."""
TITLE = 30.0


def svg_of(figure: Figure, *, follows_theme: bool = True) -> str:
    """The figure as one SVG element that needs nothing else; without `follows_theme` it is light everywhere."""
    draw = {"bars": _bars, "curves": _curves, "plots": _plots}[figure.kind]
    height, parts = draw(figure.data)
    title = text_at(MARGIN, 20, figure.title, "ink", size=14, weight=650)
    note = text_at(MARGIN, TITLE + height + 14, figure.note, "muted", size=11) if figure.note else ""
    total = TITLE + height + (26 if figure.note else 10)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="silverstain" role="img" viewBox="0 0 {WIDTH:.0f} {total:.0f}" '
        f'width="{WIDTH:.0f}" font-family="{FONT}" style="max-width:100%;height:auto">'
        f"<title>{in_xml(figure.title)}</title><style>{dark_style() if follows_theme else ''}</style>"
        f'<rect {fill("page")} width="{WIDTH:.0f}" height="{total:.0f}"/>{title}{"".join(parts)}{note}</svg>'
    )


def _bars(data: Mapping[str, Any]) -> tuple[float, list[str]]:
    """Shares from 0 to 1, each with its interval and, where there is one, its bar as a mark."""
    left, right = MARGIN + BAR_LABEL, WIDTH - MARGIN - BAR_VALUE
    scale, parts = right - left, []
    for row, label in enumerate(data["labels"]):
        top = TITLE + row * BAR
        value, low, high = (data[name][row] for name in ("values", "lows", "highs"))
        parts.append(text_at(left - 8, top + 15, label, "ink", size=12, anchor="end"))
        if value is None:
            parts.append(text_at(left + 4, top + 15, "not measured", "muted", size=11))
            continue
        colour = {True: "good", False: "poor", None: "unit"}[data["holds"][row]]
        parts.append(
            f'<rect {fill(colour)} x="{left:.1f}" y="{top + 5:.1f}" width="{scale * min(value, 1):.1f}" height="12" '
            'opacity="0.8"/>'
        )
        if low is not None and high is not None:
            first, end = left + scale * low, left + scale * high
            parts.append(f'<path {stroke("ink")} fill="none" d="M{first:.1f} {top + 11:.1f}H{end:.1f}"/>')
        bar = data["bars"][row]
        if bar is not None and bar <= 1:
            at = left + scale * bar
            parts.append(f'<path {stroke("ink")} stroke-dasharray="2 2" d="M{at:.1f} {top + 2:.1f}v18"/>')
        parts.append(text_at(right + 8, top + 15, f"{value:.2f}", "ink", size=12))
    return len(data["labels"]) * BAR, parts


def _curves(data: Mapping[str, Any]) -> tuple[float, list[str]]:
    """Series of x and y; bands where they have them."""
    left, right = MARGIN + AXIS, WIDTH - MARGIN - 150
    top, bottom = TITLE + 6, TITLE + CURVE_HEIGHT - AXIS
    xs = [x for one in data["series"] for x in one["x"]]
    ys = [y for one in data["series"] for y in (*one["y"], *(one.get("high") or ()))]
    x_low, x_high = min(xs, default=0.0), max(xs, default=1.0)
    y_low, y_high = min([0.0, *(y for one in data["series"] for y in one["y"])]), max([1.0, *ys])

    def at(x: float, y: float) -> str:
        across = (x - x_low) / (x_high - x_low or 1.0)
        return f"{left + across * (right - left):.1f} {bottom - (y - y_low) / (y_high - y_low) * (bottom - top):.1f}"

    parts = []
    for y in (y_low, (y_low + y_high) / 2, y_high):
        parts.append(f'<path {stroke("rule")} d="M{at(x_low, y)}L{at(x_high, y)}"/>')
        parts.append(text_at(left - 6, float(at(x_low, y).split()[1]) + 4, f"{y:.2g}", "muted", size=11, anchor="end"))
    parts += [
        text_at(float(at(x, y_low).split()[0]), bottom + 16, f"{x:g}", "muted", size=11, anchor="middle")
        for x in sorted(set(xs))
    ]
    parts.append(text_at((left + right) / 2, bottom + 34, data["x"], "muted", size=12, anchor="middle"))
    parts.append(text_at(left, top - 4, data["y"], "muted", size=11))
    for number, one in enumerate(data["series"]):
        colour = SERIES[number % len(SERIES)]
        if one.get("low"):
            band = [at(x, y) for x, y in zip(one["x"], one["high"], strict=True)]
            band += [at(x, y) for x, y in zip(one["x"][::-1], one["low"][::-1], strict=True)]
            parts.append(f'<path {fill(colour)} opacity="0.15" d="M{"L".join(band)}Z"/>')
        line = "L".join(at(x, y) for x, y in zip(one["x"], one["y"], strict=True))
        parts.append(f'<path {stroke(colour)} fill="none" stroke-width="2" d="M{line}"/>')
        parts.append(text_at(right + 12, top + 14 + 18 * number, one["label"], colour, size=12))
    return CURVE_HEIGHT, parts


def _plots(data: Mapping[str, Any]) -> tuple[float, list[str]]:
    """Squares of numbers in grey, the first operand down, the second across; each scaled by its own largest."""
    parts = []
    for number, (title, square) in enumerate(zip(data["titles"], data["squares"], strict=True)):
        left = MARGIN + (number % PLOTS_A_ROW) * (PLOT + PLOT_GAP)
        top = TITLE + (number // PLOTS_A_ROW) * (PLOT + 40)
        parts.append(text_at(left, top + 10, title, "ink", size=11))
        parts.append(
            f'<image x="{left:.1f}" y="{top + 16:.1f}" width="{PLOT:.0f}" height="{PLOT:.0f}" '
            f'style="image-rendering:pixelated" preserveAspectRatio="none" href="{_png(square)}"/>'
        )
        parts.append(f'<rect {stroke("muted")} fill="none" x="{left:.1f}" y="{top + 16:.1f}" width="{PLOT:.0f}" '
                     f'height="{PLOT:.0f}"/>')  # fmt: skip
    return -(-len(data["titles"]) // PLOTS_A_ROW) * (PLOT + 40), parts


def _png(square: Sequence[Sequence[float]]) -> str:
    """Numbers from 0 up as a grey picture, white for 0: a data URI that a page may hold."""
    most = max((value for row in square for value in row), default=0.0) or 1.0
    grey = [bytes([0, *(255 - round(225 * max(0.0, value) / most) for value in row)]) for row in square]
    width, height = len(square[0]) if square else 1, len(square) or 1

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(grey), 9))
    return "data:image/png;base64," + base64.b64encode(file + chunk(b"IEND", b"")).decode()
