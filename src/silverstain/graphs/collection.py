"""A folder of graphs as one data set: tables of graphs, nodes and edges in Parquet, asked in SQL.

    graphs   graph, file, prompt, model, dictionary, answer, probability, replacement
    nodes    graph, id, unit (L3.F1501, empty for what is no unit), kind, layer, position, from_end, feature, token,
             text, activation, share (of the graph's influence), effect (what it adds to the answer, signed)
    edges    graph, source, target (ids), source_unit, target_unit, weight, share (of the target's input, signed)

Edges that give less than `SMALLEST` of their target's input are left out. Only new and changed files are read again:
each call adds one part, and the table of graphs says which rows of which part still count. All graphs of a collection
are of one model and dictionary, as equal numbers of features mean nothing else; others are named and left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.influence import signed_shares
from silverstain.graphs.merging import basis_of
from silverstain.graphs.opening import open_graph
from silverstain.graphs.scores import scores
from silverstain.graphs.signs import contributions
from silverstain.notation import name_of_id
from silverstain.parts import shown_path
from silverstain.printable import printable

if TYPE_CHECKING:
    import pyarrow

FOLDER = "collection"
"""Where the tables of a folder of graphs are: `graphs/collection/graphs.parquet`, `nodes-0001.parquet` …"""
SUFFIXES = (".safetensors", ".pt", ".json")
OURS = (".story.json", ".before.json")
SMALLEST = 0.01
TABLES = ("graphs", "nodes", "edges")


@brief
@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that is in no table, and why."""

    file: str
    reason: str


@brief
@dataclass(frozen=True, kw_only=True)
class Collected:
    """What a call found and did."""

    graphs: int
    """In the collection now."""
    added: int
    removed: int
    left_out: tuple[LeftOut, ...]


def collect(folder: str | Path, *, on_progress: Callable[[int, int], None] | None = None) -> Collected:
    """Bring the tables of a folder of graphs up to date; UsageError for a folder without any graph that can be read.

    A damaged file, and one of another basis than the first, is named in `left_out`; the others are taken.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{shown_path(folder)} is no folder; give one with graph files")
    known = {row["file"]: row for row in _known(folder)}
    files = [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and not p.name.endswith(OURS) and p.is_file()]
    stamps = {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
    kept = [row for name, row in known.items() if stamps.get(name) == (row["size"], row["changed"])]
    fresh = [path for path in files if path.name not in {row["file"] for row in kept}]
    next_id = max((row["graph"] for row in known.values()), default=-1) + 1
    part = max((row["part"] for row in known.values()), default=0) + 1
    basis = (kept[0]["model_hash"], kept[0]["dictionary_hash"], kept[0]["is_contrast"]) if kept else None
    rows, nodes, edges, left = [], [], [], []
    for i, path in enumerate(fresh):
        try:
            graph = open_graph(path)[0]
        except (UsageError, ValueError) as error:
            left.append(LeftOut(file=printable(path.name, 120), reason=printable(str(error), 300)))
            continue
        basis = basis or basis_of(graph.meta)
        if basis_of(graph.meta) != basis:
            left.append(LeftOut(file=printable(path.name, 120), reason=_of_another_basis(graph)))
            continue
        size, changed = stamps[path.name]
        rows.append(_graph_row(graph, next_id, path.name, size, changed, part, basis))
        nodes.append(_node_table(graph, next_id))
        edges.append(_edge_table(graph, next_id))
        next_id += 1
        if on_progress is not None:
            on_progress(i + 1, len(fresh))
    if not kept and not rows:
        said = f"; {left[0].file}: {left[0].reason}" if left else ""
        raise UsageError(f"{shown_path(folder)} has no graph that can be read{said}")
    if rows or len(kept) != len(known):
        _write(folder, [*kept, *rows], nodes, edges, part)
    return Collected(
        graphs=len(kept) + len(rows), added=len(rows), removed=len(known) - len(kept), left_out=tuple(left)
    )


def _of_another_basis(graph: Graph) -> str:
    names = [str((graph.meta.get(what) or {}).get("name") or "?") for what in ("model", "dictionary")]
    kind = "a contrast of " if graph.meta.get("contrast") else ""
    return printable(f"it is {kind}{names[0]} read in {names[1]}, and the collection is of another basis", 300)


def _known(folder: Path) -> list[dict[str, Any]]:
    path = folder / FOLDER / "graphs.parquet"
    if not path.is_file():
        return []
    return read_table(path).to_pylist()


def read_table(path: Path) -> "pyarrow.Table":
    """A table of a collection; UsageError for a damaged one."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UsageError:
    """What is said of a file of a collection that cannot be read."""
    return UsageError(
        f"{shown_path(path)} is damaged: {printable(str(error), 120)}; delete {shown_path(path.parent)}, which is made "
        "again"
    )


