"""Texts to train on, from wherever they are: files and folders, datasets, anything that can be read again.

A source is cut into units that can be read by themselves (four megabytes of a file, a row group, a thousand rows), so
that every epoch may take them in another order. What can only be read from its beginning, a stream, is one unit.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.storage import broken_file, check_is_file
from silverstain.training.datasets import HUB, dataset_of, is_saved_dataset, saved_dataset

Document = str | tuple[int, ...]
"""A text, or the tokens it has been made into."""
Unit = Callable[[], Iterator[Document]]
"""Reads its documents from the first on, as often as it is called."""

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".py")
LINES_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIX = ".parquet"
UNIT_BYTES = 1 << 22
UNIT_ROWS = 1000
FIELD = "text"


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Where texts come from."""

    name: str
    """What errors call it."""
    units: tuple[Unit, ...]
    n_bytes: int | None = None
    """Of the files, if they are text or JSONL; None where nobody knows before they are read."""


def open_documents(source: object, *, field: str = FIELD) -> Documents:
    """The documents of a path or several (files of text, JSONL or Parquet, or folders of them), of a `datasets`
    dataset (as it is, as the folder `save_to_disk` wrote, or as hf://NAME), or of any iterable of texts or rows that
    can be read again. `field` holds the text, or the token ids, of a row. A string by itself is a path; of a
    list of strings, each is a document, unless all of them name files or folders that are there, or end as those do.

    UsageError for what is not there, cannot be read again, or is several splits at once.
    """
    if isinstance(source, Documents):
        return source
    if isinstance(source, str | Path):
        return _of_path(source, field)
    if isinstance(source, list | tuple) and source and _are_paths(source):
        parts = [_of_path(path, field) for path in source]
        name = parts[0].name if len(parts) == 1 else f"{parts[0].name} and {len(parts) - 1} more"
        sizes = [part.n_bytes for part in parts]
        return Documents(
            name=name,
            units=tuple(unit for part in parts for unit in part.units),
            n_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        )
    if isinstance(source, Mapping):
        raise UsageError(f"this is a set of splits ({', '.join(map(str, source))}); give one of them")
    return _of_rows(source, field)


# files


def _are_paths(source: Sequence[object]) -> bool:
    """Whether several things are paths, not texts; UsageError if some are and some are not."""
    if not all(isinstance(one, str | Path) for one in source):
        return False
    texts = [one for one in source if not _names_a_path(one)]
    if texts and len(texts) < len(source):
        path = next(one for one in source if _names_a_path(one))
        raise UsageError(
            f"the list has the path {path} and a text that is none ({str(texts[0])[:40]!r}); give paths only, or texts "
            "only"
        )
    return not texts


def _names_a_path(one: object) -> bool:
    if isinstance(one, Path):
        return True
    text = str(one)
    known = (*TEXT_SUFFIXES, *LINES_SUFFIXES, PARQUET_SUFFIX)
    looks_so = text.startswith(HUB) or (text.lower().endswith(known) and not any(letter.isspace() for letter in text))
    return bool(text) and (looks_so or _is_there(Path(text)))


def _is_there(path: Path) -> bool:
    """Whether there is such a file or folder; a text of pages, which no path can be, is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _of_path(source: str | Path, field: str) -> Documents:
    if str(source).startswith(HUB):
        return _of_rows(dataset_of(str(source)), field, str(source))
    path = Path(source).expanduser()
    if not _is_there(path):
        shown = str(source) if len(str(source)) <= 100 else f"{str(source)[:100]}…"
        raise UsageError(f"there is no file or folder {shown!r}; check the path, and give texts themselves in a list")
    if is_saved_dataset(path):
        return _of_rows(saved_dataset(path), field, str(path))
    files = _files(path)
    is_text = not any(file.suffix.lower() == PARQUET_SUFFIX for file in files)
    return Documents(
        name=str(path),
        units=tuple(unit for file in files for unit in _units(file, field)),
        n_bytes=sum(file.stat().st_size for file in files) if is_text else None,
    )


def _files(path: Path) -> list[Path]:
    """A file itself, or the readable files of a folder and its folders, in order of name."""
    if not path.is_dir():
        check_is_file(path)
        return [path]
    known = (*TEXT_SUFFIXES, *LINES_SUFFIXES, PARQUET_SUFFIX)
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in known and file.is_file())
    if not found:
        raise UsageError(f"there is no text in the folder {path}; what is read there are files of {', '.join(known)}")
    return found


def _units(file: Path, field: str) -> Iterator[Unit]:
    suffix = file.suffix.lower()
    if suffix == PARQUET_SUFFIX:
        yield from _row_groups(file, field)
        return
    try:
        n_bytes = file.stat().st_size
        file.open("rb").close()  # not permitted is said before training begins
    except OSError as error:
        raise broken_file(file, error) from error
    read = partial(_rows_of_lines, field=field) if suffix in LINES_SUFFIXES else _whole_text
    for start in range(0, n_bytes, UNIT_BYTES):
        yield partial(read, file, start, min(start + UNIT_BYTES, n_bytes))


def _lines(file: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in the bytes from `start` to `end`, each with the place it begins at."""
    try:
        with file.open("rb") as handle:
            if start:
                handle.seek(start - 1)
                handle.readline()  # begun before: of the unit before, or whole behind a line's end
            while (place := handle.tell()) < end and (line := handle.readline()):
                yield place, line
    except OSError as error:
        raise broken_file(file, error) from error


