"""The native graph file: one safetensors of arrays, and the rest as JSON in its header.

Integers are stored in 32 bits where they fit, so that a browser can map the same bytes into typed arrays (safetensors
aligns them). `hash` in the header names what was traced; `checksum` covers all that the file holds.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.nodes import NODE_KINDS, NodeTable
from silverstain.storage import hash_tensors, read_tensors, save_tensors_whole

FORMAT = "silverstain.graph/1"
COLUMNS = ("kind", "layer", "position", "feature", "token", "activation", "influence")
WHOLE_NUMBERS = ("row_nodes", "indptr", "indices")
INTEGER, FLOAT = {torch.int32, torch.int64}, {torch.float32, torch.float64}
ARRAYS = {  # what a file may hold, and along which axis
    "kind": ({torch.int8}, "node"),
    **dict.fromkeys(("layer", "position", "feature", "token"), ({torch.int32}, "node")),
    **dict.fromkeys(("activation", "influence"), (FLOAT, "node")),
    "row_nodes": (INTEGER, "row"),
    "indptr": (INTEGER, "row + 1"),
    "indices": (INTEGER, "edge"),
    "values": (FLOAT, "edge"),
    "values_of_targets": (FLOAT, "row"),
    "node_mask": ({torch.bool}, "node"),
    "edge_mask": ({torch.bool}, "edge"),
}
OPTIONAL = {"node_mask", "edge_mask"}


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write the graph, whole or not at all; UsageError if the folder cannot be written."""
    tensors = _tensors(graph)
    meta = json.dumps(dict(graph.meta), ensure_ascii=False, allow_nan=False)
    header = {"format": FORMAT, "hash": graph.hash, "checksum": _checksum(tensors, meta), "meta": meta}
    save_tensors_whole(path, tensors, header)


def load_graph(path: str | Path) -> Graph:
    """Read a graph; UsageError names the file if it is missing, foreign, cut short or altered."""
    tensors, header = read_tensors(path)
    if header.get("format") != FORMAT:
        seen = header.get("format")
        raise UsageError(f"{path} is not a {FORMAT} file: its format is {seen!r}; write one: silverstain trace PROMPT")
    if header.get("checksum") != _checksum(tensors, header.get("meta", "")):
        raise _damaged(path, "its content does not match its checksum")
    try:
        return _graph(tensors, json.loads(header.get("meta", "")))
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def hash_of(graph: Graph) -> str:
    """Hash of nodes, edges and the prompt, model and dictionary named in `meta`; masks and settings do not count."""
    tensors = _tensors(replace(graph, node_mask=None, edge_mask=None))
    identity = {key: graph.meta.get(key) for key in ("token_ids", "model", "dictionary")}
    return _checksum(tensors, json.dumps(identity, sort_keys=True))


def _tensors(graph: Graph) -> dict[str, Tensor]:
    columns = {name: getattr(graph.nodes, name) for name in COLUMNS}
    arrays = {name: _narrow(getattr(graph, name)) for name in WHOLE_NUMBERS}
    masks = {"node_mask": graph.node_mask, "edge_mask": graph.edge_mask}
    tensors = {
        **columns,
        **arrays,
        "values": graph.values,
        "values_of_targets": graph.values_of_targets,
        **{name: mask for name, mask in masks.items() if mask is not None},
    }
    # browsers have no arrays of bfloat16
    return {name: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t for name, t in tensors.items()}


def _graph(tensors: Mapping[str, Tensor], meta: dict[str, Any]) -> Graph:
    _check_arrays(tensors)
    columns = {name: tensors[name] for name in COLUMNS}
    return Graph(
        nodes=NodeTable(**columns),
        row_nodes=tensors["row_nodes"].long(),
        indptr=tensors["indptr"].long(),
        indices=tensors["indices"],
        values=tensors["values"],
        values_of_targets=tensors["values_of_targets"],
        node_mask=tensors.get("node_mask"),
        edge_mask=tensors.get("edge_mask"),
        meta=meta,
    )


def _check_arrays(tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless all arrays are there, of known types and of lengths that fit."""
    missing = ARRAYS.keys() - OPTIONAL - tensors.keys()
    if missing:
        raise ValueError(f"the arrays {', '.join(sorted(missing))} are missing")
    rows = len(tensors["row_nodes"])
    lengths = {"node": len(tensors["kind"]), "row": rows, "row + 1": rows + 1, "edge": len(tensors["values"])}
    for name, tensor in tensors.items():
        if name not in ARRAYS:
            continue
        dtypes, axis = ARRAYS[name]
        if tensor.dtype not in dtypes or tuple(tensor.shape) != (lengths[axis],):
            seen = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise ValueError(f"the array {name!r} is {seen}, one entry a {axis} was expected ({lengths[axis]})")
    kind = tensors["kind"]
    if len(kind) and not 0 <= int(kind.min()) <= int(kind.max()) < len(NODE_KINDS):
        raise ValueError("a node is of no known kind")


def _narrow(numbers: Tensor) -> Tensor:
    fits = not len(numbers) or int(numbers.max()) <= torch.iinfo(torch.int32).max
    return numbers.to(torch.int32) if fits else numbers


def _checksum(tensors: Mapping[str, Tensor], meta: str) -> str:
    return hashlib.sha256((hash_tensors(tensors) + meta).encode()).hexdigest()[:16]


def _damaged(path: str | Path, reason: str) -> UsageError:
    return UsageError(f"cannot read {path}: {reason}; the file may be corrupt or cut short, trace the prompt again")
