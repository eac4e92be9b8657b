"""`silverstain verify`: test a graph's claims on the real model."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.contrasts import tell_proof
from silverstain.cli.graph_model import as_graph_says
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import GraphFile, Json, LoadingOptions, load_replacement
from silverstain.errors import UsageError
from silverstain.notation import name_of_id

if TYPE_CHECKING:
    from silverstain.verification import Agreement, Claim, InhibitedFeature, Verification

app = typer.Typer(rich_markup_mode=None, add_completion=False)

LEGEND = """\
  effects of taking the source away, in logits; with ×, in shares of the target's activation
  untested: neither predicted nor measured stands out from what random moves of the same size do"""


@app.command(no_args_is_help=True, epilog="Example: silverstain verify dallas.safetensors")
@takes_option_values
def verify(
    *,
    graph: GraphFile,
    sources: Annotated[int, typer.Option(min=1, help="Kept nodes that are ablated and scaled, by influence.")] = 64,
    claims: Annotated[int, typer.Option(min=0, help="At most this many claims of nodes on nodes.")] = 400,
    controls: Annotated[int, typer.Option(min=2, help="Random changes of the same size for each source.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the random changes, and of which claims are drawn.")] = 0,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Keep the result in the story beside the graph.")
    ] = True,
    inhibited: Annotated[
        int, typer.Option(min=0, help="Inhibited features to find: held below their threshold by nodes.")
    ] = 10,
    ghosts: Annotated[int | None, typer.Option(hidden=True, min=0, help="The old name of --inhibited.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="Claims in the table.")] = 12,
    from_layer: Annotated[int, typer.Option(min=0, help="Of a contrast: patch units from this layer on alone.")] = 0,
    after_change: Annotated[
        bool, typer.Option("--after-change", help="Of a contrast: patch units behind the changed tokens alone.")
    ] = False,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Test a graph's claims on the real model: what each node and group should change, and what it changes.

    Prune the graph first: kept nodes are tested, and the groups of the story beside it (GRAPH.story.json). Without
    --model it runs on what the graph names, where that is found.
    """
    from silverstain.graphs import open_with_story, story_beside
    from silverstain.verification import graph_run, inhibited_features
    from silverstain.verification import verify as run

    traced, story = open_with_story(graph)
    loaded = load_replacement(as_graph_says(loading, traced))
    model, dictionary = loaded.model, loaded.dictionary
    if traced.meta.get("contrast"):
        from silverstain.verification.contrast import Region

        region = Region(from_layer=from_layer, after_change=after_change)
        tell_proof(
            loaded, traced, story, region, sources=sources, seed=seed, rows=rows, json=json, file=graph, write=write
        )
        return
    if from_layer or after_change:
        raise UsageError(
            "--from-layer and --after-change are for the graph of a contrast, and this is of one prompt; trace one "
            "with --contrast"
        )
    recorded = graph_run(model, dictionary, traced).run
    with output.progress("verifying", quiet=json) as progress:
        found = run(
            model, dictionary, traced, run=recorded, groups=story.groups_in(traced), max_sources=sources,
            max_claims=claims, n_controls=controls, seed=seed, on_progress=progress,
        )  # fmt: skip
    wanted = inhibited if ghosts is None else ghosts
    features = inhibited_features(model, dictionary, traced, run=recorded, n=wanted) if wanted else ()
    report = found.to_json() | {"inhibited": [one.to_json() for one in features]}
    if write:
        story.with_evidence(traced.hash, report).save(story_beside(graph))
    shown = replace(found, claims=tuple(map(in_notation, found.claims)))
    if json:
        named = [_inhibited_in_notation(one) for one in features]
        output.emit({"graph": str(graph), **shown.to_json(), "inhibited": named})
        return
    _tell(shown, rows)
    if features:
        output.data("\n  Inhibited features:\n" + inhibited_table(features))
    if write:
        output.talk(f"Wrote {story_beside(graph)}. Next: silverstain show {graph}")


def _tell(found: "Verification", rows: int) -> None:
    output.data(claims_table(found.claims, rows))
    output.talk(LEGEND)
    output.data("")
    output.data(agreement_table(found.by_part))
    output.data("")
    verdicts = found.to_json()["verdicts"]
    output.data("  " + ", ".join(f"{n} {name}" for name, n in verdicts.items()))
    output.talk(f"arithmetic check: direct edges hold to {found.direct_error:.1g} (true by construction)")


def claims_table(claims: "tuple[Claim, ...]", n: int) -> str:
    """The claims with the largest measured effects, of groups first."""
    from silverstain.verification.claims import strongest

    table = [["source", "target", "predicted", "measured", "random moves", "verdict"]]
    for claim in strongest(claims, n):
        unit = "" if claim.kind.endswith("logit") else " ×"
        low, high = claim.interval
        table.append([
            claim.source, claim.target, f"{claim.predicted:+.2f}{unit}", f"{claim.measured:+.2f}{unit}",
            f"{low:+.2f} … {high:+.2f}", claim.verdict,
        ])  # fmt: skip
    return output.table(table, right=(2, 3, 4))


def inhibited_table(features: "tuple[InhibitedFeature, ...]") -> str:
    """Inhibited features, the token each promotes, what inhibits it most, and what it reaches when that is ablated."""
    table = [["feature", "promotes", "inhibited by", "", "active without it"]]
    for one in features:
        strongest = min(one.edges, key=lambda edge: edge.weight)
        released = f"{one.awake:.2f}" if one.wakes else "no"
        names = name_of_id(one.id), one.says, name_of_id(strongest.source)
        table.append([*names, f"{strongest.weight:+.2f}", released])
    return output.table(table, right=(3, 4))


def in_notation(claim: "Claim") -> "Claim":
    """The claim with nodes named in the notation instead of by their ids; groups and answers keep their names."""
    return replace(claim, source=claim.source_name, target=claim.target_name)


def _inhibited_in_notation(feature: "InhibitedFeature") -> dict[str, Any]:
    edges = [{**asdict(edge), "source": name_of_id(edge.source)} for edge in feature.edges]
    return {**feature.to_json(), "id": name_of_id(feature.id), "edges": edges}


def agreement_table(parts: "dict[str, Agreement]") -> str:
    """Predicted beside measured, by kind of claim."""
    table = [["", "claims", "rank correlation", "slope", "R²", "best baseline"]]
    for name, part in parts.items():
        if part.by and "apart" not in name:
            baseline, correlation = part.best_baseline
            table.append([
                name, str(part.n), f"{part.spearman:.2f}", f"{part.slope:.2f}", f"{part.r2:.2f}",
                f"{correlation:.2f} ({baseline})",
            ])  # fmt: skip
    return output.table(table, right=(1, 2, 3, 4)) if len(table) > 1 else "  too few claims to correlate"
