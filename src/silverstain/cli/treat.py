"""`silverstain treat`: make a treatment, measure it before and after, put it into weights where that is exact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, LoadingOptions, existing, load_replacement
from silverstain.errors import UsageError
from silverstain.notation import read_node
from silverstain.parts import check_new_folder, whole_folder
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.treatment import Condition
    from silverstain.treatment.comparing import Shares

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Turn a diagnosis into a cure: edits that are saved, applied, measured and undone.",
)

TreatmentFile = Annotated[
    Path, typer.Argument(callback=existing, help="A treatment, as `silverstain treat make` writes it.")
]
Items = Annotated[
    Path, typer.Option(callback=existing, help='Lines of {"prompt": "…", "answer": "…"}.', show_default=False)
]


@app.command(epilog="Example: silverstain treat make --edit ablate:L1.F23 --when L0.F7 --out cure.json")
@takes_option_values
def make(
    *,
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    edit: Annotated[
        list[str] | None,
        typer.Option(help="ablate:L1.F23, scale:L1.F23=-1, ablate:L2.H1 …, without positions; may be repeated."),
    ] = None,
    when: Annotated[
        str | None, typer.Option(help="Only where a feature is active: L0.F7, or any of L0.F7+L1.F3.")
    ] = None,
    first: Annotated[int, typer.Option(help="Fewest tokens since the feature was active.")] = 0,
    last: Annotated[int, typer.Option(help="Most tokens since; negative: any number.")] = 0,
    story: Annotated[
        Path | None,
        typer.Option(callback=existing, help="A graph file whose groups --group names.", show_default=False),
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Silence a group of the graph, wherever its features fire.")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            callback=existing, help="An audit: its cheated prompts' shortcut is read no more.", show_default=False
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What the treatment is called.")] = "treatment",
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Write a treatment from edits, from groups of a traced graph, or from the cheated prompts of an audit."""
    from silverstain.interventions import DirectionEdit, Edit, PatternEdit, parse_edits
    from silverstain.treatment import Rule, treatment_for

    condition = None if when is None else _condition(when, first, last)
    edits = [*parse_edits(edit or ()), *_groups(story, group or ())]
    if not edits and audit is None:
        raise UsageError(
            "no edit is given; name one: --edit ablate:L1.F23, a group: --story GRAPH --group NAME, or --audit FILE"
        )
    for one in edits:
        if not isinstance(one, Edit | DirectionEdit | PatternEdit):
            raise UsageError(
                f"{one} changes an error or token node, which one prompt alone has; edit features or heads"
            )
    check_writable(out)
    loaded = load_replacement(loading)
    rules = [Rule(edit=one, when=condition) for one in edits]  # pyright: ignore[reportArgumentType]
    if audit is not None:
        from silverstain.studies.audit.curing import cure, read_cheated

        rules += cure(loaded, read_cheated(audit, loaded)).rules
    treatment = treatment_for(loaded.model, loaded.dictionary, rules, name=name)
    treatment.save(out)
    if json:
        output.emit({"file": str(out), "rules": [str(rule) for rule in treatment.rules]})
    else:
        output.data(output.table([[str(rule)] for rule in treatment.rules]))
        output.talk(f"Wrote {out}. Next: silverstain treat measure {out} --target FILE --side FILE")


