"""The nodes of a graph as CSV, for spreadsheets and scripts."""

import csv
from io import StringIO
from typing import Any

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.story import Story
from silverstain.graphs.summary import node_columns
from silverstain.printable import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is run by spreadsheets."""


def nodes_csv(graph: GraphArrays, story: Story | None = None) -> str:
    """A line a node, with `kept` after pruning. Texts are fit to be shown; one that a spreadsheet would run as a
    formula has an apostrophe before it."""
    columns = node_columns(graph, story)
    if graph.node_mask is not None:
        columns["kept"] = [int(kept) for kept in graph.node_mask.tolist()]
    sheet = StringIO()
    writer = csv.writer(sheet)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    return sheet.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
