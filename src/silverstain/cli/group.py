"""`silverstain group`: units of one role as groups, written to the story beside the graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.graph_model import as_graph_says
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import GraphFile, Json, LoadingOptions, load_replacement
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.graphs import Graph, Proposal, Roles, Story

app = typer.Typer(rich_markup_mode=None, add_completion=False)
MOST_SHOWN = 16


@app.command(no_args_is_help=True, epilog="Example: silverstain group dallas.safetensors --json")
@takes_option_values
def group(
    *,
    graph: GraphFile,
    read: Annotated[
        bool, typer.Option("--with-model/--no-with-model", help="Load the graph's model: units must write alike, too.")
    ] = False,
    alike: Annotated[float, typer.Option(min=0.05, max=0.99, help="How alike the units of a group are.")] = 0.75,
    replace: Annotated[
        bool, typer.Option("--replace/--no-replace", help="Take what is found in place of the story's groups.")
    ] = False,
    accept: Annotated[
        list[str] | None, typer.Option(help="Take a found group that the story has otherwise.", show_default=False)
    ] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Leave a found group out.", show_default=False)] = None,
    merge: Annotated[
        list[str] | None, typer.Option(help="Make one of found groups: LABEL;LABEL.", show_default=False)
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Take a found group apart.", show_default=False)] = None,
    undo: Annotated[
        bool, typer.Option("--undo/--no-undo", help="Put back the story as it was before the last group.")
    ] = False,
    write: Annotated[bool, typer.Option("--write/--no-write", help="Keep the groups in the story.")] = True,
    json: Json = False,
    options: LoadingOptions,
) -> None:
    """Find units of one role: fed by the same words, feeding the same, moving the answer one way; no label is needed.

    Groups that the story beside the graph has stay as they are, unless a flag says otherwise.
    """
    from silverstain.graphs import find_roles, open_with_story, propose, story_beside
    from silverstain.graphs.story_versions import put_back, save_over

    beside = story_beside(graph)
    if undo:
        put_back(beside)
        output.talk(f"Put back {shown_path(beside)}")
        return
    traced, story = open_with_story(graph)
    check_story(traced, story, beside)
    written = _written(traced, as_graph_says(options, traced)) if read or options.model != "organism" else None
    roles = find_roles(traced, written=written, labels=story.labels_in(traced.nodes), alike=alike)
    proposal = propose(traced, story, roles, replacing=replace)
    for label in split or ():
        proposal = proposal.split(traced, label)
    for labels in merge or ():
        proposal = proposal.merged([label.strip() for label in labels.split(";")])
    proposal = proposal.accepted(accept or ()).rejected(reject or ())
    after = proposal.applied()
    if write and after.groups != story.groups:
        save_over(beside, after)
    if json:
        output.emit(_report(graph, traced, roles, proposal, after))
        return
    _tell(roles)
    waiting = [change for change in proposal.changes if change.op == "change" and not change.is_accepted]
    for change in waiting:
        output.talk(
            f"the story has {printable(repr(change.before), 60)}, much like {change.group.label!r}: kept as it is"
        )
    if write and after.groups != story.groups:
        output.talk(f"Wrote {len(after.groups)} groups to {shown_path(beside)}; --undo puts back what was there")


def check_story(graph: "Graph", story: "Story", beside: Path) -> None:
    """UsageError for a story whose groups name nothing of this graph: it is another graph's."""
    if story.graph_hash in ("", graph.hash) or not story.groups:
        return
    if not any(group.members for group in story.groups_in(graph)):
        raise UsageError(
            f"{shown_path(beside)} is the story of another graph: none of its groups has a member here; move it away"
        )


def _written(graph: "Graph", options: LoadingOptions) -> dict[int, Any]:
    """What each feature writes, summed over the layers it writes to."""
    import torch

    from silverstain.graphs.kinds import FEATURE

    basis = load_replacement(options).dictionary
    named = (graph.meta.get("dictionary") or {}).get("hash")
    if named not in (None, basis.hash):
        raise UsageError(f"the graph is of the dictionary {named} and this one is {basis.hash}; give --dictionary")
    found: dict[int, Any] = {}
    for layer in range(graph.n_layers):
        here = ((graph.nodes.kind == FEATURE) & (graph.nodes.layer == layer)).nonzero().flatten()
        if len(here):
            features = graph.nodes.feature[here].long().to(basis.device)
            signs = graph.nodes.activation[here].sign()[:, None]
            rows = basis.decoder_rows(layer, features).sum(1).cpu().double() * torch.where(signs == 0, 1, signs)
            found |= dict(zip(here.tolist(), rows, strict=True))
    return found


def _report(file: Path, graph: "Graph", roles: "Roles", proposal: "Proposal", after: "Story") -> dict[str, Any]:
    from silverstain.graphs import groups_of

    ids = graph.nodes.ids()
    found = [one.to_json(ids) for one in roles.supernodes]
    return {
        "graph": str(file), "groups": groups_of(graph, after), "found": found, "units_share": roles.units_share,
        "remark": roles.remark, "changes": [change.to_json() for change in proposal.changes],
    }  # fmt: skip


def _tell(roles: "Roles") -> None:
    if roles.remark:
        output.talk(f"nothing to read: {roles.remark}")
    rows = [["group", "units", "layers", "share", "inside", "one way", "to the answer"]]
    for one in roles.supernodes[:MOST_SHOWN]:
        low, high = one.layers
        way = {1: "↑", -1: "↓"}.get(one.direction, "")
        rows.append([
            one.group.label, str(len(one.group.members)), f"L{low}" if low == high else f"L{low}–{high}",
            output.percent(one.share), output.percent(one.internal), f"{one.consistency:.2f} {way}".rstrip(),
            output.percent(one.direct),
        ])  # fmt: skip
    output.data(output.table(rows, right=(1, 3, 4, 6)))
    if len(roles.supernodes) > MOST_SHOWN:
        output.data(f"  and {len(roles.supernodes) - MOST_SHOWN} smaller ones")
    output.talk(
        "\nshare: of all influence; inside: of the members' input from other members; one way: how far all move "
        "the answer up (↑) or down (↓); to the answer: of their influence that goes right there"
    )
