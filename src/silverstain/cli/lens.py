"""`silverstain lens`: the mean Jacobian from each layer's stream to the last, through which features are read."""

from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from silverstain.cli import output
from silverstain.cli.feature_texts import rows_to_describe
from silverstain.cli.option_values import takes_option_values
from silverstain.cli.options import Json, ModelOptions, load_model_alone
from silverstain.cli.text_options import TextOptions
from silverstain.parts import shown_path
from silverstain.storage import check_writable

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="What a change of the stream after each layer does to the final stream, on average over a text.",
)


@app.callback()
def lens() -> None:
    """What a change of the stream after each layer does to the final stream, on average over a text."""


@app.command(no_args_is_help=True, epilog="Example: silverstain lens build --model organism --out lens.safetensors")
@takes_option_values
def build(
    *,
    reading: TextOptions,
    out: Annotated[Path, typer.Option(help="The file to write, safetensors.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows (contexts) of the text; some hundred are enough.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Rows side by side.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the text.")] = 0,
    loading: ModelOptions,
    json: Json = False,
) -> None:
    """Average the Jacobian of every layer over a text: as many backward passes a batch as the stream is wide."""
    from silverstain.features.lens import build_lens

    check_writable(out)
    model = load_model_alone(loading)
    found, about = rows_to_describe(model, reading, tokens=1 << 20, seed=seed)
    some = [row.token_ids.tolist() for row in islice(found, rows)]
    if not json:
        output.talk(f"{len(some)} rows of {about['text']}: {model.d_model} backward passes for each {batch} of them …")
    start = perf_counter()
    with output.progress("rows", quiet=json) as bar:
        made = build_lens(model, some, batch_size=batch, on_progress=lambda n: bar(n, len(some)))
    made.meta.update(about)
    made.save(out)
    seconds = perf_counter() - start
    if json:
        output.emit({"lens": str(out), **made.meta, "seconds": seconds})
    else:
        output.talk(f"{made.meta['places']:,} places, {output.duration(seconds)}: {shown_path(out)}")
        output.talk(f"Next: silverstain features build --lens {shown_path(out)} …")
