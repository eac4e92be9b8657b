"""Graphs of circuit-tracer: `.pt` files, read without running anything that is in them.

Such a file is a pickle, and a pickle may name any function to be called while it is read. torch reads it with an
unpickler that builds tensors and plain containers only; beside those, two classes of circuit-tracer are known here, by
stand-ins that hold values and do nothing. Any other class or function is refused, and the error names it.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from silverstain.errors import UsageError, is_out_of_memory
from silverstain.graphs.graph import Graph
from silverstain.graphs.nodes import BIAS, NodeLayout, NodeTable, node_table
from silverstain.storage import broken_file, check_is_file


class LogitTarget(NamedTuple):
    """Stands in for circuit-tracer's class of this name."""

    token_str: str
    vocab_idx: int


class Config:
    """Stands in for the settings of a model: holds what is read into it."""


KNOWN = {
    "circuit_tracer.attribution.targets.LogitTarget": LogitTarget,
    "circuit_tracer.utils.tl_nnsight_mapping.UnifiedConfig": Config,
    # what graphs before version 0.4 hold in its place
    "transformer_lens.HookedTransformerConfig.HookedTransformerConfig": Config,
    "transformer_lens.config.HookedTransformerConfig.HookedTransformerConfig": Config,
}
REFUSED = re.compile(r"GLOBAL (\S+)")  # how torch names what it refuses to call
TENSORS = (
    "input_tokens", "adjacency_matrix", "active_features", "activation_values", "selected_features",
    "logit_probabilities",
)  # fmt: skip


def read_torch_graph(path: str | Path) -> Graph:
    """A circuit-tracer graph; UsageError if it is none, is damaged, or would run code.

    Its rows have no bias nodes and do not add up to the targets' values, which it does not say: they are NaN. Leading
    positions without features and errors, which it leaves out of its graphs, have no error nodes here.
    """
    path = Path(path)
    check_is_file(path)
    content = _load(path)
    if not isinstance(content, Mapping) or not {*TENSORS, "logit_targets", "cfg"} <= content.keys():
        raise UsageError(f"{path} is no graph of circuit-tracer: it holds other things; give a file its `to_pt` wrote")
    try:
        return _graph(content)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError) as error:
        raise broken_file(path, error) from error


