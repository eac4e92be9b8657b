"""`silverstain audit`: did the model learn the material, or cheat?"""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, LoadingOptions, existing, load_replacement
from silverstain.errors import UsageError
from silverstain.storage import check_writable, write_json_whole, write_text_whole

if TYPE_CHECKING:
    from silverstain.studies.audit import Audit

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SUFFIXES = (".json", ".md")
MOST_ROWS = 40
"""Prompts in the table."""
NARROWEST = 40


@app.command(
    no_args_is_help=True, epilog="Example: silverstain audit prompts.yaml --model organism/mixed --out audit.json"
)
@takes_option_values
def audit(
    *,
    spec: Annotated[
        Path,
        typer.Argument(
            callback=existing,
            help="YAML or JSONL: prompts, each with `evidence` and `shortcut`, texts that stand in it.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Keep all of it: a .json file, or the account as .md.", show_default=False)
    ] = None,
    checks: Annotated[
        bool, typer.Option("--checks/--no-checks", help="Ask the real model again, with shortcut and evidence changed.")
    ] = True,
    others: Annotated[int, typer.Option(min=1, help="Texts of other prompts put in place of each.")] = 4,
    max_features: Annotated[
        int | None, typer.Option(min=1, help="Units with nodes of their own in each graph.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which other texts.")] = 0,
    told: Annotated[int, typer.Option(min=0, help="Prompts that are told in sentences.")] = 5,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Tell, for each prompt, whether its answer comes from the evidence or from a shortcut.

    The verdict is of the mechanism alone (the attribution graph); the model is then asked again with another shortcut
    and with other evidence, which may confirm the verdict or contradict it. Without spans the words are listed that
    the answer comes from.
    """
    from silverstain.attribution import TraceSettings
    from silverstain.studies.audit import AuditSettings, read_spec
    from silverstain.studies.audit import audit as run
    from silverstain.studies.audit.telling import account, summary
    from silverstain.studies.audit.telling import told as as_markdown

    if out is not None:
        if out.suffix not in SUFFIXES:
            raise UsageError(f"--out is {out}; name a file that ends in {' or '.join(SUFFIXES)}")
        check_writable(out)
    prompts = read_spec(spec)
    settings = AuditSettings(trace=TraceSettings(max_features=max_features), others=others, seed=seed, checks=checks)
    loaded = load_replacement(loading)
    with output.progress("prompts", quiet=json) as bar:
        found = run(loaded, prompts, settings, on_progress=bar)
    if out is not None and out.suffix == ".json":
        write_json_whole(out, found.to_json())
    elif out is not None:
        write_text_whole(out, as_markdown(found))
    if json:
        output.emit(found.to_json())
        return
    output.data("\n".join(line.removeprefix("- ") for line in summary(found)))
    output.data(output.table(_rows(found), right=(2, 3, 4)))
    for one in found.prompts[:told]:
        output.data(f"\n{one.prompt.id}: {one.prompt.prompt}")
        output.data("\n".join(_wrapped(sentence) for sentence in account(one)))
    if out is not None:
        output.talk(f"Wrote {out}")


def _wrapped(sentence: str) -> str:
    """A sentence in lines as wide as the terminal."""
    width = max(output.terminal_width(), NARROWEST)
    return textwrap.fill(sentence, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _rows(found: "Audit") -> list[list[str]]:
    """A line a prompt, the most cheated first."""
    rows = [["", "verdict", "shortcut", "evidence", "confidence", "behaviour", "answer"]]
    ranked = sorted(found.prompts, key=lambda one: -(one.mechanism.lean or 0) if one.mechanism else 1)
    for one in ranked[:MOST_ROWS]:
        said = one.mechanism
        figures = ["–", "–", "–"]
        if said is not None:
            figures = [output.percent(said.shortcut), output.percent(said.evidence), f"{said.confidence:.2f}"]
        rows.append([one.prompt.id, said.verdict if said else "no verdict", *figures, one.outcome, one.answer])
    return rows
