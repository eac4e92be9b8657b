"""SQL over cards, through DuckDB: one table, read-only, and nothing else within reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.features.card_table import CardTable

TABLE = "cards"


@brief
@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a query gives."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    is_cut: bool
    """There would be more rows."""

    def to_json(self) -> dict[str, Any]:
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows], "is_cut": self.is_cut}


def query_cards(cards: CardTable | str | Path, sql: str, *, limit: int = 1000) -> Answer:
    """Ask `cards`, a table of all columns of the cards, in SQL. UsageError for what is no query, and for one that
    would read or write anything else: files, the network, settings and extensions are out of its reach."""
    import duckdb

    table = (cards if isinstance(cards, CardTable) else CardTable.load(cards)).table
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"}) as connection:
        connection.register("given", table)
        connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM given")
        connection.unregister("given")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError(
                    f"a query is one SELECT over the table {TABLE}; this is "
                    + (f"{len(statements)} statements" if len(statements) != 1 else "something else")
                )
            found = connection.execute(statements[0])
            rows = found.fetchmany(limit + 1)
            columns = tuple(column[0] for column in found.description or ())
        except duckdb.Error as error:
            lines = str(error).splitlines()
            raise UsageError(
                f"the query cannot be answered: {lines[0] if lines else error}; see DESCRIBE {TABLE}"
            ) from error
    return Answer(columns=columns, rows=rows[:limit], is_cut=len(rows) > limit)
