"""`silverstain import`: graphs that other tools made, as files of ours."""

from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import Json, existing
from silverstain.errors import UsageError
from silverstain.storage import check_writable

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(name="import", no_args_is_help=True, epilog="Example: silverstain import graph.pt --out graph.safetensors")
def import_graph(
    file: Annotated[Path, typer.Argument(callback=existing, help="A .pt of circuit-tracer, or the JSON of a graph.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the graph.", show_default="FILE.safetensors")] = None,
    json: Json = False,
) -> None:
    """Read a graph of circuit-tracer or Neuronpedia, as far as its file says, and write it as ours.

    Nothing that is in the file is ever run. Labels, pins and groups go into the story beside the graph.
    """
    from silverstain.cli.trace import size_in_words
    from silverstain.graphs import Story, counts_of, open_graph, story_beside

    graph, story = open_graph(file)
    destination = out or file.with_suffix(".safetensors")
    if destination.resolve() == file.resolve() or (out is None and destination.exists()):
        raise UsageError(f"{destination} would be written over; name another file with --out")
    check_writable(destination)
    graph.save(destination)
    if story != Story(graph_hash=graph.hash):
        story.save(story_beside(destination))
    unsure = graph.meta.get("imported", {}).get("ambiguous_links", 0)
    if json:
        extra = {"prompt": graph.meta.get("prompt"), "targets": graph.meta.get("targets"), "ambiguous_links": unsure}
        output.emit({"graph": str(destination), **counts_of(graph), "scores": graph.scores()._asdict(), **extra})
        return
    output.data(f"{graph.meta.get('prompt', '')!r}: {size_in_words(graph)}")
    if unsure:
        output.talk(f"{unsure} links may begin at an error where a feature is taken: the file names both alike.")
    output.talk(f"Wrote {destination}. Next: silverstain show {destination}")
