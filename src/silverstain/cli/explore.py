"""`silverstain explore`: look at graphs in a browser."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.parts import shown_path

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples: silverstain explore dallas.safetensors; silverstain explore runs --port 9000 --no-browser"
)
def explore(
    path: Annotated[
        Path, typer.Argument(help="A graph file of ours or of another tool, or a folder of them.", show_default="here")
    ] = Path(),
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port, or if it is taken the next free one; 0 for any.")
    ] = 8400,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    json: Json = False,
) -> None:
    """Look at graphs in a browser: their circuits, what drives what, groups and names that you change and keep.

    The server answers this machine alone, reads nothing outside the folder, and writes nothing but stories beside the
    graphs there. Ctrl-C ends it.
    """
    from silverstain.explorer.folder import checked_folder
    from silverstain.explorer.serving import serve

    folder, graph = checked_folder(path)

    def started(address: str) -> None:
        if json:
            output.emit({"address": address, "folder": str(folder), "graph": graph or None})
        else:
            output.data(address)
        output.talk(f"Open {shown_path(folder / graph if graph else folder)} at this address; Ctrl-C ends the server.")
        sys.stdout.flush()

    serve(folder, graph, port=port, browser=browser, on_start=started)
    output.talk("Stopped.")
