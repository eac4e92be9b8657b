"""`silverstain query`: a folder of graphs, asked in SQL."""

from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.printable import printable

app = typer.Typer(rich_markup_mode=None, add_completion=False)
EXAMPLES = """\
  what carries much of the answer, in how many prompts:
    SELECT unit, count(*) AS prompts, avg(share) AS share FROM
      (SELECT graph, unit, sum(share) AS share FROM nodes WHERE unit <> '' GROUP BY ALL)
    WHERE share >= 0.05 GROUP BY unit ORDER BY prompts DESC
  steps that recur:
    SELECT source_unit, target_unit, count(DISTINCT graph) AS prompts FROM edges
    WHERE source_unit <> '' AND target_unit <> '' GROUP BY ALL ORDER BY prompts DESC"""


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain query graphs "SELECT unit, count(*) FROM nodes WHERE share > 0.05 GROUP BY unit"',
)
def query(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of graph files.")],
    sql: Annotated[str | None, typer.Argument(metavar="SQL", help="One SELECT; without it, what there is.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows at most.")] = 100,
    update: Annotated[bool, typer.Option("--update/--no-update", help="Read new and changed graphs first.")] = True,
    json: Json = False,
) -> None:
    """Ask a folder of graphs in SQL: tables graphs, nodes and edges. Nothing else can be read, and nothing written."""
    from silverstain.graphs import collect
    from silverstain.graphs import query as ask

    left: list[dict[str, str]] = []
    if update:
        with output.progress("reading graphs", quiet=json) as progress:
            found = collect(folder, on_progress=progress)
        left = [{"file": one.file, "reason": one.reason} for one in found.left_out]
        for one in found.left_out[:10]:
            output.talk(f"left out {one.file}: {one.reason}")
        if found.added or found.removed:
            output.talk(f"{found.graphs} graphs: {found.added} read, {found.removed} gone or changed")
    if sql is None:
        sql = "SELECT answer, count(*) AS graphs, avg(replacement) AS replacement FROM graphs GROUP BY 1 ORDER BY 2"
        output.talk(f"tables: graphs, nodes, edges. Questions, for example:\n{EXAMPLES}\n")
    answer = ask(folder, sql, most=rows)
    if json:
        listed = [dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows]
        output.emit({"folder": str(folder), "rows": listed, "is_whole": answer.is_whole, "left_out": left})
        return
    cells = [[printable(column, 60) for column in answer.columns]]
    cells += [[printable(_told(value), 120) for value in row] for row in answer.rows]
    output.data(output.table(cells))
    if not answer.is_whole:
        output.talk(f"there are more rows; --rows gives more than {rows}")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
