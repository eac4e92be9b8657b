"""`silverstain treat`: make a treatment, measure it before and after, put it into weights where that is exact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.graph_files import open_with_story
from silverstain.cli.options import (
    CheckDictionary,
    Device,
    DictionaryName,
    DType,
    Json,
    Model,
    Threads,
    load_replacement,
)
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.interventions.treatment import Condition

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Turn a diagnosis into a cure: edits that are saved, applied, measured and undone.",
)

TreatmentFile = Annotated[Path, typer.Argument(help="A treatment, as `silverstain treat make` writes it.")]
Items = Annotated[Path, typer.Option(help='Lines of {"prompt": "…", "answer": "…"}.', show_default=False)]


@app.command(epilog="Example: silverstain treat make --edit ablate:L1.F23 --when L0.F7 --out cure.json")
def make(
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    edit: Annotated[
        list[str] | None,
        typer.Option(help="ablate:L1.F23, scale:L1.F23=-1, ablate:L2.H1 …, without positions; may be repeated."),
    ] = None,
    when: Annotated[
        str | None, typer.Option(help="Only where a feature is active: L0.F7, or any of L0.F7+L1.F3.")
    ] = None,
    first: Annotated[int, typer.Option(help="It was active at least so many tokens before.")] = 0,
    last: Annotated[int, typer.Option(help="And at most so many; negative: however many.")] = 0,
    story: Annotated[
        Path | None, typer.Option(help="A graph file whose groups --group names.", show_default=False)
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Silence a group of the graph, wherever its features fire.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the treatment is called.")] = "treatment",
    model: Model = "organism",
    dictionary: DictionaryName = None,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    json: Json = False,
) -> None:
    """Write a treatment from edits, or from groups of a traced graph."""
    from silverstain.interventions import DirectionEdit, Edit, PatternEdit, parse_edits
    from silverstain.interventions.treatment import Rule, treatment_for

    condition = None if when is None else _condition(when, first, last)
    edits = [*parse_edits(edit or (), {}), *_groups(story, group or ())]
    if not edits:
        raise UsageError("no edit is given; name one: --edit ablate:L1.F23, or a group: --story GRAPH --group NAME")
    for one in edits:
        if not isinstance(one, Edit | DirectionEdit | PatternEdit):
            raise UsageError(
                f"{one} changes an error or token node, which one prompt alone has; edit features or heads"
            )
    loaded = load_replacement(
        model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
    )
    rules = [Rule(edit=one, when=condition) for one in edits]  # pyright: ignore[reportArgumentType]
    treatment = treatment_for(loaded.model, loaded.dictionary, rules, name=name)
    treatment.save(out)
    if json:
        output.emit({"file": str(out), "rules": [str(rule) for rule in treatment.rules]})
    else:
        output.data(output.table([[str(rule)] for rule in treatment.rules]))
        output.talk(f"Wrote {out}. Next: silverstain treat measure {out} --target FILE --side FILE")


@app.command(epilog="Example: silverstain treat measure cure.json --target target.jsonl --side side.jsonl")
def measure(
    treatment: TreatmentFile,
    target: Items,
    side: Items,
    model: Model = "organism",
    dictionary: DictionaryName = None,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    json: Json = False,
) -> None:
    """Say how often the model answers as wanted, before, under the treatment, and after it is undone."""
    from silverstain.interventions.treatment import Treatment, load_items, share_right, treated

    cure = Treatment.load(treatment)
    loaded = load_replacement(
        model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
    )
    sets = {name: load_items(loaded.model, path) for name, path in (("target", target), ("side", side))}

    def shares() -> dict[str, float]:
        return {name: share_right(loaded.model, items) for name, items in sets.items()}

    before = shares()
    with treated(loaded.model, loaded.dictionary, cure):
        under = shares()
    after = shares()
    if json:
        counts = {name: len(items) for name, items in sets.items()}
        output.emit({"n": counts, "before": before, "treated": under, "undone": after})
        return
    rows = [["", "items", "before", "treated", "undone"]]
    rows += [
        [name, str(len(items)), *(output.percent(run[name]) for run in (before, under, after))]
        for name, items in sets.items()
    ]
    output.data(output.table(rows, right=range(1, 5)))


@app.command(epilog="Example: silverstain treat bake cure.json --out cured-model")
def bake(
    treatment: TreatmentFile,
    out: Annotated[Path, typer.Option(help="Folder of the treated Hugging Face model.", show_default=False)],
    model: Model = "organism",
    dictionary: DictionaryName = None,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    json: Json = False,
) -> None:
    """Write a model with the treatment in its weights, where that is exact: constants without a condition."""
    from silverstain.interventions.treatment import Treatment, baked

    cure = Treatment.load(treatment)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder")
    loaded = load_replacement(
        model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
    )
    with baked(loaded.model, loaded.dictionary, cure):
        loaded.model.hf.save_pretrained(out)
    loaded.model.tokenizer.save_pretrained(out)
    if json:
        output.emit({"folder": str(out), "rules": [str(rule) for rule in cure.rules]})
    else:
        output.talk(f"Wrote {out}")


def _condition(text: str, first: int, last: int) -> "Condition":
    """Read L0.F7+L1.F3."""
    import re

    from silverstain.interventions.treatment import Condition

    parts = [re.fullmatch(r"L(\d+)\.F(\d+)", part.strip()) for part in text.split("+")]
    if not all(parts):
        raise UsageError(f"--when is {text!r}; write features as L0.F7, several with + between them")
    features = tuple((int(part[1]), int(part[2])) for part in parts if part)
    return Condition(features=features, first=first, last=None if last < 0 else last)


def _groups(graph_file: Path | None, names: list[str] | tuple[str, ...]) -> list:
    """The edits that silence the features of the named groups."""
    if not names:
        return []
    if graph_file is None:
        raise UsageError("--group names a group of a graph; name the graph too: --story GRAPH")
    from silverstain.interventions import Edit

    graph, story = open_with_story(graph_file)
    members = {group.label: group.members for group in story.groups_in(graph)}
    edits = []
    for name in names:
        if name not in members:
            raise UsageError(f"{graph_file} has no group {name!r}; it has: {', '.join(sorted(members)) or 'none'}")
        layer, feature = graph.nodes.layer, graph.nodes.feature
        features = sorted({(int(layer[m]), int(feature[m])) for m in members[name] if int(feature[m]) >= 0})
        if not features:
            raise UsageError(f"the group {name!r} has no features; name a group of features")
        edits.append(Edit(op="ablate", features=tuple(features)))
    return edits
