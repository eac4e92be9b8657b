"""The native graph file: one safetensors of arrays, and the rest as JSON in its header.

Integers are stored in 32 bits where they fit, so that a browser can map the same bytes into typed arrays (safetensors
aligns them). `hash` in the header names what was traced; `checksum` covers all that the file holds. A checksum says
that nothing was damaged, and not who wrote it: what is read is checked as far as anything counts on it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.graphs.arrays import AnyGraph, GraphArrays, checksum
from silverstain.graphs.kinds import FILE_KINDS, kinds_of_codes
from silverstain.graphs.meta import read_meta, token_names, writable_meta
from silverstain.graphs.nodes import NodeTable
from silverstain.graphs.places import check_masks, check_numbers, check_places
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.storage import read_tensors, save_tensors_whole

FORMAT = "silverstain.graph/1"
COLUMNS = ("kind", "layer", "position", "feature", "token", "activation", "key", "influence")
INTEGER, FLOAT = {torch.int32, torch.int64}, {torch.float32, torch.float64}
ARRAYS = {  # what a file may hold, and along which axis
    "kind": ({torch.int8}, "node"),
    **dict.fromkeys(("layer", "position", "feature", "token", "key"), ({torch.int32}, "node")),
    **dict.fromkeys(("activation", "influence"), (FLOAT, "node")),
    "row_nodes": (INTEGER, "row"),
    "indptr": (INTEGER, "row + 1"),
    "indices": (INTEGER, "edge"),
    "values": (FLOAT, "edge"),
    "values_of_targets": (FLOAT, "row"),
    "node_mask": ({torch.bool}, "node"),
    "edge_mask": ({torch.bool}, "edge"),
}
OPTIONAL = {"node_mask", "edge_mask", "key"}
"""`key` is there where there are nodes of attention."""


def save_graph(graph: GraphArrays, path: str | Path) -> None:
    """Write the graph, whole or not at all; UsageError if the folder cannot be written or no file can hold its meta."""
    meta = writable_meta(graph.meta)
    masks = {"node_mask": graph.node_mask, "edge_mask": graph.edge_mask}
    arrays = graph.traced() | {name: mask for name, mask in masks.items() if mask is not None}
    header = {"format": FORMAT, "hash": graph.hash, "checksum": checksum(arrays, meta), "meta": meta}
    save_tensors_whole(path, arrays, header)


def load_graph(path: str | Path, kind: type[AnyGraph]) -> AnyGraph:
    """Read a graph as a value of class `kind`; UsageError names the file if it is missing, foreign or altered."""
    path = Path(path)
    arrays, header = read_tensors(path)
    if header.get("format") != FORMAT:
        seen = repr(printable(header["format"], 40)) if "format" in header else None
        raise UsageError(
            f"{shown_path(path)} is not a {FORMAT} file: its format is {seen}; write one: silverstain trace PROMPT"
        )
    if header.get("checksum") != checksum(arrays, header.get("meta", "")):
        raise _damaged(path, "its content does not match its checksum")
    meta = read_meta(path, header.get("meta", ""))
    try:
        _check_arrays(arrays)
        arrays = {**arrays, "kind": kinds_of_codes(arrays["kind"])}
        nodes = NodeTable(**{name: arrays[name] for name in COLUMNS if name in arrays})
        if "tokens" not in meta and bool(nodes.is_kind("token").any()):
            meta["tokens"] = token_names(nodes.token[nodes.is_kind("token")].tolist())
        check_places(nodes, n_positions=len(meta.get("tokens", ())), n_targets=len(meta.get("targets", ())))
        check_numbers(arrays)
        graph = kind(
            nodes=nodes,
            row_nodes=arrays["row_nodes"].long(),
            indptr=arrays["indptr"].long(),
            indices=arrays["indices"],
            values=arrays["values"],
            values_of_targets=arrays["values_of_targets"],
            node_mask=arrays.get("node_mask"),
            edge_mask=arrays.get("edge_mask"),
            meta=meta,
        )
        check_masks(graph)
        return graph
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _check_arrays(tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless all arrays are there, of known types and of lengths that fit."""
    missing = ARRAYS.keys() - OPTIONAL - tensors.keys()
    if missing:
        raise ValueError(f"the arrays {', '.join(sorted(missing))} are missing")
    rows = tensors["row_nodes"].numel()
    lengths = {"node": tensors["kind"].numel(), "row": rows, "row + 1": rows + 1, "edge": tensors["values"].numel()}
    for name, tensor in tensors.items():
        if name not in ARRAYS:
            continue
        dtypes, axis = ARRAYS[name]
        if tensor.dtype not in dtypes or tuple(tensor.shape) != (lengths[axis],):
            seen = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise ValueError(f"the array {name!r} is {seen}, one entry a {axis} was expected ({lengths[axis]})")
    kind = tensors["kind"]
    if len(kind) and not 0 <= int(kind.min()) <= int(kind.max()) < len(FILE_KINDS):
        raise ValueError("a node is of no known kind")


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"cannot read {shown_path(path)}: {printable(reason, 300)}; the file may be corrupt or cut short, trace the "
        "prompt again"
    )
