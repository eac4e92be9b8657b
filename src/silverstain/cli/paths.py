"""`silverstain paths`: the strongest paths from one node of a graph to another."""

from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.options import GraphFile, Json
from silverstain.notation import name_of_id

app = typer.Typer(rich_markup_mode=None, add_completion=False)
NODE = "An id, L3.F1501@9, a word of the prompt (is@9 where it is there twice) or an answer."


@app.command(no_args_is_help=True, epilog="Example: silverstain paths dallas.safetensors dal austin")
def paths(
    graph: GraphFile,
    start: Annotated[str, typer.Argument(metavar="FROM", help=NODE)],
    end: Annotated[str, typer.Argument(metavar="TO", help=NODE)],
    most: Annotated[int, typer.Option(min=1, max=1000, help="Paths at most.")] = 5,
    json: Json = False,
) -> None:
    """Say by which paths one node reaches another, strongest first, each with the product of its edges' shares."""
    from silverstain.graphs import node_named, open_with_story, strongest_paths

    traced, story = open_with_story(graph)
    first, last = node_named(traced, start), node_named(traced, end)
    found = strongest_paths(traced, first, last, most=most)
    ids, labels = traced.nodes.ids(), story.labels_in(traced.nodes)
    if json:
        listed = [
            {"product": one.product, "nodes": [ids[node] for node in one.nodes], "shares": list(one.shares)}
            for one in found.paths
        ]
        output.emit({
            "graph": str(graph), "from": ids[first], "to": ids[last], "paths": listed, "total": found.total,
            "is_whole": found.is_whole,
        })  # fmt: skip
        return
    tokens, answers = traced.meta.get("tokens") or [], traced.nodes.span("logit")

    def called(node: int) -> str:
        if node >= answers.start:
            return traced.target_names[node - answers.start]
        at = int(traced.nodes.position[node])
        if ids[node].startswith("E_"):
            return f"{tokens[at] if at < len(tokens) else 'token'}@{at}"
        name = name_of_id(ids[node])
        return f"{name} ({labels[node]})" if labels[node] else name

    rows = [["product", "path"]]
    rows += [[f"{one.product:+.4f}", " → ".join(map(called, one.nodes))] for one in found.paths]
    output.data(output.table(rows, right=(0,)))
    shown = sum(abs(one.product) for one in found.paths)
    output.talk(
        f"these carry {shown:.4f} of the {found.total:.4f} of the end's input that come from there by all paths"
    )
