"""`silverstain intervene`: change features in the running model and see what it says then."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from silverstain.interventions import Intervention, Place
    from silverstain.replacement import ReplacementModel

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Attention(StrEnum):
    """Whether attention patterns follow the edit."""

    live = "live"
    frozen = "frozen"


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain intervene "the capital of the state containing dallas is" --edit ablate:L1.F23@5',
)
def intervene(
    prompt: Annotated[str, typer.Argument(help="Text that the model is to continue.")],
    edit: Annotated[
        list[str] | None,
        typer.Option(help="OP:L1.F23+L2.F4@POSITIONS=VALUE with OP ablate, scale, set, add or patch; may be repeated."),
    ] = None,
    edits: Annotated[
        Path | None, typer.Option(help="A file of edits, after those of --edit.", show_default=False)
    ] = None,
    story: Annotated[
        Path | None,
        typer.Option(
            help="A graph file whose groups may be edited by name: --edit 'ablate:state = texas'.", show_default=False
        ),
    ] = None,
    model: Model = "organism",
    dictionary: DictionaryName = None,
    attention: Annotated[
        Attention, typer.Option(help="Recompute attention under the edit, or hold it.")
    ] = Attention.live,
    at: Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")] = -1,
    control: Annotated[bool, typer.Option(help="Also change as many random features as much.")] = True,
    seed: Annotated[int, typer.Option(help="Which random features.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Rows of the tables.")] = 5,
    generate: Annotated[int, typer.Option(min=0, help="Tokens to continue with.")] = 5,
    check_dictionary: CheckDictionary = True,
    threads: Threads = None,
    device: Device = "cpu",
    dtype: DType = "float32",
    json: Json = False,
) -> None:
    """Change features in the running model and see what it says then, beside what it says without."""
    from silverstain.interventions import intervene as run
    from silverstain.interventions import load_edits, parse_edits, random_control

    changes = (*parse_edits(edit or (), _groups(story)), *(load_edits(edits) if edits else ()))
    if not changes:
        raise UsageError("no edit is given; name one: --edit ablate:L1.F23@5, or a file of them: --edits FILE")
    replacement = load_replacement(
        model, dictionary, check_dictionary=check_dictionary, threads=threads, device=device, dtype=dtype
    )
    ours, dense = replacement.dictionary, replacement.model
    result = run(dense, ours, prompt, changes, attention=attention.value, position=at, n_top=top)
    report = {**result.to_json(), "edits": [str(change) for change in changes]}
    report["generated"] = _generated(replacement, prompt, changes, generate, attention.value)
    beside = None
    if control:
        random = random_control(dense, ours, prompt, changes, seed=seed)
        beside = run(dense, ours, prompt, random, attention=attention.value, position=at, n_top=top)
        report["control"] = {"edits": [str(c) for c in random], "edited": beside.to_json()["edited"], "kl": beside.kl}
    if json:
        output.emit(report)
    else:
        _tell(result, beside, report["generated"], top)


def _groups(graph_file: Path | None) -> "dict[str, list[Place]]":
    """Label -> (layer, position, feature) of each feature in the group."""
    if graph_file is None:
        return {}
    graph, story = open_with_story(graph_file)
    columns = [column.tolist() for column in (graph.nodes.layer, graph.nodes.position, graph.nodes.feature)]
    places = list(zip(*columns, strict=True))
    return {g.label: [places[m] for m in g.members if places[m][2] >= 0] for g in story.groups_in(graph)}


def _generated(replacement: "ReplacementModel", prompt: str, changes: Any, n: int, attention: Any) -> dict[str, str]:
    """The continuation without and with the edits."""
    from silverstain.interventions import generate

    model = replacement.model
    plain = generate(model, prompt, n)
    edited = generate(model, prompt, n, dictionary=replacement.dictionary, edits=changes, attention=attention)
    return {"baseline": model.tokenizer.decode(plain), "edited": model.tokenizer.decode(edited)}  # pyright: ignore


def _tell(result: "Intervention", control: "Intervention | None", generated: dict[str, str], top: int) -> None:
    output.data(answers_table(result, control, top))
    output.data("")
    rows = [["continues", generated["baseline"] or "–"], ["edited", generated["edited"] or "–"]]
    output.data(output.table(rows))
    kl = f"KL from the unedited model: {result.kl:.3g} nats"
    output.talk(kl + (f", control {control.kl:.3g} nats" if control else ""))


def answers_table(result: "Intervention", control: "Intervention | None", n: int) -> str:
    """Probabilities of the likeliest tokens of each run, side by side."""
    runs = [result] if control is None else [result, control]
    ids = {line.id: line.token for line in (*result.baseline[:n], *result.edited[:n])}
    header = ["", "before", "edited"] + (["random control"] if control else [])
    rows = [header]
    for token_id, token in ids.items():
        cells = [result.probability(token_id)[0], *(run.probability(token_id)[1] for run in runs)]
        rows.append([token, *map(output.percent, cells)])
    return output.table(rows, right=range(1, len(header)))