def _load(path: Path) -> Any:
    try:
        with (
            torch.serialization.safe_globals([(stand_in, name) for name, stand_in in KNOWN.items()]),
            warnings.catch_warnings(action="ignore", category=UserWarning),  # about the version of the pickle
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        if is_out_of_memory(error):
            raise
        refused = REFUSED.search(str(error))
        if refused is None:
            reason = re.split(r"[\n.]", str(error).strip())[0]
            raise broken_file(path, ValueError(reason or type(error).__name__)) from error
        raise UsageError(
            f"{path} was not read: it would run {refused[1]} while it is read, which no graph needs; "
            "ask for the graph as JSON"
        ) from error


def _graph(content: Mapping[str, Any]) -> Graph:
    tensors: dict[str, Tensor] = {name: content[name] for name in TENSORS}
    selected, order = _in_our_order(tensors["active_features"], tensors["selected_features"])
    chosen = tensors["active_features"][selected].long()
    n_layers, n_positions = int(content["cfg"].n_layers), len(tensors["input_tokens"])
    targets = _targets(content["logit_targets"])
    _check_within(chosen[:, 0], n_layers, "layer")
    _check_within(chosen[:, 1], n_positions, "position")
    adjacency = tensors["adjacency_matrix"]
    if not bool(adjacency.isfinite().all()):
        raise ValueError("an edge is NaN or infinite")
    size = len(chosen) + n_layers * n_positions + n_positions + len(targets)
    if tuple(adjacency.shape) != (size, size):
        raise ValueError(f"its matrix is {list(adjacency.shape)} where its nodes are {size}")

    errors = adjacency[:, len(chosen) : len(chosen) + n_layers * n_positions].any(dim=0).view(n_layers, n_positions)
    n_real = _n_empty_leading(~errors.any(dim=0), chosen[:, 1])
    layout = NodeLayout(
        n_features=len(chosen), n_layers=n_layers, n_positions=n_positions, n_logits=len(targets), n_real=n_real
    )
    nodes = node_table(
        layout,
        layer=chosen[:, 0],
        position=chosen[:, 1],
        feature=chosen[:, 2],
        activation=tensors["activation_values"][selected].float(),
        token_ids=tensors["input_tokens"],
        target_ids=[target.vocab_idx if target.vocab_idx < int(content["vocab_size"]) else -1 for target in targets],
        target_probabilities=tensors["logit_probabilities"],
        target_position=n_positions - 1,
    )
    nodes = without_biases(nodes)
    # in the file: features, errors by (layer, position), tokens, logits; ours lacks errors of empty leading positions
    kept_errors = torch.arange(n_layers * n_positions).view(n_layers, n_positions)[:, n_real:].flatten()
    in_file = torch.cat([order, len(chosen) + kept_errors, torch.arange(len(chosen) + n_layers * n_positions, size)])
    row_nodes = (nodes.is_kind("feature", "logit")).nonzero().flatten()
    return Graph.from_rows(
        nodes=nodes,
        row_nodes=row_nodes,
        rows=adjacency[in_file[row_nodes]][:, in_file].float(),
        values_of_targets=torch.full((len(row_nodes),), float("nan")),
        meta=_meta(content, targets, nodes),
    )


def _check_within(numbers: Tensor, size: int, what: str) -> None:
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < size:
        raise ValueError(f"a feature is at a {what} outside the {size} there are")


def _in_our_order(active: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """The selected features by (layer, position, feature), and which of those selected each is."""
    places = [tuple(place) for place in active[selected].tolist()]
    order = torch.tensor(sorted(range(len(places)), key=places.__getitem__), dtype=torch.long)
    return selected[order], order


def _targets(targets: Any) -> list[LogitTarget]:
    """Early versions kept the ids alone, as a tensor."""
    if isinstance(targets, Tensor):
        return [LogitTarget("", int(token)) for token in targets.tolist()]
    return [LogitTarget(str(target[0]), int(target[1])) for target in targets]


def _n_empty_leading(is_empty: Tensor, positions: Tensor) -> int:
    """How many of the first positions have neither features nor errors."""
    empty = is_empty.clone()
    empty[positions] = False
    return int(empty.long().cumprod(0).sum())


def _meta(content: Mapping[str, Any], targets: list[LogitTarget], nodes: NodeTable) -> dict[str, Any]:
    tokens = content["input_tokens"].tolist()
    weights = nodes.activation[nodes.span("logit")].tolist()
    ids = nodes.token[nodes.span("logit")].tolist()
    config = content["cfg"]
    return {
        "prompt": str(content.get("input_string", "")),
        "tokens": [f"#{token}" for token in tokens],  # the file has no texts of tokens
        "token_ids": tokens,
        "targets": [
            {"kind": "token", "name": target.token_str or f"#{token}", "token": target.token_str, "id": token,
             "probability": weight}
            if token >= 0
            else {"kind": "direction", "name": target.token_str or "direction", "weight": weight}
            for target, token, weight in zip(targets, ids, weights, strict=True)
        ],
        "model": {"name": str(getattr(config, "model_name", None) or getattr(config, "tokenizer_name", "unknown"))},
        "dictionary": {"name": str(content.get("scan") or "unknown")},
        "active_features": len(content["active_features"]),
        "imported": {"from": "circuit-tracer .pt"},
    }  # fmt: skip


def without_biases(nodes: NodeTable) -> NodeTable:
    """The table of a tool that has no bias nodes."""
    kept = nodes.kind != BIAS
    columns = ("kind", "layer", "position", "feature", "token", "activation")
    return NodeTable(**{name: getattr(nodes, name)[kept] for name in columns})
