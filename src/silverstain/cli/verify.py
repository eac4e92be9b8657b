"""`silverstain verify`: test a graph's claims on the real model."""

from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.graph_files import open_with_story, story_beside
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import GraphFile, Json, LoadingOptions, load_replacement

if TYPE_CHECKING:
    from silverstain.verification import Agreement, Claim, Ghost, Verification

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(no_args_is_help=True, epilog="Example: silverstain verify dallas.safetensors")
@takes_option_values
def verify(
    *,
    graph: GraphFile,
    sources: Annotated[int, typer.Option(min=1, help="So many kept nodes are moved, by influence.")] = 64,
    claims: Annotated[int, typer.Option(min=0, help="At most so many claims of nodes on nodes.")] = 400,
    controls: Annotated[int, typer.Option(min=2, help="Random moves for each source.")] = 8,
    seed: Annotated[int, typer.Option(help="Of random moves, and of which claims are drawn.")] = 0,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Keep the result in the story beside the graph.")
    ] = True,
    silent: Annotated[
        int, typer.Option("--ghosts", min=0, help="Look for so many silent features that something holds back.")
    ] = 10,
    rows: Annotated[int, typer.Option(min=0, help="Claims in the table.")] = 12,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Test a graph's claims on the real model: what each node and group should change, and what it changes.

    Prune the graph first: kept nodes are tested, and the groups of the story beside it (GRAPH.story.json).
    """
    from dataclasses import replace

    from silverstain.verification import ghosts
    from silverstain.verification import verify as run

    traced, story = open_with_story(graph)
    replacement = load_replacement(loading)
    with output.progress("verifying", quiet=json) as progress:
        found = run(
            replacement.model, replacement.dictionary, traced, groups=story.groups_in(traced), max_sources=sources,
            max_claims=claims, n_controls=controls, seed=seed, on_progress=progress,
        )  # fmt: skip
    held_back = ghosts(replacement.model, replacement.dictionary, traced, n=silent) if silent else ()
    report = found.to_json() | {"ghosts": [ghost.to_json() for ghost in held_back]}
    if write:
        others = tuple(entry for entry in story.evidence if entry.get("kind") != report["kind"])
        replace(story, graph_hash=traced.hash, evidence=(*others, report)).save(story_beside(graph))
    if json:
        output.emit({"graph": str(graph), **report})
        return
    _tell(found, rows)
    if held_back:
        output.data("\n  Silent, and held back:\n" + ghosts_table(held_back))
    if write:
        output.talk(f"Wrote {story_beside(graph)}. Next: silverstain show {graph}")


def _tell(found: "Verification", rows: int) -> None:
    output.data(claims_table(found.claims, rows))
    output.data("")
    output.data(agreement_table(found.by_part))
    output.data("")
    verdicts = found.to_json()["verdicts"]
    output.data("  " + ", ".join(f"{n} {name}" for name, n in verdicts.items()))
    output.talk(f"arithmetic check: direct edges hold to {found.direct_error:.1g} (true by construction)")


def claims_table(claims: "tuple[Claim, ...]", n: int) -> str:
    """The claims with the largest measured effects, of groups first."""
    ranked = sorted(claims, key=lambda claim: (not claim.kind.startswith("group"), -abs(claim.measured)))
    table = [["source", "target", "predicted", "measured", "random moves", "verdict"]]
    for claim in ranked[:n]:
        unit = "" if claim.kind.endswith("logit") else " ×"
        low, high = claim.interval
        table.append([
            claim.source, claim.target, f"{claim.predicted:+.2f}{unit}", f"{claim.measured:+.2f}{unit}",
            f"{low:+.2f} … {high:+.2f}", claim.verdict,
        ])  # fmt: skip
    return output.table(table, right=(2, 3, 4))


def ghosts_table(ghosts: "tuple[Ghost, ...]") -> str:
    """Silent features, what they would say, and what holds each back most."""
    table = [["feature", "would say", "held back by", "", "wakes"]]
    for ghost in ghosts:
        strongest = min(ghost.edges, key=lambda edge: edge.weight)
        wakes = f"{ghost.awake:.2f}" if ghost.wakes else "no"
        table.append([ghost.id, ghost.says, strongest.source, f"{strongest.weight:+.2f}", wakes])
    return output.table(table, right=(3, 4))


def agreement_table(parts: "dict[str, Agreement]") -> str:
    """Predicted beside measured, by kind of claim."""
    from silverstain.verification.baselines import BASELINES

    table = [["", "claims", "rank correlation", "slope", "R²", "best baseline"]]
    for name, part in parts.items():
        if part.by and "apart" not in name:
            others = {key: part.by[key] for key in BASELINES if key in part.by}
            best = max(others, key=lambda key: others[key])
            table.append([
                name, str(part.n), f"{part.spearman:.2f}", f"{part.slope:.2f}", f"{part.r2:.2f}",
                f"{others[best]:.2f} ({best})",
            ])  # fmt: skip
    return output.table(table, right=(1, 2, 3, 4)) if len(table) > 1 else "  too few claims to correlate"
