"""`silverstain intervene`: change features in the running model and see what it says then."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.chat_options import ChatOptions
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, LoadingOptions, existing, load_replacement
from silverstain.errors import UsageError
from silverstain.storage import check_writable

if TYPE_CHECKING:
    from silverstain.attribution import RecordedRun
    from silverstain.interventions import AnyEdit, Intervention, Place, Regime
    from silverstain.loading import ReplacementModel

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Attention(StrEnum):
    """Whether attention patterns follow the edit."""

    live = "live"
    frozen = "frozen"


class Mode(StrEnum):
    """How far the effect of an edit goes."""

    added = "added"
    iterative = "iterative"
    constrained = "constrained"
    direct = "direct"


@app.command(
    no_args_is_help=True,
    epilog='Example: silverstain intervene "the capital of the state containing dallas is" --edit ablate:L1.F23@5',
)
@takes_option_values
def intervene(
    *,
    prompt: Annotated[str, typer.Argument(help="Text that the model is to continue.")],
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="OP:WHAT@POSITIONS=VALUE with OP ablate, scale, set, add or patch and WHAT L1.F23+L2.F4, L1.error, "
            "token, L1.H3 or a group; may be repeated."
        ),
    ] = None,
    edits: Annotated[
        Path | None,
        typer.Option(callback=existing, help="A file of edits, after those of --edit.", show_default=False),
    ] = None,
    story: Annotated[
        Path | None,
        typer.Option(
            callback=existing,
            help="A graph file whose groups may be edited by name: --edit 'ablate:state = texas'.",
            show_default=False,
        ),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(help="Another prompt, whose run gives what --edit 'patch:L1.F23@5<5' takes.", show_default=False),
    ] = None,
    directions: Annotated[
        Path | None,
        typer.Option(
            callback=existing,
            help="A safetensors file of vectors that may be edited by name: --edit add:L1.NAME=2.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="How far effects go; direct is what a graph's edges state.")] = Mode.added,
    hold: Annotated[
        str | None, typer.Option(help="For constrained: the layers to pin, as 1..3 or 0,2.", show_default=False)
    ] = None,
    attention: Annotated[
        Attention | None,
        typer.Option(help="Recompute attention under the edit, or hold it.", show_default="live, or as the mode needs"),
    ] = None,
    norms: Annotated[
        Attention | None,
        typer.Option(help="The same for the norms' denominators.", show_default="live, or as the mode needs"),
    ] = None,
    at: Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")] = -1,
    control: Annotated[bool, typer.Option(help="Also change as many random features as much.")] = True,
    seed: Annotated[int, typer.Option(help="Which random features, and which tokens are drawn.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Rows of the tables.")] = 5,
    generate: Annotated[int, typer.Option(min=0, max=100_000, help="Tokens to continue with.")] = 5,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest token; above it, tokens are drawn.")
    ] = 0.0,
    save: Annotated[Path | None, typer.Option(help="Write the edits to this file.", show_default=False)] = None,
    talk: ChatOptions,
    loading: LoadingOptions,
    json: Json = False,
) -> None:
    """Change features in the running model and see what it says then, beside what it says without."""
    from silverstain.attribution import record_run
    from silverstain.interventions import Donor, load_edits, parse_edits, save_edits
    from silverstain.interventions.checking import check_active
    from silverstain.models import as_ids

    if not edit and not edits:
        raise UsageError("no edit is given; name one: --edit ablate:L1.F23@5, or a file of them: --edits FILE")
    if save is not None:
        check_writable(save)
    groups, vectors = _groups(story), _directions(directions)
    if edit and donor is None and not vectors:
        parse_edits(edit, groups)  # an edit that cannot be read is an error before the model is loaded
    replacement = load_replacement(loading)
    ours, dense = replacement.dictionary, replacement.model
    talk.set_up(dense)
    run_of_donor = None if donor is None else Donor(dense, ours, talk.prompt(dense, donor))
    typed = parse_edits(edit or (), groups, directions=vectors, donor=run_of_donor)
    changes = (*typed, *(load_edits(edits) if edits else ()))
    asked = talk.prompt(dense, prompt)
    clean = record_run(dense, ours, as_ids(dense, asked))
    check_active(clean, changes)
    regime = _regime(mode, hold, attention, norms, dense.n_layers)
    result, beside = _runs(clean, changes, regime, at, top, seed if control else None)
    report = {**result.to_json(), "mode": mode.value, "edits": [str(change) for change in changes]}
    report["generated"] = _generated(replacement, asked, changes, generate, regime, temperature, seed)
    if beside is not None:
        said = [str(change) for change in beside.edits]
        report["control"] = {"edits": said, "edited": beside.to_json()["edited"], "kl": beside.kl}
    if save is not None:
        save_edits(changes, save)
    if json:
        output.emit(report)
    else:
        _tell(result, beside, report["generated"], top)


def _groups(graph_file: Path | None) -> "dict[str, list[Place]] | None":
    """Label -> (layer, position, feature) of each feature in the group; None without a graph."""
    if graph_file is None:
        return None
    from silverstain.graphs import group_places, open_with_story

    graph, story = open_with_story(graph_file)
    return {group.label: group_places(graph, group) for group in story.groups_in(graph)}


def _directions(path: Path | None) -> dict[str, list[float]]:
    """Vectors by name."""
    if path is None:
        return {}
    from silverstain.storage import read_tensors

    vectors = read_tensors(path)[0]
    wrong = [name for name, vector in vectors.items() if vector.ndim != 1]
    if wrong:
        raise UsageError(f"{path} holds {wrong[0]!r} of {vectors[wrong[0]].ndim} axes; a direction is a vector")
    return {name: vector.double().tolist() for name, vector in vectors.items()}


def _regime(
    mode: Mode, hold: str | None, attention: Attention | None, norms: Attention | None, n_layers: int
) -> "Regime":
    from silverstain.interventions import regime_of

    layers = None if hold is None else _layers(hold)
    return regime_of(
        mode.value,
        n_layers=n_layers,
        layers=layers,
        attention=None if attention is None else attention.value,
        norms=None if norms is None else norms.value,
    )


def _layers(text: str) -> set[int]:
    """Read 1..3 or 0,2, as positions are read."""
    from silverstain.interventions.positions import read_positions

    try:
        found = read_positions(text)
    except ValueError:
        found = None
    if not isinstance(found, tuple) or min(found) < 0:
        raise UsageError(
            f"cannot read --hold {text!r}; give layers as 1..3 or 0,2, and not a range that runs backwards"
        )
    return set(found)


def _runs(
    clean: "RecordedRun", changes: "Sequence[AnyEdit]", regime: "Regime", at: int, top: int, seed: int | None
) -> "tuple[Intervention, Intervention | None]":
    """The run under the edits and, where a seed is given, one in which random features change as much: in one pass."""
    from silverstain.interventions import Edit, intervene_many, random_control

    edits: list[Sequence[AnyEdit]] = [changes]
    features = [change for change in changes if isinstance(change, Edit)]
    if seed is not None and len(features) < len(changes):
        output.talk("there is no random control: only features have one, and other things are edited too")
    elif seed is not None:
        edits.append(random_control(clean, features, seed=seed))
    ids = clean.recording.token_ids
    result, *control = intervene_many(clean.model, clean.basis, [ids], edits, regime, position=at, n_top=top)
    return result, control[0] if control else None


def _generated(
    replacement: "ReplacementModel",
    prompt: str | list[int],
    changes: "Sequence[AnyEdit]",
    n: int,
    regime: "Regime",
    temperature: float,
    seed: int,
) -> dict[str, str]:
    """The continuation without and with the edits."""
    from silverstain.interventions import generate

    model = replacement.model
    drawn = {"temperature": temperature, "seed": seed}
    plain = generate(model, prompt, n, **drawn)
    edited = generate(model, prompt, n, dictionary=replacement.dictionary, edits=changes, regime=regime, **drawn)
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
