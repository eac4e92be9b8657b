"""Text that somebody else wrote, made fit to be shown: a token or a label may hold anything.

Escape sequences move a terminal's cursor, set its title, or make it answer as if the person had typed; right-to-left
overrides let a line read as another; line ends break a drawing. They are shown as they would be written in a string.
"""

import re

BEYOND_C0 = (
    "\x7f-\x9f"  # control characters: DEL and C1
    "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of writing
    "\u2028\u2029"  # line and paragraph ends
    "\ud800-\udfff"  # halves of characters, which no encoding can write
    "\ufff9-\ufffb\U000e0000-\U000e007f"  # annotations and tags, which are not seen
)
"""What is not shown as it is, C0 apart, as it stands in a class of a regular expression."""
_HIDDEN = re.compile(f"[\x00-\x1f{BEYOND_C0}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
ELLIPSIS = "…"


def printable(text: str, most: int | None = None) -> str:
    """`text` on one line and without characters that a terminal, a page or a reader would act on.

    Those are written as in a string: \\n, \\x1b, \\u202e. With `most`, a longer text is cut to that many characters,
    the last of which is …; what is cut off is not looked at, so a text of megabytes costs nothing.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + ELLIPSIS
    shown = _HIDDEN.sub(_escaped, text)
    return shown if most is None or len(shown) <= most else shown[: most - 1] + ELLIPSIS


def printable_lines(text: str) -> str:
    """As `printable`, of a text of several lines: its line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def abridged(text: str, most: int) -> str:
    """A message without its middle, if it is longer than `most` characters: there stands what it quotes, and what to
    do stands at its end."""
    return text if len(text) <= most else f"{text[: most // 2]} {ELLIPSIS} {text[-most // 2 :]}"


def _escaped(match: re.Match[str]) -> str:
    letter = match.group()
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
