"""`silverstain circuit`: the smallest set of groups that makes the answer, found by measuring on the model."""

from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.graph_model import as_graph_says
from silverstain.cli.group import check_story
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import GraphFile, Json, LoadingOptions, load_replacement
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.verification.contrast import Effect, FoundCircuit

app = typer.Typer(rich_markup_mode=None, add_completion=False)
ROWS = {"effect": "the circuit", "random": "as many at random", "direct": "the most direct", "writers_alone": "nothing"}


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain circuit dallas.safetensors --against "the capital of the state containing oakland is"',
)
@takes_option_values
def circuit(
    *,
    graph: GraphFile,
    against: Annotated[
        str | None,
        typer.Option(
            help="A prompt of as many tokens with another answer; a contrast has its own.", show_default=False
        ),
    ] = None,
    groups: Annotated[int, typer.Option("--max-groups", min=1, max=12, help="Groups of the circuit at most.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the units drawn at random.")] = 0,
    options: LoadingOptions,
    json: Json = False,
) -> None:
    """Find the fewest groups without which the answer is lost and with which alone it is kept, both measured.

    Groups are found by their roles (`silverstain group`). Units, and in a contrast heads, are given what they are in
    another run.
    """
    from silverstain.attribution.secant import find_contrast
    from silverstain.graphs import GroupRoles, find_roles, open_with_story, story_beside
    from silverstain.verification.contrast import Patching, find_circuit, pair_of_groups, places_of
    from silverstain.verification.contrast.proof import contrast_of

    traced, story = open_with_story(graph)
    check_story(traced, story, story_beside(graph))
    is_contrast = bool(traced.meta.get("contrast"))
    if is_contrast == (against is not None):
        raise UsageError(
            "the graph is of a contrast, whose other prompt is known; leave --against out"
            if is_contrast
            else "a circuit is measured against another run; give --against a prompt of as many tokens"
        )
    roles = find_roles(traced, labels=story.labels_in(traced.nodes))
    loaded = load_replacement(as_graph_says(options, traced))
    if is_contrast:
        contrast = contrast_of(loaded.model, loaded.dictionary, traced)
    else:
        own = traced.meta.get("token_ids") or traced.meta["prompt"]
        contrast = find_contrast(loaded.model, loaded.dictionary, own, against or "")
    start = perf_counter()
    places = places_of(traced, roles.groups)
    if against is not None and places:  # what the other run has in the same roles belongs to it, too
        other = loaded.trace(contrast.pair.token_ids[1].tolist())
        theirs = places_of(other, GroupRoles.of(traced, roles.groups).found_in(other))
        places = [[*ours, *more] for ours, more in zip(places, theirs, strict=True)]
    only_write = [one.only_writes for one in roles.supernodes]
    pair = pair_of_groups(Patching(contrast), places, only_write=only_write)
    labels = [one.group.label for one in roles.supernodes]
    allowed = [not only for only in only_write]
    found = find_circuit([pair], labels, allowed=allowed, most=groups, seed=seed)
    seconds = perf_counter() - start
    remark = found.remark or roles.remark
    if json:
        report = {**found.to_json(), "remark": remark, "seconds": seconds}
        output.emit({"graph": str(graph), "of_groups": len(labels), "only_write": sum(only_write), **report})
        return
    _tell(found, seconds)
    if remark:
        output.talk(f"nothing to read: {remark}")


def _tell(found: "FoundCircuit", seconds: float) -> None:
    output.data("circuit: " + "; ".join(found.labels))
    rows = [["", "members", "necessity", "sufficiency"]]
    for name, said in ROWS.items():
        effect: Effect | None = getattr(found, name)
        if effect is not None:
            points = f"{100 * effect.necessity:.0f} points"
            rows.append([said, f"{effect.units:.0f}", points, output.percent(effect.sufficiency)])
    output.data(output.table(rows, right=(1, 2, 3)))
    output.talk(
        "\nnecessity: points of the answer's probability lost when these members are as in the other run; sufficiency: "
        f"share of it left when all else is ({seconds:.1f} s)"
    )
