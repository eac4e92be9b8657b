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
    host: Annotated[
        str, typer.Option(help="The address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SILVERSTAIN_TOKEN",
            show_envvar=True,
            show_default=False,
            help="Who opens the page must give it; at least 16 characters.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Serve nothing: write the graphs as pages into this folder, with a list of them, to be put on any web "
            "server or opened from the disk.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Look at graphs in a browser: their circuits, what drives what, groups and names that you change and keep.

    On the start page prompts are traced, and graphs can be tested on the running model. The server answers this machine
    alone, unless it is given a token, reads no graph outside the folder, and writes graphs and stories there. Ctrl-C
    ends it.
    """
    if dictionary is not None and model is None:
        raise UsageError("--dictionary is of a model; name that with --model")
    from silverstain.explorer.folder import checked_folder
    from silverstain.explorer.folder_bundle import bundle_folder
    from silverstain.explorer.serving import serve
    from silverstain.references import check_references

    if model is not None:
        check_references(model, dictionary)
    folder, graph = checked_folder(path)
    if bundle is not None:
        n = bundle_folder(folder, graph, bundle, on_page=lambda page: output.talk(f"Wrote {shown_path(bundle / page)}"))
        if json:
            output.emit({"written": str(bundle / "index.html"), "graphs": n})
        else:
            output.data(str(bundle / "index.html"))
        return

    def started(address: str) -> None:
        if json:
            output.emit({"address": address, "folder": str(folder), "graph": graph or None})
        else:
            output.data(address)
        output.talk(f"Open {shown_path(folder / graph if graph else folder)} at this address; Ctrl-C ends the server.")
        sys.stdout.flush()

    serve(
        folder, graph, port=port, browser=browser, model=model, dictionary=dictionary, host=host, token=token,
        on_start=started,
    )  # fmt: skip
    output.talk("Stopped.")
