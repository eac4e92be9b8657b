"""A study's report as Markdown, and as a page that loads and runs nothing."""

from collections.abc import Sequence
from typing import Any

from silverstain.graphs.pages import POLICY, STYLE
from silverstain.graphs.pen import in_xml
from silverstain.studies.protocol import Figure, Measure, StudyReport

from .drawing import svg_of

SECTIONS = (
    ("gate", "Gate"),
    ("target", "What must be shown"),
    ("specificity", "What must be left alone"),
    ("control", "What must not happen"),
    ("truth", "Against what is known of the model"),
    ("reported", "Also measured"),
)
COLUMNS = ("", "measured", "95 % interval", "n", "must be", "")
MOST_PROMPTS = 200
"""Test prompts in a page; the JSON has all of them."""


def figures_of(report: StudyReport) -> list[Figure]:
    """The targets, what must be left alone and the controls beside each other, then the study's own."""
    shown = [one for role in ("target", "specificity", "control") for one in report.of(role)]
    if not shown:
        return list(report.findings.figures)
    bars = Figure(
        name="measures", kind="bars", title=f"{report.study.title}: what must be shown, and what must not",
        data={
            "labels": [one.name for one in shown], "values": [one.value for one in shown],
            "lows": [one.low for one in shown], "highs": [one.high for one in shown],
            "bars": [one.bar for one in shown], "holds": [one.holds for one in shown],
        },
        note="Dashes: the bar. Green: as it must be; orange: not; blue: has no bar or does not count.",
    )  # fmt: skip
    return [bars, *report.findings.figures]


def verdict_line(report: StudyReport) -> str:
    """PASS on 120 test prompts; FAIL: why."""
    reasons = "; ".join(report.reasons)
    on = f" on {report.n} test prompts" if report.n else ""
    return f"{report.verdict.upper()}{on}" + (f": {reasons}" if reasons else "")


def markdown(report: StudyReport, *, picture: str = "{name}.svg", most_prompts: int = 12) -> str:
    """The report; `picture` says where the figure of a name lies."""
    study, manifest = report.study, report.manifest
    parts = [
        f"# {study.title}",
        f"**Claim.** {study.claim} ({study.source})",
        f"**Model.** {manifest['model']}, moved by {manifest['settings']['basis']}{_read_in(report)}.",
        f"**Verdict.** {verdict_line(report)}.",
        "Expected path: " + " → ".join(study.motif) + ".",
        "The rule:\n\n" + "\n".join(f"- {line}" for line in study.rule),
    ]
    for role, title in SECTIONS:
        chosen = report.of(role)
        if chosen:
            parts.append(f"## {title}\n\n{_markdown_table(COLUMNS, [_row(one) for one in chosen])}")
    if report.findings.notes:
        parts.append("## Notes\n\n" + "\n".join(f"- {_in_markdown(note)}" for note in report.findings.notes))
    figures = figures_of(report)
    if figures:
        drawn = [f"![{_in_markdown(one.title)}]({picture.format(name=one.name)})" for one in figures]
        parts.append("## Figures\n\n" + "\n\n".join(drawn))
    rows = report.findings.prompts[:most_prompts]
    if rows:
        head = f"## Prompts\n\nThe first {len(rows)} of {len(report.findings.prompts)}; all are in the JSON."
        parts.append(head + "\n\n" + _markdown_table(*_prompt_table(rows)))
    return "\n\n".join(parts) + "\n"


def page(report: StudyReport) -> str:
    """The report as one HTML file."""
    study = report.study
    level = {"pass": "good", "fail": "poor"}.get(report.verdict, "unknown")
    body = [
        f"<h1>{in_xml(study.title)}</h1>",
        f"<p>{in_xml(study.claim)} <em>{in_xml(study.source)}</em></p>",
        f"<p>{in_xml(str(report.manifest['model']))}, moved by {in_xml(str(report.manifest['settings']['basis']))}"
        f"{in_xml(_read_in(report))}</p>",
        f'<p class="trust {level}">{in_xml(verdict_line(report))}</p>',
        f"<p>Expected path: {in_xml(' → '.join(study.motif))}</p>",
        "<ul>" + "".join(f"<li>{in_xml(line)}</li>" for line in study.rule) + "</ul>",
    ]
    body += [f"<figure>{svg_of(figure)}</figure>" for figure in figures_of(report)]
    for role, title in SECTIONS:
        if chosen := report.of(role):
            body.append(f"<h2>{title}</h2>{_html_table(COLUMNS, [_row(one) for one in chosen])}")
    if report.findings.notes:
        body.append("<h2>Notes</h2><ul>" + "".join(f"<li>{in_xml(x)}</li>" for x in report.findings.notes) + "</ul>")
    rows = report.findings.prompts[:MOST_PROMPTS]
    if rows:
        body.append(f"<h2>Prompts</h2>{_html_table(*_prompt_table(rows))}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{in_xml(study.title)}</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{in_xml(POLICY)}; img-src data:">\n'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _read_in(report: StudyReport) -> str:
    is_units = report.manifest["settings"]["basis"] == "units"
    return f" of the {report.manifest['dictionary']} basis" if is_units else " of the stream"


def _row(one: Measure) -> tuple[str, ...]:
    value = "–" if one.value is None else f"{one.value:.2f}"
    interval = "" if one.low is None or one.high is None else f"{one.low:.2f} to {one.high:.2f}"
    must = ""
    if one.bar is not None:
        must = f"{'≤' if one.role == 'control' else '≥'} {one.bar:g}"
        must += "" if one.low_bar is None else f", low end ≥ {one.low_bar:g}"
    held = {True: "yes", False: "no", None: ""}[one.holds]
    if one.untested is not None:
        held = f"untested: {one.untested}"
    return (f"{one.name}: {one.about}", value, interval, str(one.n or ""), must, held)


def _prompt_table(rows: Sequence[Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return columns, [tuple(_cell(row.get(name)) for name in columns) for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _in_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(_in_markdown(cell) for cell in row)} |" for row in rows)])


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{in_xml(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{in_xml(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
