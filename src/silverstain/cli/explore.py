"""`silverstain explore`: look at graphs in a browser."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import DictionaryName, Json
from silverstain.errors import UsageError
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
    model: Annotated[
        str | None,
        typer.Option(
            help="A model that the page may run, beside the organism and those that are here by name: a folder, a GGUF "
            "file or a hub id.",
            show_default=False,
        ),
    ] = None,
    dictionary: DictionaryName = None,
    json: Json = False,
) -> None:
    """Look at graphs in a browser: their circuits, what drives what, groups and names that you change and keep.

    On the start page prompts are traced, and graphs can be tested on the running model. The server answers this machine
    alone, reads no graph outside the folder, and writes graphs and stories there. Ctrl-C ends it.
    """
    if dictionary is not None and model is None:
        raise UsageError("--dictionary is of a model; name that with --model")
    from silverstain.explorer.folder import checked_folder
    from silverstain.explorer.serving import serve
    from silverstain.references import check_references

    if model is not None:
        check_references(model, dictionary)
    folder, graph = checked_folder(path)

    def started(address: str) -> None:
        if json:
            output.emit({"address": address, "folder": str(folder), "graph": graph or None})
        else:
            output.data(address)
        output.talk(f"Open {shown_path(folder / graph if graph else folder)} at this address; Ctrl-C ends the server.")
        sys.stdout.flush()

    serve(folder, graph, port=port, browser=browser, model=model, dictionary=dictionary, on_start=started)
    output.talk("Stopped.")
