"""`silverstain prune`: keep the few nodes and edges that carry most of the influence."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import GraphFile, Json
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.graphs import Graph

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True, epilog="Example: silverstain prune dallas.safetensors --node-share 0.7")
def prune(
    graph: GraphFile,
    node_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the influence that kept nodes carry.")
    ] = 0.8,
    edge_share: Annotated[float, typer.Option(min=0, max=1, help="The same for edges between them.")] = 0.98,
    keep_errors: Annotated[bool, typer.Option(help="Error nodes always stay, as in the paper.")] = True,
    undo: Annotated[bool, typer.Option("--undo/--no-undo", help="Keep everything again.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; by default the same file, as nothing is lost.")
    ] = None,
    json: Json = False,
) -> None:
    """Keep the few nodes and edges that carry most of the influence. The others are hidden, not lost."""
    from silverstain.cli.import_graph import keep_story
    from silverstain.cli.trace import size_in_words
    from silverstain.graphs import counts_of, is_own_file, open_with_story
    from silverstain.graphs.scores import KEPT

    is_own = is_own_file(graph)
    if out is None and not is_own:
        raise UsageError(
            f"{shown_path(graph)} is a file of another tool, which is not written over; say where with --out"
        )
    destination = out or graph
    check_writable(destination)
    before, story = open_with_story(graph)
    after = _unpruned(before) if undo else before.prune(node_share, edge_share, keep_errors)
    scores = {"before": before.scores(pruned=True), "after": after.scores(pruned=True)}
    if not is_own:
        keep_story(destination, before, story)
    after.save(destination)
    if json:
        counts = {"before": counts_of(before), "after": counts_of(after)}
        sides = {when: {**counts[when], "scores": scores[when]._asdict()} for when in counts}
        output.emit({"graph": str(destination), **sides})
        return
    shown = "shown" if before.meta.get("rest") else "replacement"
    rows = [["", "nodes and edges", shown, "completeness"]]
    for when, value in (("before", before), ("after", after)):
        figures = scores[when]
        rows.append([when, size_in_words(value), f"{figures.replacement:.3f}", f"{figures.completeness:.3f}"])
    output.data(output.table(rows, right=(2, 3)))
    if scores["before"].of == KEPT:
        output.talk("The scores are of what the imported file kept, and say nothing of the whole graph.")
    output.talk(f"Wrote {shown_path(destination)}. Next: silverstain show {shown_path(destination)}")


def _unpruned(graph: "Graph") -> "Graph":
    """The graph without masks, and without the settings that made them."""
    return graph.unpruned().with_meta({key: value for key, value in graph.meta.items() if key != "pruning"})
