"""What a page says, without its markup: blocks become lines, code keeps its spaces, navigation goes.

Nothing but the standard library's parser is used. Pages are often malformed (a `</a>` too many, paragraphs that are
never closed), so no tree is made: what is passed over ends where as many of the same element have ended as began.
"""

import re
from html.parser import HTMLParser

PASSED_OVER = frozenset({
    "head", "script", "style", "nav", "header", "footer", "aside", "button", "svg", "math", "noscript", "template",
    "form", "select", "iframe", "object", "audio", "video", "info", "credit", "comment",
})  # fmt: skip
"""Elements that say nothing a reader reads; the last ones are Mallard's, of a page's authors."""
APART = frozenset({
    "p", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "hr", "title", "steps",
    "list", "terms", "listing", "screen", "note", "section", "figure", "fieldset",
})  # fmt: skip
"""Elements with an empty line before and behind them."""
BLOCKS = APART | frozenset({
    "div", "li", "dt", "dd", "tr", "br", "article", "main", "details", "summary", "figcaption", "caption", "thead",
    "tbody", "item", "desc", "address", "center", "body",
})  # fmt: skip
PARTS_OF_NAVIGATION = frozenset({
    "sphinxsidebar", "related", "navheader", "navfooter", "toc", "headerlink", "anchorlink", "sidebar", "footer",
    "mobile-topbar", "genindextable", "search", "srclink", "rightside", "out-of-band", "nosearch", "menu",
    "toplang", "kerneltoc", "nav-header", "nav-wide-wrapper", "nav-chapters", "navigation", "indexterm",
    "breadcrumbs", "breadcrumb", "lineno", "linenos", "synthetic-implementations", "synthetic-implementations-list",
    "blanket-implementations", "blanket-implementations-list", "trait-implementations", "trait-implementations-list",
    "implementors", "implementors-list", "foreign-impls", "deref-methods", "hideme", "boring", "test-arrow",
    "tooltip", "copiable-link", "copiable-anchor", "categorybox", "preamble", "quickview", "page-header",
    "top-links", "sidetoc", "contents-treeview", "noticeon", "noteicon", "langmenu", "header", "bottomlang",
    "docnav",
})  # fmt: skip
"""Classes and ids of parts that every page of a kind has, and that are no part of what it says."""
ROLES_OF_NAVIGATION = frozenset({"navigation", "banner", "contentinfo", "search"})
KEEPS_SPACES = frozenset({"pre", "screen", "listing"})
CELLS = frozenset({"td", "th"})
VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
})  # fmt: skip

_SPACES = re.compile(r"[ \t\r\n\f\v\u00a0\u200b]+")
_SIGNS = re.compile(r" ?[¶ⓘ\ue000-\uf8ff]")
"""Of links to a heading, and letters of fonts of signs."""
_MANY_LINES = re.compile(r"\n{3,}")
_END_OF_LINE = re.compile(r"[ \t\r\u00a0]+\n")


def text_of_html(page: str) -> str:
    """The text of a page of HTML, or of XML of its kind; only of its main part where the page says which that is."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    text = _SIGNS.sub("", "".join(reader.said))
    return _MANY_LINES.sub("\n\n", _END_OF_LINE.sub("\n", text)).strip()


class _Reader(HTMLParser):
    """Gathers what a page says in `said`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self.n_lines = 2
        """Ends of lines that `said` ends with."""
        self.passing: list[str] = []
        """The element that is passed over, once for each of its kind that is open."""
        self.main: list[str] = []
        """The main part, likewise."""
        self.n_main = 0
        self.n_kept = 0
        """Elements that keep spaces, which are open."""
        self.owed = ""
        """A space that is said if something follows it on its line."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.passing:
            self.passing += [tag] if tag == self.passing[0] else []
            return
        if self._is_passed_over(tag, dict(attrs)):
            if tag not in VOID:
                self.passing = [tag]
            return
        if self.main:
            self.main += [tag] if tag == self.main[0] else []
        elif (tag == "main" or ("role", "main") in attrs) and not self.n_main:
            self.main, self.n_main = [tag], 1
            self.said, self.n_lines, self.owed = [], 2, ""
        self._begin(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self.passing and tag in BLOCKS:
            self._break(2 if tag in APART else 1)

    def handle_endtag(self, tag: str) -> None:
        if self.passing:
            if tag == self.passing[0]:
                self.passing.pop()
            return
        if tag in BLOCKS:
            self._break(2 if tag in APART else 1)
        if tag in KEEPS_SPACES:
            self.n_kept = max(0, self.n_kept - 1)
        if self.main and tag == self.main[0]:
            self.main.pop()

    def handle_data(self, data: str) -> None:
        if self.passing or (self.n_main and not self.main):
            return
        if self.n_kept:
            self._say(data if self.n_lines == 0 else data.lstrip("\r\n"))
            return
        words = _SPACES.sub(" ", data)
        if words.startswith(" ") and self.n_lines == 0 and self.said[-1] != "- ":
            self.owed = self.owed or " "
        words, ends = words.strip(" "), words.endswith(" ")
        if words:
            self._say(self.owed + words)
            self.owed = " " if ends else ""

    def _begin(self, tag: str) -> None:
        if tag in BLOCKS:
            self._break(2 if tag in APART else 1)
        if tag in KEEPS_SPACES:
            self.n_kept += 1
        elif tag in CELLS and self.n_lines == 0:
            self.owed = " | "
        elif tag in ("li", "item") and not (self.n_main and not self.main):
            self._break(1)
            self._say("- ")

    def _is_passed_over(self, tag: str, attrs: dict[str, str | None]) -> bool:
        if tag in PASSED_OVER or attrs.get("role") in ROLES_OF_NAVIGATION:
            return True
        marks = f"{attrs.get('class') or ''} {attrs.get('id') or ''}".lower().split()
        return tag not in ("body", "html", "main") and not PARTS_OF_NAVIGATION.isdisjoint(marks)

    def _break(self, n: int) -> None:
        self.owed = ""
        if self.said and self.said[-1] == "- ":  # a paragraph within a point of a list begins on its line
            return
        if self.n_lines < n:
            self.said.append("\n" * (n - self.n_lines))
            self.n_lines = n

    def _say(self, words: str) -> None:
        if words:
            self.said.append(words)
            self.n_lines = len(words) - len(words.rstrip("\n"))
            self.owed = ""
