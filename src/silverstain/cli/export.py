"""`silverstain export`: a graph as a file that others can open."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from silverstain.cli import output
from silverstain.cli.options import Boxes, GraphFile, Json
from silverstain.errors import UsageError
from silverstain.figure_files import check_can_draw_png
from silverstain.parts import shown_path
from silverstain.storage import check_writable

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Form = Literal["html", "svg", "png", "json", "csv", "md"]


@app.command(
    no_args_is_help=True,
    epilog="Examples: silverstain export dallas.safetensors --to html; silverstain export dallas.safetensors --to svg "
    "--out figure.svg --boxes 8",
)
def export(
    graph: GraphFile,
    to: Annotated[
        Form,
        typer.Option(
            help="html: the explorer as one page; svg, png, md: the circuit; json: what circuit-tracer and Neuronpedia "
            "read; csv: the nodes."
        ),
    ] = "html",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write it.", show_default="GRAPH.TO")] = None,
    boxes: Boxes = 10,
    json: Json = False,
) -> None:
    """Write a graph as a file that others can open: a page that needs no server, a picture, a table.

    Groups and names come from the story beside the graph (GRAPH.story.json), where there is one.
    """
    destination = out or graph.with_suffix(f".{to}")
    if destination.resolve() == graph.resolve():
        raise UsageError(f"{shown_path(destination)} is the graph itself; name another file with --out")
    check_writable(destination)
    if to == "png":
        check_can_draw_png()
    from silverstain.explorer.exporting import export_graph

    export_graph(graph, destination, to, boxes=boxes)
    size = destination.stat().st_size
    if json:
        output.emit({"graph": str(graph), "written": str(destination), "format": to, "bytes": size})
        return
    output.talk(f"Wrote {shown_path(destination)} ({output.size(size)})")
