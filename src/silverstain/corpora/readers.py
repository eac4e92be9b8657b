"""How the text of a package's file is read, by what kind of file it is: each gives documents, by name."""

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO

from silverstain.corpora.html import text_of_html
from silverstain.corpora.manual_pages import text_of_man, text_of_pod

Documents = Iterator[tuple[str, str]]
Reader = Callable[[str, bytes], Documents]
GROUP = 6_000
"""Characters to which short entries (of a dictionary, say) are gathered, to be one document."""
MOST_BYTES = 64 << 20
"""Of a file once it is decompressed: larger ones are no text that a person wrote."""


def decoded(content: bytes) -> str:
    """Text in UTF-8, or else in Latin-1, in which old pages are."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def decompressed(name: str, content: bytes) -> tuple[str, bytes]:
    """A file out of gzip, and its name without the ending."""
    if not content.startswith(b"\x1f\x8b"):
        return name, content
    with gzip.GzipFile(fileobj=BytesIO(content)) as file:
        return re.sub(r"\.(gz|dz)$", "", name), file.read(MOST_BYTES)


def html(name: str, content: bytes) -> Documents:
    """A page of HTML or Mallard."""
    yield name, text_of_html(decoded(content))


def man(name: str, content: bytes) -> Documents:
    """A manual page."""
    yield name, text_of_man(decoded(content))


def pod(name: str, content: bytes) -> Documents:
    """Perl's plain old documentation, or the manual page that was made from it."""
    text = decoded(content)
    yield name, text_of_man(text) if "\n.TH " in text else text_of_pod(text)


def plain(name: str, content: bytes) -> Documents:
    """Text as it is, paragraphs on a line each."""
    yield name, unwrapped(decoded(content))


def sayings(name: str, content: bytes) -> Documents:
    """A file of `fortune`: sayings between lines of a per cent sign."""
    entries = (entry.replace("\b", "").strip("\n").expandtabs() for entry in re.split(r"(?m)^%%?\n", decoded(content)))
    yield from grouped(name, (entry for entry in entries if entry.strip()))


def dictionary(name: str, content: bytes) -> Documents:
    """A dictionary of dictd: a headword where a line begins, and what is said of it below or beside it."""
    text = decoded(content).replace("\r", "")
    found = (_entry(entry) for entry in re.split(r"\n(?=\S)", text) if not entry.lstrip().startswith("00-database"))
    yield from grouped(name, (entry for entry in found if len(entry.split()) > 3))


def glosses(name: str, content: bytes) -> Documents:
    """A data file of WordNet: the words of a meaning, its definition and its examples."""

    def entries() -> Iterator[str]:
        for line in decoded(content).splitlines():
            data, bar, gloss = line.partition(" | ")
            fields = data.split()
            if line.startswith(" ") or not bar or len(fields) < 4:
                continue
            words = [
                re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            ]
            definition, *examples = re.split(r'; (?=")', gloss.strip())
            said = " ".join(example.strip("; ") for example in examples)
            yield f"{', '.join(words)}: {definition}." + (f" {said}" if said else "")

    yield from grouped(name, entries())


def tagged(name: str, content: bytes) -> Documents:
    """A text of the Brown corpus: words with their parts of speech behind a slash."""
    paragraphs = []
    for block in re.split(r"\n\s*\n\s*\n", decoded(content)):
        words = [word.rpartition("/")[0] or word for word in block.split()]
        if words:
            paragraphs.append(_joined(words))
    yield name, "\n".join(paragraphs)


def novels(name: str, content: bytes) -> Documents:
    """The data of an R package: vectors of strings, which are the lines of novels."""
    start = 0
    while start + 4 < len(content):
        unpacker = zlib.decompressobj()
        lines = _strings(unpacker.decompress(content[start + 4 :], MOST_BYTES))
        title = next((line for line in lines if line.strip()), str(start))
        yield f"{name}:{title.strip().title()}", unwrapped("\n".join(lines))
        start = len(content) - len(unpacker.unused_data)


def verses(name: str, content: bytes) -> Documents:
    """A module of pythonbible: one long string, a line a paragraph; words in brackets are the translators'."""
    text = max(decoded(content).split('"""'), key=len)
    lines = (line.strip().replace("[", "").replace("]", "") for line in text.splitlines())
    yield from grouped(name, (line for line in lines if line), between="\n")


