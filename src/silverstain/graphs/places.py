"""Whether the nodes and numbers of a graph that somebody else wrote can be what they say.

Layers and positions are bounded by what the prompt and any model have, before anything of that size is made.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.kinds import ATTENTION, BIAS, ERROR, FEATURE, LOGIT, NODE_KINDS, TOKEN
from silverstain.graphs.nodes import NodeTable

MOST_LAYERS = 4096
"""No model has a tenth of them."""
LARGEST_NUMBER = torch.finfo(torch.float32).max
"""Sums and squares of numbers up to here are finite in 64 bits."""
FROM_ZERO = {
    FEATURE: ("layer", "position", "feature"),
    ATTENTION: ("layer", "position"),
    ERROR: ("layer", "position"),
    TOKEN: ("position",),
    LOGIT: ("position",),
}
"""Columns that are never -1, by kind."""


def check_places(nodes: NodeTable, *, n_positions: int, n_targets: int) -> None:
    """ValueError unless every node is at a layer and a position that can be, and stands for something of its own.

    `n_targets` is how many targets are told of beside the nodes; 0 if none is.
    """
    if not len(nodes):
        return
    for name in ("layer", "position", "feature", "token"):
        if int(getattr(nodes, name).min()) < -1:
            raise ValueError(f"the {name} of a node is {int(getattr(nodes, name).min())}")
    highest = int(nodes.position.max())
    if highest >= n_positions:
        raise ValueError(f"a node is at position {highest} of a prompt of {n_positions} tokens")
    for kind, columns in FROM_ZERO.items():
        for name in columns:
            column = getattr(nodes, name)[nodes.kind == kind]
            if len(column) and int(column.min()) < 0:
                raise ValueError(f"a node of kind {NODE_KINDS[kind]} has no {name}")
    _check_layers(nodes)
    _check_attention(nodes)
    if not bool((_ascends(nodes) | _may_repeat(nodes)).all()):
        raise ValueError("two nodes stand for the same, or nodes do not stand in their order")
    n_logits = int((nodes.kind == LOGIT).sum())
    if n_targets and n_targets != n_logits:
        raise ValueError(f"{n_targets} targets are named where {n_logits} nodes are targets")


def check_numbers(arrays: Mapping[str, Tensor]) -> None:
    """ValueError for numbers that are not finite or larger than LARGEST_NUMBER; values of targets may be unknown."""
    for name, what in (("values", "an edge"), ("activation", "an activation"), ("influence", "an influence")):
        if len(arrays[name]):
            low, high = (float(end) for end in arrays[name].aminmax())  # either is NaN where any number is
            if not -LARGEST_NUMBER <= low <= high <= LARGEST_NUMBER:
                raise ValueError(f"{what} is not finite, or larger than {LARGEST_NUMBER:.2g}")
            if name == "influence" and low < 0:
                raise ValueError("an influence is negative")
    if bool((arrays["activation"][arrays["kind"] == LOGIT] < 0).any()):
        raise ValueError("the weight of a target is negative")
    known = arrays["values_of_targets"].nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    if bool((known.abs() > LARGEST_NUMBER).any()):
        raise ValueError(f"the value of a target is larger than {LARGEST_NUMBER:.2g}")


def check_masks(graph: GraphArrays) -> None:
    """ValueError unless nodes and edges are both masked, and kept edges end at kept nodes."""
    if (graph.node_mask is None) != (graph.edge_mask is None):
        raise ValueError("only one of node_mask and edge_mask is there")
    if graph.node_mask is None or graph.edge_mask is None:
        return
    sources, rows = graph.indices[graph.edge_mask], graph.edge_rows[graph.edge_mask]
    if not bool(graph.node_mask[sources].all() & graph.node_mask[graph.row_nodes[rows]].all()):
        raise ValueError("an edge is kept and a node at its end is not")


def _check_layers(nodes: NodeTable) -> None:
    top = int(nodes.layer.max())
    if top > MOST_LAYERS:
        raise ValueError(f"a node is at layer {top}; no model has more than {MOST_LAYERS} layers")
    if bool((nodes.layer[nodes.kind == TOKEN] != -1).any()):
        raise ValueError("a token is at a layer")
    is_logit = nodes.kind == LOGIT
    if not bool(is_logit.any()):
        raise ValueError("no node is a target, so the graph explains nothing")
    if bool((nodes.layer[is_logit] != top).any()) or bool((nodes.layer[~is_logit] >= top).any()):
        raise ValueError("targets do not stand above all layers")


def _check_attention(nodes: NodeTable) -> None:
    """Attention reads from no later position; only the rest of attention has neither head nor key."""
    is_attention = nodes.kind == ATTENTION
    if nodes.key is None:
        if bool(is_attention.any()):
            raise ValueError("a node of kind attention has no key")
        return
    if bool((nodes.key[~is_attention] != -1).any()):
        raise ValueError("a node that is no attention has a key")
    key, head = nodes.key[is_attention], nodes.feature[is_attention]
    if bool(((key < 0) != (head < 0)).any()) or bool((key < -1).any()):
        raise ValueError("a node of kind attention has only one of head and key")
    if bool((key > nodes.position[is_attention]).any()):
        raise ValueError("a node of kind attention reads from a later position than its own")


def _ascends(nodes: NodeTable) -> Bool[Tensor, " node"]:
    """Whether each node comes after the one before it by kind, layer, position, feature and key."""
    later = torch.zeros(len(nodes) - 1, dtype=torch.bool)
    same = torch.ones(len(nodes) - 1, dtype=torch.bool)
    keys = () if nodes.key is None else (nodes.key,)
    for column in (nodes.kind, nodes.layer, nodes.position, nodes.feature, *keys):
        step = _steps(column)
        later |= same & (step > 0)
        same &= step == 0
    return torch.cat([torch.ones(1, dtype=torch.bool), later])


def _steps(column: Int[Tensor, " node"]) -> Int[Tensor, " step"]:
    return column.long().diff()


def _may_repeat(nodes: NodeTable) -> Bool[Tensor, " node"]:
    """Biases have an order of their own; targets are told apart by what they are."""
    return (nodes.kind == BIAS) | (nodes.kind == LOGIT)
