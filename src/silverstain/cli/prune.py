"""`silverstain prune`: keep the few nodes and edges that carry most of the influence."""

from pathlib import Path
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import GraphFile, Json
from silverstain.storage import check_writable

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
    from dataclasses import replace

    from silverstain.cli.trace import size_in_words
    from silverstain.graphs import Graph, counts_of

    if out is not None:
        check_writable(out)
    before = Graph.load(graph)
    if undo:
        meta = {key: value for key, value in before.meta.items() if key != "pruning"}
        after = replace(before, node_mask=None, edge_mask=None, meta=meta)
    else:
        after = before.prune(node_share=node_share, edge_share=edge_share, keep_errors=keep_errors)
    destination = out or graph
    after.save(destination)
    report = {
        "graph": str(destination),
        "before": {**counts_of(before), "scores": before.scores(pruned=True)._asdict()},
        "after": {**counts_of(after), "scores": after.scores(pruned=True)._asdict()},
    }
    if json:
        output.emit(report)
        return
    rows = [["", "nodes and edges", "replacement", "completeness"]]
    for when, value in (("before", before), ("after", after)):
        scores = report[when]["scores"]
        rows.append([when, size_in_words(value), f"{scores['replacement']:.3f}", f"{scores['completeness']:.3f}"])
    output.data(output.table(rows, right=(2, 3)))
    output.talk(f"Wrote {destination}. Next: silverstain show {destination}")
