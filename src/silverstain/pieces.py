"""Tokens as text: pieces of words, and characters that are split over several tokens.

A vocabulary of bytes may cut a character (é, 日) into tokens that are no text by themselves. Such a byte is written
⟨C3⟩, in hexadecimal, so that every token can be read, told from others, and typed. Pieces side by side are joined to
the whole again.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

CONTINUES = "##"
"""How WordPiece writes a piece that continues a word."""
_BYTES = re.compile(r"(?:⟨[0-9A-F]{2}⟩)+")


def shown(data: bytes) -> str:
    """Bytes as text, and those that are no text in UTF-8 as ⟨C3⟩."""
    return "".join(
        f"⟨{ord(letter) - 0xDC00:02X}⟩" if "\udc80" <= letter <= "\udcff" else letter
        for letter in data.decode("utf-8", "surrogateescape")
    )


def bytes_of(text: str) -> bytes:
    """What `shown` was given."""
    found, at = [], 0
    for run in _BYTES.finditer(text):
        found += [text[at : run.start()].encode("utf-8", "surrogatepass"), _read(run[0])]
        at = run.end()
    return b"".join([*found, text[at:].encode("utf-8", "surrogatepass")])


def whole(pieces: Sequence[str]) -> str:
    """Pieces of text one behind the other, characters that were split over them whole again."""
    return _BYTES.sub(lambda run: shown(_read(run[0])), "".join(pieces))


def word_spans(tokens: Sequence[str]) -> list[range]:
    """The positions of each word: pieces that continue one, and the parts of a split character, are with what they
    continue."""
    starts = [0] if tokens else []
    for at in range(1, len(tokens)):
        is_piece = tokens[at].startswith(CONTINUES)
        if not is_piece and not _is_cut(tokens[starts[-1] : at], tokens[at]):
            starts.append(at)
    return [range(first, stop) for first, stop in pairwise([*starts, len(tokens)])]


def word(tokens: Sequence[str]) -> str:
    """The pieces of one word, as a person reads them: dal·las, and a split character whole."""
    parts = [tokens[0], *(token.removeprefix(CONTINUES) for token in tokens[1:])]
    joined = whole(parts)
    return joined if joined != "".join(parts) else "·".join(parts)


def piece(token: str) -> str:
    """One token, as a person reads it: ·las rather than ##las."""
    rest = token.removeprefix(CONTINUES)
    return f"·{rest}" if rest and rest != token else token


def _is_cut(before: Sequence[str], token: str) -> bool:
    """Whether a character begun before goes on in the token: some bytes at the end of the one are text with those that
    begin the other."""
    last, first = re.search(r"(?:⟨[0-9A-F]{2}⟩)+$", "".join(before)), _BYTES.match(token)
    if last is None or first is None:
        return False
    begun = _read(last[0])
    return _is_begun(begun) and 0x80 <= _read(first[0])[0] < 0xC0


def _is_begun(data: bytes) -> bool:
    """Whether bytes end in the beginning of a character of UTF-8."""
    for length in range(1, min(3, len(data)) + 1):
        lead = data[-length]
        if lead >= 0xC0:
            return length < (2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        if lead < 0x80:
            return False
    return False


def _read(run: str) -> bytes:
    return bytes.fromhex(run.replace("⟨", "").replace("⟩", ""))
