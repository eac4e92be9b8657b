"""`silverstain import`: graphs that other tools made, as files of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import Json, existing
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.graphs import Graph, Story

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
    from silverstain.graphs import counts_of, open_graph

    graph, story = open_graph(file)
    destination = out or file.with_suffix(".safetensors")
    is_there = destination.resolve() != file.resolve() and holds(destination, graph)
    if destination.resolve() == file.resolve() or (out is None and destination.exists() and not is_there):
        raise UsageError(f"{shown_path(destination)} would be written over; name another file with --out")
    check_writable(destination)
    story_is_new = keep_story(destination, graph, story)
    if not is_there:
        graph.save(destination)
    unsure, scores = graph.meta.get("imported", {}).get("ambiguous_links", 0), graph.scores()
    if json:
        extra = {"prompt": graph.meta.get("prompt"), "targets": graph.meta.get("targets"), "ambiguous_links": unsure}
        output.emit({"graph": str(destination), **counts_of(graph), "scores": scores._asdict(), **extra})
        return
    output.data(f"{printable(repr(graph.meta.get('prompt', '')), 200)}: {size_in_words(graph)}")
    output.data(scores_in_words(graph))
    if unsure:
        output.talk(f"{unsure} links may begin at an error where a feature is taken: the file names both alike.")
    if not story_is_new:
        output.talk("The story beside it was there already, and stays as it is.")
    wrote = f"{shown_path(destination)} holds this graph already" if is_there else f"Wrote {shown_path(destination)}"
    output.talk(f"{wrote}. Next: silverstain show {shown_path(destination)}")


def holds(path: Path, graph: "Graph") -> bool:
    """Whether a file holds exactly this graph, unpruned or not: a run that was stopped after writing it is done."""
    from silverstain.graphs import Graph

    try:
        there = Graph.load(path)
    except UsageError:
        return False
    return there.hash == graph.hash and dict(there.meta) == dict(graph.meta) and there.node_mask is None


def keep_story(graph_file: Path, graph: "Graph", story: "Story") -> bool:
    """Write what a graph's file tells into the story beside it; False where one is there of the same graph, which may
    hold a person's work and stays. UsageError where the story there is of another graph."""
    from silverstain.graphs import Story, story_beside

    if story == Story(graph_hash=graph.hash):
        return True
    beside = story_beside(graph_file)
    if not beside.exists():
        story.save(beside)
        return True
    there = Story.load(beside)
    if there.graph_hash != graph.hash:
        raise UsageError(
            f"{shown_path(beside)} is the story of another graph; name another file with --out, or delete it"
        )
    return there == story


def scores_in_words(graph: "Graph") -> str:
    """Scores on a line, with what they are of."""
    from silverstain.graphs.scores import WHOLE

    found = graph.scores()
    shown = "shown" if graph.meta.get("rest") else "replacement"
    figures = {shown: found.replacement, "completeness over all rows": found.completeness_all_rows}
    known = ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items() if figure == figure)
    if found.of == WHOLE:
        return f"scores of the whole graph: {known}"
    return f"scores of what the file kept, which say nothing of the whole graph: {known}"
