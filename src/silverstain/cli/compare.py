"""`silverstain compare`: how the nodes, activations and edges of two graphs agree."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import Json, check_graph_suffix, existing
from silverstain.parts import shown_path

if TYPE_CHECKING:
    from silverstain.graphs import Comparison

app = typer.Typer(rich_markup_mode=None, add_completion=False)
READS = "Our file, a .pt of circuit-tracer, or the JSON of a graph."


@app.command(no_args_is_help=True, epilog="Example: silverstain compare ours.safetensors published.json")
def compare(
    left: Annotated[Path, typer.Argument(metavar="A", callback=existing, help=READS)],
    right: Annotated[Path, typer.Argument(metavar="B", callback=existing, help=READS)],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[C]…", help="More of them: then what the family shares.")
    ] = None,
    pruned: Annotated[bool, typer.Option(help="Compare only what pruning kept of them.")] = False,
    family: Annotated[
        bool, typer.Option("--family/--no-family", help="Graphs of prompts of one kind: what recurs, how stable it is.")
    ] = False,
    merged: Annotated[
        Path | None, typer.Option("--merged", help="Write the family's one graph to a file.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Say how the nodes, activations and edges of two graphs agree; nodes are matched by their ids.

    Of several, or with --family: units and steps that recur, groups of the first in the second, stability.
    """
    from silverstain.graphs import compare as compare_graphs
    from silverstain.graphs import open_graph

    if more or family or merged is not None:
        _family([left, right, *(more or [])], merged, json=json)
        return
    graphs = open_graph(left)[0], open_graph(right)[0]
    comparison = compare_graphs(*graphs, pruned=pruned)
    if json:
        output.emit({"left": str(left), "right": str(right), "pruned": pruned, **_plain(comparison)})
    else:
        _tell(comparison, is_rest=all(graph.meta.get("rest") for graph in graphs))


def _family(files: list[Path], merged: Path | None, *, json: bool) -> None:
    from silverstain.graphs import compare_family, merge, open_graph

    check_graph_suffix(merged)
    graphs = [open_graph(existing(file) or file)[0] for file in files]
    found = compare_family(graphs)
    if merged is not None:
        merge(graphs).graph.save(merged)
        output.talk(f"Wrote {shown_path(merged)}")
    if json:
        output.emit({"files": [str(file) for file in files], **found.to_json()})
        return
    rows = [["", "in", "share"]]
    for what, some in (("always", found.always), ("sometimes", found.sometimes), ("step", found.steps)):
        rows += [[f"{what}: {one.name}", output.percent(one.frequency), output.percent(one.share)] for one in some]
    output.data(output.table(rows, right=(1, 2)))
    rows = [["group of A", "units", "in B", "same", "share", "in B"]]
    for one in found.by_group[:12]:
        shares = [output.percent(share) for share in one.shares]
        rows.append([one.label, *map(str, one.units), str(one.shared), *shares])
    output.data("\n" + output.table(rows, right=(1, 2, 3, 4, 5)))
    card = found.stability
    verdict = "stable" if card.is_stable else "not stable"
    output.data(
        f"\n  {verdict}: of {card.units} units that carry most, prompts drawn again share {card.jaccard:.2f} (Jaccard; "
        f"random sets {card.random:.2f}), of one sign {output.percent(card.sign)}"
    )


def _plain(comparison: "Comparison") -> dict[str, Any]:
    report = asdict(comparison)
    report["nodes"] = {kind: overlap._asdict() for kind, overlap in comparison.nodes.items()}
    for kind, agreement in comparison.edges.items():
        report["edges"][kind]["count"] = agreement.count._asdict()
    return report


def _tell(comparison: "Comparison", *, is_rest: bool) -> None:
    """For a person; `is_rest` where nodes of kind error are no errors of a dictionary."""
    called = {"error": "rest"} if is_rest else {}
    rows = [["nodes", "in both", "only A", "only B"]]
    rows += [[called.get(kind, kind), *map(str, overlap)] for kind, overlap in comparison.nodes.items() if any(overlap)]
    output.data(output.table(rows, right=(1, 2, 3)))
    found = comparison.activations
    output.data(
        f"\n  activations of {found.n} {'units' if is_rest else 'features'}: correlation {_figure(found.correlation)}, "
        f"largest relative difference {_figure(found.max_relative_difference)}\n"
    )
    rows = [["edges from", "in both", "only A", "only B", "difference", "cosine", "of A alone", "of B alone"]]
    rows += [
        [
            called.get(kind, kind),
            *map(str, edges.count),
            _figure(edges.relative_difference),
            _figure(edges.cosine),
            output.percent(edges.left_share),
            output.percent(edges.right_share),
        ]
        for kind, edges in comparison.edges.items()
    ]
    output.data(output.table(rows, right=tuple(range(1, 8))))
    output.data("")
    rows = [["target", "A", "B"]]
    for target in comparison.targets:  # the id of a target that is no token has its name and its position
        name = target.id if target.id.startswith(f"{target.name}@") else target.name
        rows.append([name, _figure(target.left), _figure(target.right)])
    output.data(output.table(rows, right=(1, 2)))
    output.talk("\ndifference: ‖A − B‖ / ‖B‖ over the edges in both; alone: share of Σ |edge| on edges the other lacks")


def _figure(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:.4f}" if number == 0 or abs(number) >= 1e-3 else f"{number:.1e}"
