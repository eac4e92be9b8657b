"""The text of manual pages (roff with the macros of `man`) and of Perl's plain old documentation."""

import re

HEADINGS = frozenset({".SH", ".SS"})
PARAGRAPHS = frozenset({".PP", ".P", ".LP", ".Sp", ".TP", ".RS", ".RE", ".sp", ".HP", ".TQ"})
FONTS = frozenset({".B", ".I", ".SM", ".SB"})
MIXED_FONTS = frozenset({".BR", ".RB", ".BI", ".IB", ".IR", ".RI"})
_ESCAPES = (
    (re.compile(r'\\".*$'), ""),
    (re.compile(r"\\f(\(..|\[[^\]]*\]|.)|\\s[-+]?\d|\\m\[[^\]]*\]|\\[&|^:%!c/,)]|\\h'[^']*'|\\v'[^']*'"), ""),
    (re.compile(r"\\\*\(L\"|\\\*\(R\"|\\\(lq|\\\(rq|\\\(dq|\\\[lq\]|\\\[rq\]"), '"'),
    (re.compile(r"\\\*\(C[`']|\\\*[`']"), '"'),
    (re.compile(r"\\\*\(Aq|\\\((aq|cq|oq)|\\\[(aq|cq|oq)\]|\\'|\\`"), "'"),
    (re.compile(r"\\\(em|\\\[em\]|\\\*\(--|\\\*-"), "—"),
    (re.compile(r"\\\(en|\\\[en\]|\\\(mi|\\\(hy|\\-"), "-"),
    (re.compile(r"\\\(bu|\\\[bu\]|\\\(co"), "•"),
    (re.compile(r"\\\(ha|\\\[ha\]"), "^"),
    (re.compile(r"\\\(ti|\\\[ti\]"), "~"),
    (re.compile(r"\\\(->|\\\[->\]"), "->"),
    (re.compile(r"\\[ ~0]"), " "),
    (re.compile(r"\\\*?\(..|\\\*?\[[^\]]*\]|\\\*."), ""),
    (re.compile(r"\\e|\\\(rs|\\\[rs\]"), "\\\\"),
)
_POD_CODE = re.compile(r"([A-Z])(?:<<<? (.*?) >>>?|<([^<>]*)>)", re.S)
_POD_LETTERS = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/", "quot": '"', "amp": "&"}
_HELD = {"<": "\x00", ">": "\x01"}
"""Stand for themselves while codes around them are read."""


def text_of_man(page: str) -> str:
    """The text of a manual page; nothing where it is written with other macros."""
    lines = page.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith(".TH")), None)
    if start is None:
        return ""
    paragraphs: list[list[str]] = [[]]
    is_verbatim = is_table = False
    for line in lines[start + 1 :]:
        line = line.removeprefix(".ie n ")  # what a terminal is shown, and not what is printed
        macro, *words = _words(line) if line[:1] in (".", "'") else ("",)
        if macro in (".TS", ".TE"):
            is_table = macro == ".TS"
        elif is_table or macro in ('.\\"', "'\\\""):
            continue
        elif macro in (".nf", ".Vb", ".EX", ".fi", ".Ve", ".EE"):
            is_verbatim = macro in (".nf", ".Vb", ".EX")
            paragraphs.append(["\n"] if is_verbatim else [])
        elif macro in HEADINGS:
            paragraphs += [[" ".join(words)], []]
        elif macro in PARAGRAPHS or not line.strip():
            paragraphs.append([] if not is_verbatim else ["\n"])
        elif macro == ".IP":
            paragraphs.append([words[0]] if words and words[0] != "\\(bu" else [])
        elif macro in FONTS or macro in MIXED_FONTS:
            paragraphs[-1].append(("" if macro in MIXED_FONTS else " ").join(words))
        elif not macro:
            paragraphs[-1].append(line)
    return "\n\n".join(said for paragraph in paragraphs if (said := _set(paragraph)))


def _set(paragraph: list[str]) -> str:
    """The lines of a paragraph as they are printed: filled, but for examples, which begin with an end of line."""
    is_verbatim = paragraph[:1] == ["\n"]
    lines = [_unescaped(line) for line in paragraph if line != "\n"]
    return "\n".join(line.rstrip() for line in lines).strip("\n") if is_verbatim else " ".join(" ".join(lines).split())


def _words(line: str) -> list[str]:
    """A macro and what it is given; quotes hold words together."""
    macro, _, rest = line.partition(" ")
    return [macro.strip(), *(quoted or plain for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|(\S+)', rest))]


def _unescaped(line: str) -> str:
    for pattern, meaning in _ESCAPES:
        line = pattern.sub(meaning, line)
    return line


def text_of_pod(page: str) -> str:
    """The text of a page of plain old documentation; program text around it goes."""
    found, is_pod, is_other = [], False, False
    for block in re.split(r"\n[ \t]*\n+", page.replace("\r", "").expandtabs()):
        block = block.strip("\n")
        command = re.match(r"=([a-z]+\d?)\s*(.*)", block, re.S)
        if command:
            is_pod = command[1] != "cut"
            is_other = command[1] == "begin" or (is_other and command[1] != "end")
            if command[1].startswith(("head", "item")) and command[2].strip() not in ("*", ""):
                found.append(" ".join(_pod_plain(command[2]).split()))
        elif is_pod and not is_other and block.strip():
            is_verbatim = block[0] == " "
            found.append(block if is_verbatim else " ".join(_pod_plain(block).split()))
    return "\n\n".join(found)


def _pod_plain(text: str) -> str:
    """Text without formatting codes, the inner ones first."""
    before = None
    while text != before:
        before, text = text, _POD_CODE.sub(_pod_meaning, text)
    return text.replace(_HELD["<"], "<").replace(_HELD[">"], ">")


def _pod_meaning(code: re.Match[str]) -> str:
    kind, inside = code[1], code[2] if code[2] is not None else code[3]
    if kind == "E":
        letter = _POD_LETTERS.get(inside) or (chr(int(inside)) if inside.isdigit() else inside)
        return _HELD.get(letter, letter)
    if kind in "XZ":
        return ""
    if kind == "L":
        name, bar, _ = inside.partition("|")
        inside = name if bar else inside.removeprefix("/").replace("/", ", ").replace('"', "")
    return inside.replace("<", _HELD["<"]).replace(">", _HELD[">"])
