"""`silverstain show`: draw a graph's circuit in the terminal."""

from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.graph_files import counts, groups_of, open_with_story, scores_of
from silverstain.cli.options import GraphFile, Json, Width

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True, epilog="Example: silverstain show dallas.safetensors --boxes 8")
def show(
    graph: GraphFile,
    boxes: Annotated[int, typer.Option(min=1, help="Draw at most this many boxes between words and answer.")] = 10,
    width: Width = None,
    json: Json = False,
) -> None:
    """Draw a graph's circuit in the terminal: words below, answer above, what lies between in boxes with names.

    Groups and names come from the story beside the graph (GRAPH.story.json), where there is one.
    """
    traced, story = open_with_story(graph)
    if json:
        meta = {key: traced.meta.get(key) for key in ("prompt", "tokens", "targets")}
        scores = {"scores": scores_of(traced), "groups": groups_of(traced, story)}
        output.emit({"graph": str(graph), **meta, **counts(traced), **scores})
        return
    from silverstain.cli.drawing import draw
    from silverstain.cli.trace import figures

    output.data(draw(traced, story, width=output.terminal_width(width), colour=output.has_colour(), max_boxes=boxes))
    output.data("")
    output.data(figures(traced))