def _whole_text(file: Path, start: int, end: int) -> Iterator[Document]:
    lines = b"".join(line for _, line in _lines(file, start, end))
    try:
        yield lines.decode("utf-8-sig" if start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not text in UTF-8 (byte {start + error.start} is {lines[error.start]:#04x}); "
            "convert it, or leave it out"
        ) from error


def _rows_of_lines(file: Path, start: int, end: int, field: str) -> Iterator[Document]:
    for place, line in _lines(file, start, end):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{file} is not JSON at byte {place} ({error}); JSONL has one object a line, correct or delete the line"
            ) from error
        yield _document(row, field, str(file))


def _row_groups(file: Path, field: str) -> Iterator[Unit]:
    import pyarrow  # slow to import
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as table:
            n_groups, names = table.num_row_groups, table.schema_arrow.names
    except (OSError, pyarrow.ArrowException) as error:
        raise broken_file(file, error) from error
    if field not in names:
        raise _no_field(str(file), field, names)

    def read(group: int) -> Iterator[Document]:
        try:
            with ParquetFile(file) as table:
                values = table.read_row_group(group, columns=[field]).column(field).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise broken_file(file, error) from error
        yield from (_document({field: value}, field, str(file)) for value in values)

    yield from (partial(read, group) for group in range(n_groups))


# rows


def _of_rows(source: Any, field: str, name: str | None = None) -> Documents:
    name = name or f"the {type(source).__name__}"
    has_places = hasattr(source, "__len__") and hasattr(source, "__getitem__")
    if not has_places and _is_read_once(source):
        raise UsageError(
            f"{name} cannot be read again from its beginning; give paths, a dataset, or an iterable that starts anew"
        )
    columns = getattr(source, "column_names", None)
    if isinstance(columns, list):
        if field not in columns:
            raise _no_field(name, field, columns)
        source = source.select_columns([field])  # the others need not be read
    if not has_places:
        return Documents(name=name, units=(partial(_streamed, source, field, name),))
    bounds = [*range(0, len(source), UNIT_ROWS), len(source)]
    return Documents(
        name=name,
        units=tuple(partial(_rows_between, source, a, b, field, name) for a, b in pairwise(bounds)),
    )


def _streamed(source: Iterable[Any], field: str, name: str) -> Iterator[Document]:
    rows = iter(source)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except OSError as error:  # a hub that is gone in the middle of a run
            raise UsageError(
                f"{name} cannot be read on: {error}; when it can be reached again, the same command goes on from the "
                "last checkpoint"
            ) from error
        yield _document(row, field, name)


def _is_read_once(source: object) -> bool:
    """Whether it is no iterable, or one that goes on where it was left."""
    return not isinstance(source, Iterable) or iter(source) is source


def _rows_between(source: Any, start: int, end: int, field: str, name: str) -> Iterator[Document]:
    rows = source[start:end]
    if isinstance(rows, Mapping):  # as a dataset gives them: a list a column
        rows = ({field: value} for value in rows[field])
    return (_document(row, field, name) for row in rows)


def _document(row: object, field: str, where: str) -> Document:
    """The text or the tokens of a row; nothing there is an empty text."""
    if isinstance(row, str):
        return row
    if not isinstance(row, Mapping):
        raise UsageError(f"a row of {where} is a {type(row).__name__}; rows are objects with a field {field!r}")
    if field not in row:
        raise _no_field(where, field, [str(key) for key in row])
    value = row[field]
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Sequence) and all(isinstance(token, int) for token in value):
        return tuple(value)
    raise UsageError(
        f"the field {field!r} of {where} is a {type(value).__name__}; it must be a text, or a list of token ids"
    )


def _no_field(where: str, field: str, there: Sequence[str]) -> UsageError:
    fields = f"its fields are {', '.join(there)}" if there else "it has no fields"
    return UsageError(f"{where} has no field {field!r}; {fields}: name the one that holds the text (--field)")
