"""The studies of a folder: reports that `silverstain study run --out` wrote, with their verdicts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from silverstain.explorer.folder import files_in, inside
from silverstain.printable import printable
from silverstain.studies.protocol.study import FORMAT
from silverstain.studies.reports.writing import REPORT

MOST_STUDIES = 200
LARGEST_REPORT = 32 << 20
PAGE = "report.html"
ALONE = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""The policy of a report's page: it comes from a file that anybody may have written, so it runs and loads nothing."""
LEVELS = {"pass": "good", "fail": "poor"}


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A study's report that a start page lists."""

    path: str
    """Of the report.json, within the folder, with slashes."""
    study: str
    title: str
    verdict: str
    reasons: tuple[str, ...]
    n: int
    """Test prompts."""
    model: str
    has_page: bool
    modified: float
    """Seconds since 1970."""


def studies_in(folder: Path) -> list[StudyFile]:
    """The reports of studies in a folder and those below it, the newest first."""
    found = []
    for path in files_in(folder):
        listed = _listed(folder, path) if path.name == REPORT else None
        if listed is not None:
            found.append(listed)
        if len(found) >= MOST_STUDIES:
            break
    return sorted(found, key=lambda one: -one.modified)


def study_page(folder: Path, relative: str) -> str:
    """The page beside a report; NotInFolder where there is none in the folder."""
    beside = Path(relative).parent / PAGE
    return inside(folder, beside.as_posix()).read_text(encoding="utf-8", errors="replace")


def studies_html(studies: Sequence[StudyFile]) -> str:
    """The list for the start page; nothing where there are none."""
    if not studies:
        return ""
    n = len(studies)
    said = f"{n} report{'' if n == 1 else 's'} of silverstain study run"
    items = "\n".join(_item(one) for one in studies)
    return (
        '<section aria-labelledby="studies"><div class="head"><h2 id="studies">Studies</h2>'
        f'<span class="about">{said}</span></div>\n<ul id="reports">\n{items}\n</ul></section>'
    )


def _item(one: StudyFile) -> str:
    """A study as a link to its page; without a page, how to write it."""
    on = f" on {one.n} test prompts" if one.n else ""
    why = f'<span class="why">{escape("; ".join(one.reasons))}</span>' if one.reasons else ""
    when = datetime.fromtimestamp(one.modified).strftime("%Y-%m-%d %H:%M")
    about = " · ".join(escape(part) for part in (one.model, printable(one.path, 200), when) if part)
    inner = (
        f'<span class="prompt serif">{escape(one.title)} <b class="verdict {LEVELS.get(one.verdict, "unknown")}">'
        f"{escape(one.verdict)}{on}</b></span>{why}"
    )
    text = escape(" ".join((one.title, one.study, one.verdict, one.model, one.path)).lower())
    if not one.has_page:
        folder = one.path.rpartition("/")[0] or "."
        missing = f"silverstain study report {one.path} --out {folder}"
        return (
            f'<li data-text="{text}" data-tags=""><div>{inner}<span class="about">{about}</span>'
            f'<span class="about">Its page is missing; write it: <code>{escape(missing)}</code></span></div></li>'
        )
    address = f"/study?report={quote(one.path, safe='')}"
    return f'<li data-text="{text}" data-tags=""><a href="{address}">{inner}<span class="about">{about}</span></a></li>'


def _listed(folder: Path, path: Path) -> StudyFile | None:
    """What the report says of itself; None for what is none, or is damaged."""
    try:
        stat = path.stat()
        if stat.st_size > LARGEST_REPORT:
            return None
        told = json.loads(path.read_text(encoding="utf-8"))
        relative = path.relative_to(folder).as_posix()
        inside(folder, relative)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        return None
    reasons, manifest = told.get("reasons"), told.get("manifest")
    n = told.get("n")
    return StudyFile(
        path=relative, study=_text(told, "study"), title=_text(told, "title") or _text(told, "study") or relative,
        verdict=_text(told, "verdict") or "undecided",
        reasons=tuple(printable(str(one), 300) for one in reasons[:4]) if isinstance(reasons, list) else (),
        n=n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 0,
        model=_text(manifest, "model") if isinstance(manifest, dict) else "",
        has_page=(path.parent / PAGE).is_file(), modified=stat.st_mtime,
    )  # fmt: skip


def _text(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    return printable(value, 300) if isinstance(value, str) else ""
