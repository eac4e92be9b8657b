"""`make studies`: every study asked of the organism, and its reports as pages of the documentation.

    python -m silverstain.studies.publishing docs/studies [--kept FOLDER] [--as-found]

What is found on the way is kept (in build/studies, or FOLDER); an interrupted run goes on where it stopped. With
`--as-found` nothing is run: the reports that FOLDER has are published.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from silverstain.loading import load
from silverstain.organism.siblings import sibling_of
from silverstain.statistics import share_of
from silverstain.storage import write_text_whole

from .catalogue import STUDIES
from .organism_variables import subject_of
from .protocol import Study, StudyReport, StudySettings, run_study
from .reports import read_report, write_report
from .reports.drawing import svg_of
from .reports.telling import figures_of, markdown
from .reports.writing import REPORT

MODEL = "organism/composing"
ASKED: tuple[tuple[str, str], ...] = (
    ("hidden-preference", "organism/composing-quirk"), ("hidden-preference", "organism/composing-mixed"),
)  # fmt: skip
"""Studies of siblings; all others are asked of the composing organism."""
NOTHING_THERE = frozenset({("hidden-preference", "organism/composing-mixed")})
"""Studies of what is known to lack what they look for: they must fail."""
HEAD = """# Reports of the studies

Written by `make studies`, from runs of the commands that they name. The organism is
[the one that composes](../composing.md), with its per-layer dictionary; what a study finds is compared with its causal
map, which knows no dictionary. What each study does and when it passes: [studies](../studies.md).
Studies that are not listed have not been run for this page.

| study | model | verdict | why |
| --- | --- | --- | --- |
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask all, and write index.md, a page a report, and the figures."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = Path(given[given.index("--kept") + 1]) if "--kept" in given else Path("build/studies")
    target = Path(given[0])
    target.mkdir(parents=True, exist_ok=True)
    known = {study.name: study for study in STUDIES}
    asked = [(study, MODEL) for study in known.values() if study.name != "hidden-preference"]
    asked += [(known[name], model) for name, model in ASKED]
    if "--as-found" in given:
        asked = [(study, model) for study, model in asked if (kept / name_of(study, model) / REPORT).exists()]
        reports = [read_report(kept / name_of(study, model) / REPORT, known) for study, model in asked]
    else:
        reports = ran(asked, kept)
    lines = []
    for (study, model), report in zip(asked, reports, strict=True):
        name = name_of(study, model)
        publish(report, target, name, model)
        lines.append(row(report, name, model))
    said = "\n".join((HEAD + "".join(lines), verdicts_line(reports, asked), controls_line(reports)))
    write_text_whole(target / "index.md", said)


def ran(asked: Sequence[tuple[Study, str]], kept: Path) -> list[StudyReport]:
    """Every study asked, with what it finds kept."""
    subject = functools.cache(lambda model: subject_of(load(model)))
    found = []
    for study, model in asked:
        name = name_of(study, model)
        report = run_study(
            study, subject(model), StudySettings(), folder=kept / name / "steps",
            on_step=lambda done, n, step, name=name: sys.stderr.write(f"{name}: {done} of {n}, {step}\n"),
        )  # fmt: skip
        write_report(report, kept / name)
        found.append(report)
    return found


def name_of(study: Study, model: str) -> str:
    """The name of a report's page."""
    sibling = sibling_of(model)
    return study.name if model == MODEL or sibling is None else f"{study.name}-{sibling.role}"


def publish(report: StudyReport, target: Path, name: str, model: str) -> None:
    """The page of a report, and its figures beside it."""
    text = markdown(report, picture=f"{name}-{{name}}.svg")
    run = f"silverstain study run {report.study.name} --model {model}"
    write_text_whole(target / f"{name}.md", text + f"\nRun: `{run}`.\n")
    for figure in figures_of(report):
        write_text_whole(target / f"{name}-{figure.name}.svg", svg_of(figure, follows_theme=False) + "\n")


def verdicts_line(reports: Sequence[StudyReport], asked: Sequence[tuple[Study, str]]) -> str:
    """How many pass of those that have what they look for, and how many fail of those that have not."""
    lacks = [(study.name, model) in NOTHING_THERE for study, model in asked]
    passed = [report.verdict == "pass" for report, lacking in zip(reports, lacks, strict=True) if not lacking]
    failed = [report.verdict == "fail" for report, lacking in zip(reports, lacks, strict=True) if lacking]
    said = f"{sum(passed)} of {len(passed)} studies pass"
    if failed:
        said += f"; where there is nothing to be found, {sum(failed)} of {len(failed)} fail, as they must"
    return said + ".\n"


def controls_line(reports: Sequence[StudyReport]) -> str:
    """How many of the controls that counted failed, as controls must, and which did not."""
    counted = [(report, one) for report in reports for one in report.of("control") if one.counts]
    untested = sum(not one.counts for report in reports for one in report.of("control"))
    passing = [f"{report.study.title}, {one.name} ({one.value:.2f})" for report, one in counted if not one.holds]
    failed = share_of(len(counted) - len(passing), len(counted))
    without = [report.study.title for report in reports if not any(one is report for one, _ in counted)]
    said = f"Of {len(counted)} controls that counted, {len(counted) - len(passing)} failed as they must ({failed} %)"
    said += f"; {untested} could not be tested.\n" if untested else ".\n"
    said += f"Those that did what only the circuit should: {'; '.join(passing)}.\n" if passing else ""
    return said + (f"Without a control that counted: {', '.join(without)}.\n" if without else "")


def row(report: StudyReport, name: str, model: str) -> str:
    """The report's line in the index."""
    reasons, verdict = "; ".join(report.reasons), report.verdict
    if (report.study.name, model) in NOTHING_THERE:
        verdict = "fail, as it must" if verdict == "fail" else f"{verdict}, where it must fail"
    return f"| [{report.study.title}]({name}.md) | {model} | {verdict} | {reasons} |\n"


if __name__ == "__main__":
    main()
