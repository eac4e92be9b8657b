"""`silverstain convert`: write a published dictionary in the layout that circuit-tracer, Neuronpedia and we read."""

import filecmp
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.errors import UsageError
from silverstain.parts import part_file, shown_path, unwritable
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.bases import Dictionary

app = typer.Typer(rich_markup_mode=None, add_completion=False)
CONFIG, FACTS = "config.yaml", "silverstain.json"  # silverstain.bases.layout's, which takes a second to import
TYPES = ("float32", "bfloat16", "float16", "int8")


@app.command(
    no_args_is_help=True,
    epilog="Example: silverstain convert EleutherAI/sae-pile dictionaries/mine --dtype bfloat16",
)
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A folder, or a hub id: org/name, org/name/sub/folder@revision.")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")],
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16, float16, or int8: rows with a scale each, which circuit-tracer cannot read.",
            show_default="as stored",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.", show_default="its own name")] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Hub id of its model, for tools that load it by that.", show_default="as stored")
    ] = None,
    force: Annotated[bool, typer.Option("--force/--no-force", help="Write over a dictionary in DST.")] = False,
    json: Json = False,
) -> None:
    """Read a dictionary of any known format and write it in circuit-tracer's layout, one layer in memory at a time."""
    if dtype not in (None, *TYPES):
        raise UsageError(f"--dtype is {printable(dtype, 40)!r}; give one of {', '.join(TYPES)}")
    if not force:
        check_free(destination, source)
    import torch

    from silverstain.bases import open_dictionary, save_dictionary

    began = perf_counter()
    dictionary = open_dictionary(source)
    stored = getattr(torch, dtype) if dtype else dictionary.stored_dtype
    facts = {"converted_from": source, "converted_format": dictionary.metadata.get("format")}
    with output.progress("converting", quiet=json) as advance, _place(destination, is_free=force) as place:
        written = save_dictionary(
            dictionary, place, dtype=stored, name=name, model_name=model_name, facts=facts, on_layer=advance
        )
    report = {**describe(dictionary), "source": source, "dictionary": str(destination), "hash": written}
    report["dtype"] = str(stored).removeprefix("torch.")
    report["bytes"] = sum(file.stat().st_size for file in destination.iterdir() if file.is_file())
    report["seconds"] = perf_counter() - began
    if json:
        output.emit(report)
        return
    kind = "cross-layer" if report["is_cross_layer"] else "per-layer"
    chosen = f"{report['activation']} (k {report['k']})" if report["k"] else report["activation"]
    skip = ", with a linear skip" if report["has_skip"] else ""
    output.data(
        f"{report['format']}: {kind}, {report['n_layers']} layers of {report['n_features']} features of width "
        f"{report['d_model']}, {chosen}{skip}; reads at {printable(report['reads_at'], 100)}, "
        f"writes at {printable(report['writes_at'], 100)}"
    )
    output.talk(f"Wrote {shown_path(destination)}, {output.size(report['bytes'])} as {report['dtype']}.")


def check_free(destination: Path, source: str) -> None:
    """UsageError where a dictionary is in the way. One that came from this very source may be what an earlier run
    wrote before it was killed: whether it is shows when it has been converted again."""
    from silverstain.documents import read_json

    if not _has_dictionary(destination):
        return
    try:
        facts = read_json(destination / FACTS)
        metadata = facts.get("metadata") if isinstance(facts, dict) else None
        is_ours = isinstance(metadata, dict) and metadata.get("converted_from") == source
    except UsageError:
        is_ours = False
    if not is_ours:
        raise _taken(destination)


def _has_dictionary(destination: Path) -> bool:
    try:
        return (destination / CONFIG).exists()
    except OSError:  # no permission, or a name too long: writing will say so
        return False


def _taken(destination: Path) -> UsageError:
    return UsageError(
        f"there is a dictionary in {shown_path(destination)} already; choose another folder, or give --force"
    )


@contextmanager
def _place(destination: Path, *, is_free: bool) -> Iterator[Path]:
    """Where to write: the destination, or, where a dictionary is and may not be replaced, a place from which it is only
    compared."""
    if is_free or not _has_dictionary(destination):
        yield destination
        return
    try:
        with part_file(destination.absolute().parent) as again:
            yield again
            names = [file.name for file in again.iterdir()]
            _, different, unreadable = filecmp.cmpfiles(again, destination, names, shallow=False)
            if different or unreadable:
                raise _taken(destination)
    except OSError as error:
        raise unwritable(destination, error) from error


def describe(dictionary: "Dictionary") -> dict[str, Any]:
    """What a dictionary is, as plain JSON."""
    ks = set(dictionary.k or ())
    return {
        "name": dictionary.name,
        "format": dictionary.metadata.get("format"),
        "is_cross_layer": dictionary.is_cross_layer,
        "activation": dictionary.activation,
        "k": None if not ks else ks.pop() if len(ks) == 1 else list(dictionary.k or ()),
        "n_layers": dictionary.n_layers,
        "n_features": dictionary.n_features,
        "d_model": dictionary.d_model,
        "has_skip": dictionary.has_skip,
        "reads_at": dictionary.reads_at,
        "writes_at": dictionary.writes_at,
        "model": dictionary.metadata.get("model_name"),
    }
