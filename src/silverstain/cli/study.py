"""`silverstain study`: the papers' discoveries, asked of a model under one protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from silverstain.cli import output
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, LoadingOptions, existing, load_replacement
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.studies.protocol import Measure, Study, StudyReport, StudySettings
    from silverstain.studies.protocol.study import BasisKind

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Ask whether a model plans, adds, translates, recalls or reasons as the papers found, with controls.",
)

BASES = ("units", "contrasts")
Sibling = Annotated[
    str | None,
    typer.Option(
        help="For an organism in a folder: in which sibling's world it was grown (see organism describe).",
        show_default=False,
    ),
]


@app.command("list", epilog="Example: silverstain study list")
def list_studies(*, json: Json = False) -> None:
    """Name every study, and what it asks."""
    from silverstain.studies.catalogue import studies

    known = studies()
    if json:
        output.emit({"studies": [{"name": one.name, "title": one.title, "claim": one.claim} for one in known.values()]})
        return
    output.data(output.table([[one.name, one.title] for one in known.values()]))


@app.command(epilog="Example: silverstain study run two-hop --out two-hop")
@takes_option_values
def run(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Studies (see study list); all that have prompts for the model if none is named."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for the reports; an interrupted run goes on from what is in it.", show_default=False
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            callback=existing, help="Run again as in this report (report.json): the same settings.", show_default=False
        ),
    ] = None,
    basis: Annotated[
        str, typer.Option(help="What variables are moved by: units of the dictionary (or neurons), or contrasts.")
    ] = "units",
    prompts: Annotated[int, typer.Option(min=20, help="Test prompts of each question.")] = 100,
    graphs: Annotated[int, typer.Option(min=0, help="Test prompts that are traced.")] = 100,
    seed: Annotated[int, typer.Option(help="Which prompts.")] = 0,
    sibling: Sibling = None,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Ask studies of a model: gate, development prompts, test prompts, controls, verdict."""
    from silverstain.studies.catalogue import studies_for
    from silverstain.studies.organism_variables import subject_of
    from silverstain.studies.protocol import StudySettings, TrialSettings, run_study
    from silverstain.studies.reports import write_report

    if basis not in BASES:
        raise UsageError(f"--basis is {basis!r}; it is {' or '.join(BASES)}")
    chosen = _chosen(names or ())
    settings = StudySettings(trial=TrialSettings(n=prompts, seed=seed), basis=cast("BasisKind", basis), n_graphs=graphs)
    if manifest is not None:
        chosen, settings = _again(manifest, chosen)
    loaded = load_replacement(loading)
    folder = Path(loading.model)
    subject = subject_of(loaded, sibling=sibling, folder=folder if folder.is_dir() else None)
    if not names and manifest is None:
        chosen = studies_for(subject)
    reports = []
    for study in chosen:
        target = None if out is None else out / study.name
        with output.progress(study.name, quiet=json) as bar:
            report = run_study(
                study, subject, settings, folder=None if target is None else target / "steps",
                on_step=lambda done, n, name, bar=bar: bar(done, n),
            )  # fmt: skip
        if target is not None:
            write_report(report, target)
            output.talk(f"Wrote {target / 'report.html'}")
        reports.append(report)
        if not json:
            _tell(report)
    if json:
        output.emit(reports[0].to_json() if len(reports) == 1 else {"studies": [one.to_json() for one in reports]})


@app.command(epilog="Example: silverstain study report two-hop/two-hop/report.json")
@takes_option_values
def report(
    *,
    file: Annotated[Path, typer.Argument(callback=existing, help="A report.json of study run.")],
    out: Annotated[Path | None, typer.Option(help="Write page, Markdown and figures here.", show_default=False)] = None,
) -> None:
    """Tell a report again, and write its page, its Markdown and its figures."""
    from silverstain.studies.catalogue import studies
    from silverstain.studies.reports.writing import read_report, write_told

    found = read_report(file, studies())
    _tell(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_told(found, out)
        output.talk(f"Wrote {out / 'report.html'}")


def _chosen(names: "list[str] | tuple[()]") -> "list[Study]":
    """The studies of these names."""
    from silverstain.studies.catalogue import studies

    known = studies()
    for name in names:
        if name not in known:
            raise UsageError(f"there is no study {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _again(manifest: Path, chosen: "list[Study]") -> "tuple[list[Study], StudySettings]":
    """The study and the settings of a report."""
    from silverstain.studies.catalogue import studies
    from silverstain.studies.protocol import StudySettings
    from silverstain.studies.reports.writing import read_report

    found = read_report(manifest, studies())
    return chosen or [found.study], StudySettings.from_json(found.manifest["settings"])


def _tell(report: "StudyReport") -> None:
    from silverstain.studies.reports import verdict_line

    output.data(f"{report.study.name}: {verdict_line(report)}")
    rows = [["", "measured", "95 % interval", "n", "must be", ""]]
    rows += [_row(one) for one in report.findings.measures if one.bar is not None or one.value is not None]
    if len(rows) > 1:
        output.data(output.table(rows, right=(1, 3)))
    for note in report.findings.notes:
        output.data(f"  {note}")


def _row(one: "Measure") -> list[str]:
    value = "–" if one.value is None else f"{one.value:.2f}"
    interval = "" if one.low is None or one.high is None else f"{one.low:.2f} to {one.high:.2f}"
    must = "" if one.bar is None else f"{'at most' if one.role == 'control' else 'at least'} {one.bar:g}"
    held = {True: "yes", False: "NO", None: ""}[one.holds] if one.untested is None else "untested"
    return [one.name, value, interval, str(one.n or ""), must, held]
