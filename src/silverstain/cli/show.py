"""`silverstain show`: draw a graph's circuit in the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import Boxes, GraphFile, Json, Width
from silverstain.figure_files import check_figure_file
from silverstain.notation import name_of_id
from silverstain.parts import shown_path
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.graphs import Story

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    no_args_is_help=True,
    epilog="Examples: silverstain show dallas.safetensors --boxes 8; silverstain show dallas.safetensors -o dallas.svg",
)
def show(
    graph: GraphFile,
    boxes: Boxes = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write the drawing to a file instead: .svg, .png, .html or .md.", show_default=False
        ),
    ] = None,
    width: Width = None,
    json: Json = False,
) -> None:
    """Draw a graph's circuit in the terminal: words below, answer above, what lies between in boxes with names.

    Groups and names come from the story beside the graph (GRAPH.story.json), where there is one.
    """
    if out is not None:
        check_figure_file(out)
    from silverstain.graphs import counts_of, groups_of, open_with_story

    traced, story = open_with_story(graph)
    if out is not None:
        traced.figure(story, boxes=boxes).save(out)
        output.talk(f"Wrote {shown_path(out)}")
    if json:
        meta = {key: traced.meta.get(key) for key in ("prompt", "tokens", "targets")}
        meta |= {key: traced.meta[key] for key in ("contrast", "rest") if traced.meta.get(key)}
        scores = {"scores": traced.scores()._asdict(), "groups": groups_of(traced, story)}
        evidence = {"evidence": list(story.evidence)}
        output.emit({"graph": str(graph), **meta, **counts_of(traced), **scores, **evidence})
        return
    if out is not None:
        return
    from silverstain.cli.drawing import draw
    from silverstain.cli.trace import figures

    output.data(draw(traced, story, width=output.terminal_width(width), colour=output.has_colour(), max_boxes=boxes))
    output.data("")
    output.data(figures(traced))
    for line in tested(story):
        output.data(line)


def tested(story: "Story") -> "Iterator[str]":
    """What `verify` found, in a line or two."""
    for entry in story.evidence:
        if entry.get("kind") == "verification":
            verdicts = ", ".join(f"{n} {name}" for name, n in entry["verdicts"].items() if n)
            yield printable(f"tested on the model: {verdicts}")
            inhibited = entry.get("inhibited", entry.get("ghosts", ()))  # the old name, in stories from before
            released = [one for one in inhibited if one["wakes"]]
            if released:
                said = ", ".join(f"{name_of_id(one['id'])} ({one['says']})" for one in released[:3])
                yield printable(f"inhibited, and active when what inhibits them is ablated: {said}")
