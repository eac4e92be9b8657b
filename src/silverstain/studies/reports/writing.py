"""Reports as files: JSON, a page, and Markdown with its figures beside it; and read again to be told anew."""

from pathlib import Path
from typing import Any

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.storage import write_json_whole, write_text_whole
from silverstain.studies.protocol.study import FORMAT, Study, StudyReport
from silverstain.studies.protocol.values import Findings

from .drawing import svg_of
from .telling import figures_of, markdown, page

REPORT = "report.json"


def write_report(report: StudyReport, folder: Path) -> list[Path]:
    """report.json, report.html, report.md and an .svg for each figure."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json_whole(folder / REPORT, report.to_json())
    return [folder / REPORT, *write_told(report, folder)]


def write_told(report: StudyReport, folder: Path, *, name: str = "report", picture: str = "{name}.svg") -> list[Path]:
    """The page, and Markdown with its figures."""
    written = [folder / f"{name}.html", folder / f"{name}.md"]
    write_text_whole(written[0], page(report))
    write_text_whole(written[1], markdown(report, picture=picture))
    for figure in figures_of(report):
        path = folder / picture.format(name=figure.name)
        write_text_whole(path, svg_of(figure) + "\n")
        written.append(path)
    return written


def read_report(path: Path, studies: dict[str, Study]) -> StudyReport:
    """A report from its JSON; UsageError for a study that is not known."""
    data: dict[str, Any] = read_json(path, FORMAT)
    name = data.get("study")
    if name not in studies:
        raise UsageError(
            f"{path} is a report of the study {name!r}, which is not known; there are {', '.join(studies)}"
        )
    found = Findings.from_json({**data, "measures": [*data["measures"], *data["controls"]]})
    return StudyReport(
        study=studies[name], verdict=data["verdict"], reasons=tuple(data["reasons"]), findings=found,
        manifest=data["manifest"],
    )  # fmt: skip
