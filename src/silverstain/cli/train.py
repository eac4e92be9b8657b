"""`silverstain train`: a sparse replacement of a model's MLPs, trained on text of the user's."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, ModelOptions
from silverstain.cli.text_options import TrainingTextOptions
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.sealing import check_seal
from silverstain.storage import check_writable

CHECKPOINT = "checkpoint.safetensors"  # silverstain.training.checkpoint.FILE, which would import torch
MOST_TOKENS = 10_000_000
MOST_GRAPHS = 10_000
"""What is measured on is held in memory, and every prompt is traced."""
LARGEST = 2**31 - 1  # silverstain.validation.LARGEST, which would import pydantic

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    no_args_is_help=True,
    epilog="Example: silverstain train --model path/to/model --text path/to/texts --out my-dictionary. "
    "Ctrl-C saves; the same command resumes.",
)
@takes_option_values
def train(
    *,
    out: Annotated[Path, typer.Option(help="The folder of the dictionary; an unfinished run in it is resumed.")],
    reading: TrainingTextOptions,
    kind: Annotated[
        str | None,
        typer.Option(
            help="clt: features write to all later layers; plt: to their own; molt: linear transforms.",
            show_default="clt, or plt where that does not fit the memory",
        ),
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip/--no-skip", help="A linear map beside the features of a layer.")
    ] = False,
    features: Annotated[
        int | None, typer.Option(min=1, max=LARGEST, help="Features a layer.", show_default="by the model's size")
    ] = None,
    l0: Annotated[
        float | None, typer.Option("--l0", help="Active features a token and layer.", show_default="by the size")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=0, max=LARGEST, help="Steps of reconstruction.", show_default="by the model's size"),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="A dictionary to tune, named as --dictionary elsewhere: only the second phase runs. Fewer "
            "--features than it has keep those that write most.",
            show_default=False,
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Adam's learning rate.", show_default="2e-3 at 1,024 features, ∝ 1/√features")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, any other setting of training; may be repeated.", show_default=False),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, max=MOST_TOKENS, help="Held-out tokens that the final figures are of.")
    ] = 20_000,
    graphs: Annotated[
        int, typer.Option(min=0, max=MOST_GRAPHS, help="Held-out texts traced for the final figures.")
    ] = 8,
    watch_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between evaluations on held-out text.", show_default="20 a run")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option(help="Also report to this Weights & Biases project.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep activations here, and read them back instead of the model.", show_default=False),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Sparsities, as 8,12,16: a dictionary each, and their frontier drawn. --kind clt,plt draws both, at "
            "equal parameters.",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Under torchrun, what processes share: data (each has some tokens) or features (of each layer).",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what training would take.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Of weights and of the order of the text.")] = 0,
    loading: ModelOptions,
    json: Json = False,
) -> None:
    """Train a dictionary for a model's MLPs, and measure it on text it has not seen."""
    from silverstain.cli.train_processes import processes
    from silverstain.cli.train_run import Training, run_training

    if loading.model.split("/")[0] != "organism" and not reading.text:
        raise UsageError(f"training on {loading.model} needs text; give --text FILE, a folder of files, or hf://NAME")
    for source in reading.sources:
        if not source.startswith("hf://") and not Path(source).expanduser().exists():
            raise UsageError(f"there is no file or folder {printable(source, 200)}; check --text")
    check_writable(out / "config.yaml")
    if (out / CHECKPOINT).exists():  # before anything heavy is imported
        check_seal(out / CHECKPOINT)
    chosen: dict[str, Any] = {"skip": skip, "n_features": features, "l0": l0, "steps": steps, "lr": lr, "seed": seed}
    with processes(shard, loading.device) as share:
        run_training(
            Training(
                out=out, text=reading, loading=replace(loading, device=share.device), kind=kind, chosen=chosen,
                settings=settings or (), tokens=tokens, graphs=graphs, watch_every=watch_every, wandb=wandb,
                cache=cache, start=start, sweep=sweep, share=share, dry_run=dry_run, json=json,
            )
        )  # fmt: skip