READERS: Mapping[str, Reader] = {
    reader.__name__: reader for reader in (html, man, pod, plain, sayings, dictionary, glosses, tagged, novels, verses)
}


def grouped(name: str, entries: Iterable[str], between: str = "\n\n") -> Documents:
    """Successive entries gathered to documents, whose names say their number."""
    group, size, number = [], 0, 1
    for entry in entries:
        group.append(entry)
        size += len(entry)
        if size >= GROUP:
            yield f"{name}:{number}", between.join(group)
            group, size, number = [], 0, number + 1
    if group:
        yield f"{name}:{number}", between.join(group)


def unwrapped(text: str) -> str:
    """Text with each paragraph on a line; what is indented or set in short lines stays as it is."""
    paragraphs = re.split(r"\n[ \t]*\n+", text.replace("\r", "").expandtabs())
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs if paragraph.strip())


def _paragraph(paragraph: str) -> str:
    lines = [line.rstrip() for line in paragraph.strip("\n").split("\n")]
    indents = {len(line) - len(line.lstrip()) for line in lines[1:]}
    is_prose = len(indents) <= 1 and all(len(line) >= 45 for line in lines[:-1])
    return " ".join(line.strip() for line in lines) if is_prose else "\n".join(lines)


_TAG = re.compile(
    r"^\s*\[(1913 Webster|Webster 1913 Suppl\.|WordNet [\d.]+|PJC|\d{4} .{0,20}|.{0,20} \+PJC)\]\s*$", re.M
)
_SPOKEN = re.compile(r" ?\\[^\\\n]{1,80}\\(?: ?\([^()]{0,80}\))?")
_SPOKEN_BELOW = re.compile(r"(?m)^ +(?:/[^/\n]{2,60}/(?:,| or)? ?)+")
"""How a word is said: behind it in one dictionary, in others at the head of the next line."""
_SUBJECT = re.compile(r"(?m)^ +<[a-z][a-z, -]{2,60}> ")
_LINK = re.compile(r"\{\(?([^{}]{1,200}?)\)?\}")
_LETTERS = {"[ae]": "æ", "[AE]": "Æ", "[oe]": "œ", "[eacute]": "é", "[aum]": "ä", "[oum]": "ö", "[uum]": "ü"}
_ACCENT = re.compile(r"\[(?:[=^.~'`\"]([A-Za-z])|([A-Za-z])[=^~'`\"])\]")
_DATE = re.compile(r"(?m)^\s*\(?\d{4}-\d\d-\d\d\)?\s*$")


def _entry(entry: str) -> str:
    """An entry of a dictionary as prose: without pronunciation, sources of each line and marks of links."""
    entry = _DATE.sub("", _TAG.sub("", _SUBJECT.sub("   ", _SPOKEN_BELOW.sub("   ", _SPOKEN.sub("", entry)))))
    entry = _LINK.sub(lambda link: " ".join(link[1].split()), entry)
    for mark, letter in _LETTERS.items():
        entry = entry.replace(mark, letter)
    entry = _ACCENT.sub(lambda letter: letter[1] or letter[2], entry)
    head, *paragraphs = re.split(r"\n(?=\n)", entry)
    return "\n".join(" ".join(paragraph.split()) for paragraph in (head, *paragraphs) if paragraph.strip())


def _joined(words: list[str]) -> str:
    """Words and signs with the spaces that print has."""
    text = " ".join(words).replace("`` ", '"').replace(" ''", '"').replace("``", '"').replace("''", '"')
    text = re.sub(r" ([.,;:?!)\]]+)(?= |$|\")", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    return re.sub(r"([.;?!])(?: \1)+", r"\1", text).replace("; ;", ";")


def _strings(data: bytes) -> list[str]:
    """The first vector of strings in what R's `serialize` wrote (format 3, XDR); none where there is none."""
    place = data.find(struct.pack(">I", 16), 14)
    if not data.startswith(b"X\n") or place < 0:
        return []
    (n,) = struct.unpack_from(">I", data, place + 4)
    place, found = place + 8, []
    for _ in range(n):
        if place + 8 > len(data):
            break
        (length,) = struct.unpack_from(">i", data, place + 4)
        found.append(decoded(data[place + 8 : place + 8 + max(length, 0)]))
        place += 8 + max(length, 0)
    return found