def _write(folder: Path, rows: Sequence[Any], nodes: Sequence[Any], edges: Sequence[Any], part: int) -> None:
    """The parts first, so that the table of graphs never names one that is not there."""
    import pyarrow

    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    for name, tables in (("nodes", nodes), ("edges", edges)):
        if tables:
            _write_whole(pyarrow.concat_tables(tables).combine_chunks(), place / f"{name}-{part:04d}.parquet")
    _write_whole(pyarrow.Table.from_pylist(list(rows)), place / "graphs.parquet")
    live = {row["part"] for row in rows}
    for path in place.glob("*-*.parquet"):
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and int(number) not in live:
            path.unlink()


def _write_whole(table: "pyarrow.Table", path: Path) -> None:
    import io

    import pyarrow.parquet

    from silverstain.storage import write_bytes_whole

    sheet = io.BytesIO()
    pyarrow.parquet.write_table(table, sheet, compression="zstd")
    write_bytes_whole(path, sheet.getvalue())


def _graph_row(
    graph: Graph, number: int, name: str, size: int, changed: int, part: int, basis: tuple[str, str, bool]
) -> dict[str, Any]:
    named = {what: str((graph.meta.get(what) or {}).get("name") or "") for what in ("model", "dictionary")}
    known = [p for p in graph.target_probabilities if p is not None]
    return {
        "graph": number, "file": name, "prompt": str(graph.meta.get("prompt") or ""), **named,
        "answer": graph.target_names[0] if graph.target_names else "", "probability": known[0] if known else None,
        "replacement": scores(graph).replacement, "size": size, "changed": changed, "part": part,
        "model_hash": basis[0], "dictionary_hash": basis[1], "is_contrast": basis[2],
    }  # fmt: skip


def _units(graph: Graph, ids: Sequence[str]) -> list[str]:
    """What each unit is called at every position: L3.F1501, L3.H2; empty for what is none."""
    is_unit = graph.nodes.is_unit.tolist()
    return [name_of_id(name).partition("@")[0] if unit else "" for name, unit in zip(ids, is_unit, strict=True)]


def _node_table(graph: Graph, number: int) -> "pyarrow.Table":
    import pyarrow

    nodes, ids = graph.nodes, graph.nodes.ids()
    reached = graph.influence()
    share = reached / reached.sum().clamp_min(torch.finfo(reached.dtype).tiny)
    tokens = [str(token) for token in graph.meta.get("tokens") or ()]
    position = nodes.position.tolist()
    last = max(position, default=0)
    texts = [tokens[at] if 0 <= at < len(tokens) else "" for at in position]
    texts[nodes.span("logit")] = graph.target_names
    columns: dict[str, Any] = {
        "graph": pyarrow.array([number] * len(ids), pyarrow.int32()), "id": ids, "unit": _units(graph, ids),
        "kind": nodes.kinds, "layer": nodes.layer.numpy(), "position": nodes.position.numpy(),
        "from_end": [last - at if at >= 0 else -1 for at in position], "feature": nodes.feature.numpy(),
        "token": nodes.token.numpy(), "text": texts, "activation": nodes.activation.float().numpy(),
        "share": share.numpy(), "effect": contributions(graph).numpy(),
    }  # fmt: skip
    return pyarrow.table(columns)


def _edge_table(graph: Graph, number: int) -> "pyarrow.Table":
    import pyarrow

    ids = graph.nodes.ids()
    units = _units(graph, ids)
    shares = signed_shares(graph)
    strong = (shares.abs() >= SMALLEST).nonzero().flatten()
    source, target = graph.indices[strong].tolist(), graph.targets[strong].tolist()
    columns: dict[str, Any] = {
        "graph": pyarrow.array([number] * len(strong), pyarrow.int32()),
        "source": pyarrow.array([ids[s] for s in source], pyarrow.string()),
        "target": pyarrow.array([ids[t] for t in target], pyarrow.string()),
        "source_unit": pyarrow.array([units[s] for s in source], pyarrow.string()),
        "target_unit": pyarrow.array([units[t] for t in target], pyarrow.string()),
        "weight": graph.values[strong].float().numpy(), "share": shares[strong].numpy(),
    }  # fmt: skip
    return pyarrow.table(columns)
