"""`make studies`: every study asked of the organism, and its reports as pages of the documentation.

    python -m silverstain.studies.publishing docs/studies [--kept FOLDER] [--as-found]

What is found on the way is kept (in build/studies, or FOLDER); an interrupted run goes on where it stopped. With
`--as-found` nothing is run: the reports that FOLDER has are published.
"""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from silverstain.loading import load
from silverstain.organism.siblings import sibling_of
from silverstain.statistics import share_of
from silverstain.storage import write_text_whole

from .catalogue import STUDIES
from .organism_variables import subject_of
from .protocol import Study, StudyReport, StudySettings, run_study
from .protocol.study import BasisKind
from .reports import read_report, write_report
from .reports.drawing import svg_of
from .reports.telling import figures_of, markdown
from .reports.writing import REPORT

MODEL = "organism/composing"


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One report: which study, of which model, by what its variables are moved.

    Attributes:
        finds_nothing: The model is known to lack what the study looks for, so that it must fail.
    """

    study: Study
    model: str = MODEL
    basis: BasisKind = "units"
    finds_nothing: bool = False

    @property
    def name(self) -> str:
        """Of the report's page."""
        sibling = sibling_of(self.model)
        of_model = "" if self.model == MODEL or sibling is None else f"-{sibling.role}"
        return f"{self.study.name}{of_model}{'' if self.basis == 'units' else f'-{self.basis}'}"

    @property
    def command(self) -> str:
        basis = "" if self.basis == "units" else f" --basis {self.basis}"
        return f"silverstain study run {self.study.name} --model {self.model}{basis}"


BY_CONTRASTS = ("planning", "multilingual")
"""Studies that are asked a second time, as units move little of what they look for."""


def askings() -> tuple[Asking, ...]:
    """All reports, in the order of the index: every study of the composing organism, and hidden preferences of those of
    its controls that may have one."""
    known = {study.name: study for study in STUDIES}
    preference = known.pop("hidden-preference")
    return (
        *(Asking(study=study) for study in known.values()),
        *(Asking(study=known[name], basis="contrasts") for name in BY_CONTRASTS),
        Asking(study=preference, model="organism/composing-quirk"),
        Asking(study=preference, model="organism/composing-mixed", finds_nothing=True),
    )


HEAD = """# Reports of the studies

Written by `make studies`, from runs of the commands that they name. The organism is
[the one that composes](../composing.md), with its per-layer dictionary; what a study finds is compared with its causal
map, which knows no dictionary. What each study does and when it passes: [studies](../studies.md).
Studies that are not listed have not been run for this page.

| study | model | moved by | verdict | why |
| --- | --- | --- | --- | --- |
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask all, and write index.md, a page a report, and the figures."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = Path(given[given.index("--kept") + 1]) if "--kept" in given else Path("build/studies")
    target = Path(given[0])
    target.mkdir(parents=True, exist_ok=True)
    asked = list(askings())
    if "--as-found" in given:
        asked = [one for one in asked if (kept / one.name / REPORT).exists()]
        known = {study.name: study for study in STUDIES}
        reports = [read_report(kept / one.name / REPORT, known) for one in asked]
    else:
        reports = ran(asked, kept)
    lines = []
    for one, report in zip(asked, reports, strict=True):
        publish(report, target, one)
        lines.append(row(report, one))
    said = "\n".join((HEAD + "".join(lines), verdicts_line(reports, asked), controls_line(reports)))
    write_text_whole(target / "index.md", said)


def ran(asked: Sequence[Asking], kept: Path) -> list[StudyReport]:
    """Every study asked, with what it finds kept."""
    subject = functools.cache(lambda model: subject_of(load(model)))
    found = []
    for one in asked:
        report = run_study(
            one.study, subject(one.model), StudySettings(basis=one.basis), folder=kept / one.name / "steps",
            on_step=lambda done, n, step, name=one.name: sys.stderr.write(f"{name}: {done} of {n}, {step}\n"),
        )  # fmt: skip
        write_report(report, kept / one.name)
        found.append(report)
    return found


def publish(report: StudyReport, target: Path, one: Asking) -> None:
    """The page of a report, and its figures beside it."""
    text = markdown(report, picture=f"{one.name}-{{name}}.svg")
    write_text_whole(target / f"{one.name}.md", text + f"\nRun: `{one.command}`.\n")
    for figure in figures_of(report):
        write_text_whole(target / f"{one.name}-{figure.name}.svg", svg_of(figure, follows_theme=False) + "\n")


def verdicts_line(reports: Sequence[StudyReport], asked: Sequence[Asking]) -> str:
    """How many pass of those that have what they look for, by units and otherwise, and how many fail of those that have
    not."""

    def verdicts(basis: str, *, finds_nothing: bool = False) -> list[str]:
        return [report.verdict for report, one in zip(reports, asked, strict=True)
                if one.basis == basis and one.finds_nothing == finds_nothing]  # fmt: skip

    by_units, by_contrasts = verdicts("units"), verdicts("contrasts")
    lacking = verdicts("units", finds_nothing=True)
    said = f"{by_units.count('pass')} of {len(by_units)} studies pass"
    if by_contrasts:
        said += f"; asked again by contrasts of the stream, {by_contrasts.count('pass')} of {len(by_contrasts)} do"
    if lacking:
        said += f"; where there is nothing to be found, {lacking.count('fail')} of {len(lacking)} fail, as they must"
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


def row(report: StudyReport, one: Asking) -> str:
    """The report's line in the index."""
    reasons, verdict = "; ".join(report.reasons), report.verdict
    if one.finds_nothing:
        verdict = "fail, as it must" if verdict == "fail" else f"{verdict}, where it must fail"
    return f"| [{report.study.title}]({one.name}.md) | {one.model} | {one.basis} | {verdict} | {reasons} |\n"


if __name__ == "__main__":
    main()
