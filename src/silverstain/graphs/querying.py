"""SQL on a collection of graphs, in a database that can read nothing else and write nothing.

DuckDB is given the tables themselves, and no names of files; then it is told never to open a file or a network
connection, to load no extension and to look at no Python variable, and that this cannot be taken back. One statement,
which reads, is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.collection import FOLDER, damaged, read_table
from silverstain.parts import shown_path
from silverstain.printable import printable

MEMORY = "2GB"
LOCKED = (
    "SET python_enable_replacements = false", "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false", f"SET memory_limit = '{MEMORY}'", "SET temp_directory = ''",
    "SET enable_external_access = false", "SET lock_configuration = true",
)  # fmt: skip


@brief
@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_whole: bool
    """Whether there are no more rows."""


def query(folder: str | Path, sql: str, *, most: int = 1000) -> Answer:
    """Ask the collection of a folder; at most so many rows.

    UsageError where there is no collection, for what is no single query that reads, and for one that fails.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        _give_tables(connection, Path(folder) / FOLDER, sql.lower())
        for setting in LOCKED:
            connection.execute(setting)
        _check(connection, sql)
        found = connection.execute(sql)
        columns = tuple(str(column[0]) for column in found.description or ())
        rows = found.fetchmany(most + 1)
    except duckdb.Error as error:
        raise UsageError(f"the query cannot be answered: {printable(' '.join(str(error).split()), 300)}") from error
    finally:
        connection.close()
    return Answer(columns=columns, rows=tuple(tuple(row) for row in rows[:most]), is_whole=len(rows) <= most)


def _give_tables(connection: Any, place: Path, sql: str) -> None:
    """The tables that a query names, only with rows of graphs that still count."""
    from pyarrow import dataset

    path = place / "graphs.parquet"
    if not path.is_file():
        raise UsageError(f"{shown_path(place.parent)} has no collection yet; make it: silverstain query FOLDER")
    graphs = read_table(path)
    parts = sorted(set(graphs["part"].to_pylist()))
    connection.register("graphs", graphs.drop_columns(["size", "changed", "part", "model_hash", "dictionary_hash"]))
    for name in [table for table in ("nodes", "edges") if table in sql]:
        files = [place / f"{name}-{part:04d}.parquet" for part in parts]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise UsageError(f"{shown_path(missing[0])} is missing; delete {shown_path(place)}, which is made again")
        connection.register(name, _rows(files).filter(dataset.field("graph").isin(graphs["graph"])))


def _rows(files: Sequence[Path]) -> Any:
    """Rows of some files, of which DuckDB has only the columns and the graphs read that a query needs."""
    from pyarrow import ArrowException, dataset

    for file in files:
        try:
            dataset.dataset(file, format="parquet")  # it reads what is in which place, and no row
        except (ArrowException, OSError) as error:
            raise damaged(file, error) from error
    words = dataset.ParquetReadOptions(dictionary_columns=["unit", "source_unit", "target_unit", "kind", "text"])
    return dataset.dataset(list(files), format=dataset.ParquetFileFormat(read_options=words))


def _check(connection: Any, sql: str) -> None:
    statements: Sequence[Any] = connection.extract_statements(sql)
    kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
    if kinds not in (["SELECT"], ["EXPLAIN"]):
        said = " and ".join(kind.lower() for kind in kinds[:3]) or "nothing"
        raise UsageError(
            f"a query is one SELECT, and this is {printable(said, 80)}; tables are graphs, nodes and edges"
        )
