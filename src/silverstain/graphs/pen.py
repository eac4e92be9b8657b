"""Colours and strokes of pictures in SVG.

Everything is set in attributes for a light page; a style sheet of a few lines changes the colours where the reader's
system is dark.
"""

import re
from html import escape

LIGHT = {
    "page": "#ffffff", "ink": "#1d2733", "muted": "#66727f", "rule": "#e8ecf0", "raises": "#2b6cb0",
    "lowers": "#c2410c", "unit": "#2b6cb0", "answer": "#15803d", "error": "#7a828c", "attention": "#7c3aed",
    "word": "#eef2f6", "good": "#15803d", "partial": "#b7791f", "poor": "#c2410c", "unknown": "#b7791f",
}  # fmt: skip
DARK = {
    "page": "#11161d", "ink": "#e8edf3", "muted": "#94a1af", "rule": "#222b36", "raises": "#6cb2f7",
    "lowers": "#ff9b63", "unit": "#6cb2f7", "answer": "#5ed092", "error": "#9aa5b1", "attention": "#b79cf9",
    "word": "#1f2833", "good": "#5ed092", "partial": "#f0be5c", "poor": "#ff9b63", "unknown": "#f0be5c",
}  # fmt: skip
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def in_xml(text: str) -> str:
    """Text for XML or HTML, in content and in attributes."""
    return escape(NOT_IN_XML.sub("\ufffd", text), quote=True)


def fill(colour: str) -> str:
    """What an element has that is filled with a colour."""
    return f'class="f-{colour}" fill="{LIGHT[colour]}"'


def stroke(colour: str) -> str:
    """What an element has that is a line of a colour."""
    return f'class="s-{colour}" stroke="{LIGHT[colour]}"'


def text_at(
    x: float,
    y: float,
    text: str,
    colour: str,
    *,
    size: float,
    weight: int = 400,
    anchor: str = "start",
    halo: bool = False,
) -> str:
    """A line of text; with `halo` it stands out from lines behind it."""
    around = f' stroke="{LIGHT["page"]}" stroke-width="4" stroke-linejoin="round" paint-order="stroke"' if halo else ""
    classes = f"f-{colour} halo" if halo else f"f-{colour}"
    place = f'x="{x:.1f}" y="{y:.1f}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    look = f'font-size="{size}"' + (f' font-weight="{weight}"' if weight != 400 else "")
    drawn = f'class="{classes}" fill="{LIGHT[colour]}" {place} {look}{around}'
    return f'<text {drawn} xml:space="preserve">{in_xml(text)}</text>'


def dark_style() -> str:
    """The other colours, for readers whose system is dark."""
    rules = "".join(
        f".silverstain .f-{name}{{fill:{colour}}}.silverstain .s-{name}{{stroke:{colour}}}"
        for name, colour in DARK.items()
    )
    return f"@media (prefers-color-scheme:dark){{{rules}.silverstain .halo{{stroke:{DARK['page']}}}}}"


def rounded_box(left: float, top: float, width: float, height: float) -> str:
    """A box; its look is yet to be filled in."""
    return f'<rect {{}} x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.0f}" rx="9"/>'


def cut_box(left: float, top: float, width: float, height: float, cut: float) -> str:
    """A box without corners, of attention; its look is yet to be filled in."""
    long, tall = width - 2 * cut, height - 2 * cut
    return (
        f'<path {{}} d="M{left + cut:.1f} {top:.1f}h{long:.1f}l{cut:.1f} {cut:.1f}v{tall:.1f}l{-cut:.1f} {cut:.1f}'
        f'h{-long:.1f}l{-cut:.1f} {-cut:.1f}v{-tall:.1f}z"/>'
    )