@app.command(epilog="Example: silverstain treat measure cure.json --target target.jsonl --side side.jsonl")
@takes_option_values
def measure(
    *,
    treatment: TreatmentFile,
    target: Items,
    side: Items,
    dev: Annotated[
        Path | None,
        typer.Option(
            callback=existing, help="Items of its own that steering and fine-tuning learn from.", show_default=False
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Also measure random controls and other cures.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the random controls, and of fine-tuning.")] = 0,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Say how often the model answers as wanted: before, treated, after undoing, and under other cures.

    A line of a file of items may have "without": the prompt without its cue.
    """
    from silverstain.treatment import Treatment, load_items, load_without, share_right, treated
    from silverstain.treatment.comparing import Material, Shares, compared

    cure = Treatment.load(treatment)
    loaded = load_replacement(loading)
    ours = loaded.model
    sets = {name: load_items(ours, path) for name, path in (("target", target), ("side", side))}
    without = load_without(ours, target)
    material = None if dev is None else Material(load_items(ours, dev), load_without(ours, dev))

    def shares() -> Shares:
        return Shares(*(share_right(ours, items) for items in sets.values()))

    runs = {"before": shares()}
    with treated(ours, loaded.dictionary, cure):
        runs["treated"] = shares()
    runs["undone"] = shares()
    others: dict[str, Shares] = {}
    if compare:
        others = compared(
            ours, loaded.dictionary, cure, target=sets["target"], side=sets["side"], without=without, dev=material,
            seed=seed,
        )  # fmt: skip
    if json:
        counts = {name: len(items) for name, items in sets.items()}
        said = {name: run._asdict() for name, run in runs.items()}
        output.emit({"n": counts, **said, "compared": {name: run._asdict() for name, run in others.items()}})
        return
    output.data(output.table(_measured({name: len(items) for name, items in sets.items()}, runs, others), right=(1, 2)))
    if compare and dev is None:
        output.talk("steering and fine-tuning are left out: they learn from items of their own; give --dev FILE")
    if material is not None and not material.without:
        output.talk('steering is left out: no item of --dev has "without", its prompt without the cue')
    if compare and "random control" not in others:
        output.talk("a random control is left out: the treatment cuts attention from all later tokens")
    if compare and not without:
        output.talk('deleting the cue is left out: no item of --target has "without", its prompt without the cue')


def _measured(counts: "dict[str, int]", runs: "dict[str, Shares]", others: "dict[str, Shares]") -> list[list[str]]:
    """A line for each run, and one for each other cure."""
    rows = [["", *(f"{name} ({n} items)" for name, n in counts.items())]]
    for name, run in (*runs.items(), *others.items()):
        rows.append([name, *("–" if share is None else output.percent(share) for share in run)])
    return rows


@app.command(epilog="Example: silverstain treat bake cure.json --out cured-model")
@takes_option_values
def bake(
    *,
    treatment: TreatmentFile,
    out: Annotated[Path, typer.Option(help="Folder of the treated Hugging Face model.", show_default=False)],
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Write a model with the treatment in its weights, where that is exact: constants without a condition."""
    from silverstain.storage import save_model
    from silverstain.treatment import Treatment, baked

    cure = Treatment.load(treatment)
    check_new_folder(out, replace=(out / "config.json").is_file())  # of a run that was killed on its last step
    loaded = load_replacement(loading)
    with whole_folder(out, again=True) as folder:
        with baked(loaded.model, loaded.dictionary, cure):
            save_model(loaded.model.hf, folder)
        loaded.model.tokenizer.save_pretrained(folder)
    if json:
        output.emit({"folder": str(out), "rules": [str(rule) for rule in cure.rules]})
    else:
        output.talk(f"Wrote {out}")


def _condition(text: str, first: int, last: int) -> "Condition":
    """Read L0.F7+L1.F3."""
    from silverstain.treatment import Condition

    pieces = text.split("+")
    named = [name for piece in pieces if (name := read_node(piece)) and name.kind == "feature"]
    if len(named) < len(pieces) or any(name.position is not None for name in named):
        raise UsageError(f"--when is {text!r}; write features as L0.F7, several with + between them, without positions")
    features = tuple((name.layer, name.index) for name in named)
    return Condition(features=features, first=first, last=None if last < 0 else last)


def _groups(graph_file: Path | None, names: list[str] | tuple[str, ...]) -> list:
    """The edits that silence the features of the named groups."""
    if not names:
        return []
    if graph_file is None:
        raise UsageError("--group names a group of a graph; name the graph too: --story GRAPH")
    from silverstain.graphs import group_places, open_with_story
    from silverstain.interventions import Edit

    graph, story = open_with_story(graph_file)
    groups = {group.label: group for group in story.groups_in(graph)}
    edits = []
    for name in names:
        if name not in groups:
            raise UsageError(f"{graph_file} has no group {name!r}; it has: {', '.join(sorted(groups)) or 'none'}")
        features = sorted({(layer, feature) for layer, _, feature in group_places(graph, groups[name])})
        if not features:
            raise UsageError(f"the group {name!r} has no features; name a group of features")
        edits.append(Edit(op="ablate", features=tuple(features)))
    return edits
