"""Graphs as the JSON that circuit-tracer and Neuronpedia write, and `export` here, read as far as it goes.

Such a file has the nodes that pruning kept, no bias nodes, and no values of targets: those are NaN.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.graphs.export import FEATURE_TYPES
from silverstain.graphs.graph import Graph
from silverstain.graphs.nodes import FEATURE, LOGIT, TOKEN, NodeTable
from silverstain.graphs.story import Story, StoryGroup
from silverstain.notation import read_node
from silverstain.storage import broken_file

KINDS = {name: kind for kind, name in FEATURE_TYPES.items()}
ANSWER = re.compile(r'[^"]*"(?P<name>.*)"[^"]*', re.DOTALL)


class _Node(NamedTuple):
    """In the order of `NodeTable`, which sorting follows: by kind, and in it by layer, position and feature."""

    kind: int
    layer: int
    position: int
    feature: int
    rank: int
    """Where it stands in the file: logits keep that order."""
    token: int
    activation: float
    label: str


def read_json_graph(path: str | Path) -> tuple[Graph, Story]:
    """The graph, and its labels, pins and groups as a story; UsageError for a file of another kind."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"metadata", "nodes", "links"} <= content.keys():
        raise UsageError(
            f"{path} is no graph: it lacks metadata, nodes or links; give the JSON of an attribution graph"
        )
    try:
        _refuse_unknown_kinds(path, content["nodes"])
        return _read(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise broken_file(Path(path), ValueError(reason)) from error


def _refuse_unknown_kinds(path: str | Path, nodes: Any) -> None:
    seen = Counter(node.get("feature_type") for node in nodes if isinstance(node, dict))
    unknown = [f"{count} of type {kind!r}" for kind, count in seen.items() if kind not in KINDS]
    if unknown:
        raise UsageError(
            f"{path} has nodes that silverstain has no kind for: {', '.join(unknown)}; "
            f"it reads {', '.join(map(repr, KINDS))}"
        )


def _read(content: Mapping[str, Any]) -> tuple[Graph, Story]:
    if not content["nodes"]:
        raise ValueError("it has no nodes")
    n_layers = _n_layers(content)
    nodes = [_node(node, rank, n_layers) for rank, node in enumerate(content["nodes"])]
    order = sorted(range(len(nodes)), key=lambda at: _sort_key(nodes[at]))
    place = {at: new for new, at in enumerate(order)}
    ranked = [nodes[at] for at in order]
    table = _table(ranked)
    ids = table.ids()
    if len(set(ids)) < len(ids):
        twice = next(node_id for node_id, count in Counter(ids).items() if count > 1)
        raise ValueError(f"two nodes are {twice}")
    sources, targets, weights, n_ambiguous = _links(content, nodes, place)
    graph = _graph(table, sources, targets, weights, _meta(content, ranked, n_ambiguous))
    names = {node["node_id"]: ids[place[at]] for at, node in enumerate(content["nodes"])}
    return graph, _story(graph, content.get("qParams") or {}, ranked, names)


def _n_layers(content: Mapping[str, Any]) -> int:
    """As the file states, or one less than the layer of its logits, or up to its highest node."""
    stated = content["metadata"].get("n_layers")
    if stated is not None:
        return int(stated)
    layers = [int(node["layer"]) for node in content["nodes"] if node["feature_type"] == FEATURE_TYPES[LOGIT]]
    if layers:
        return max(layers) - 1
    return max((int(node["layer"]) for node in content["nodes"] if node["layer"] != "E"), default=-1) + 1


def _node(node: Mapping[str, Any], rank: int, n_layers: int) -> _Node:
    kind = KINDS[node["feature_type"]]
    layer = -1 if kind == TOKEN else n_layers if kind == LOGIT else int(node["layer"])
    weight = node.get("token_prob") if kind == LOGIT else node.get("activation")
    label = str(node.get("clerp") or "")
    answer = ANSWER.fullmatch(label)
    if int(node["ctx_idx"]) < 0:
        raise ValueError(f"the node {node['node_id']!r} is at position {node['ctx_idx']}")
    return _Node(
        kind=kind,
        layer=layer,
        position=int(node["ctx_idx"]),
        feature=_feature_index(node, layer) if kind == FEATURE else -1,
        rank=rank,
        token=_token_id(node, kind),
        activation=_finite(weight or 0.0, "the activation of a node"),
        label=answer["name"] if kind == LOGIT and answer else label,
    )


def _finite(number: Any, what: str) -> float:
    if not math.isfinite(number := float(number)):
        raise ValueError(f"{what} is {number}")
    return number


def _feature_index(node: Mapping[str, Any], layer: int) -> int:
    """Out of the id `layer_feature_position`, or else of the Cantor pair of layer and feature."""
    named = read_node(str(node["node_id"]))
    if named and (named.kind, named.layer, named.position) == ("feature", layer, int(node["ctx_idx"])):
        return named.index
    pair = int(node["feature"])
    diagonal = (math.isqrt(8 * pair + 1) - 1) // 2
    index = pair - diagonal * (diagonal + 1) // 2
    if diagonal - index != layer:
        raise ValueError(
            f"the feature {node['node_id']!r} of layer {layer} has the number {pair}, of layer {diagonal - index}"
        )
    return index


def _token_id(node: Mapping[str, Any], kind: int) -> int:
    if kind == TOKEN:
        named = read_node(str(node["node_id"]))
        return named.index if named and named.kind == "token" else -1
    if kind == LOGIT:
        return -1 if "direction" in str(node["node_id"]) else int(node["feature"])
    return -1


def _sort_key(node: _Node) -> tuple[int, ...]:
    return node[:5] if node.kind != LOGIT else (node.kind, 0, 0, 0, node.rank)


def _table(nodes: Sequence[_Node]) -> NodeTable:
    def column(name: str) -> torch.Tensor:
        return torch.tensor([getattr(node, name) for node in nodes], dtype=torch.int32)

    return NodeTable(
        kind=torch.tensor([node.kind for node in nodes], dtype=torch.int8),
        layer=column("layer"),
        position=column("position"),
        feature=column("feature"),
        token=column("token"),
        activation=torch.tensor([node.activation for node in nodes], dtype=torch.float64),
    )


def _links(
    content: Mapping[str, Any], nodes: Sequence[_Node], place: Mapping[int, int]
) -> tuple[list[int], list[int], list[float], int]:
    """Source, target and weight of each link, and how many could have had another source.

    circuit-tracer names the error of layer ℓ as it names feature ℓ of layer 0 at the same position. Only a feature is
    a target. Of two links from one such name to one target the first is the feature's, as it writes them in that order;
    a single one is the feature's if the error is in no lower layer than the target, and is counted as ambiguous if not.
    """
    by_id: dict[str, list[int]] = {}
    for at, node in enumerate(content["nodes"]):
        by_id.setdefault(node["node_id"], []).append(at)
    for candidates in by_id.values():
        candidates.sort(key=lambda at: nodes[at].kind)  # features before errors
    links = [
        (link["source"], link["target"], _finite(link["weight"], "the weight of a link")) for link in content["links"]
    ]
    times, seen = Counter(link[:2] for link in links), Counter[tuple[str, str]]()
    sources, targets, weights, n_ambiguous = [], [], [], 0
    for source_id, target_id, weight in links:
        if source_id not in by_id or target_id not in by_id:
            raise ValueError(f"a link from {source_id!r} to {target_id!r} names a node that is not there")
        target = by_id[target_id][0]
        candidates = [at for at in by_id[source_id] if nodes[at].layer < nodes[target].layer] or by_id[source_id]
        n_ambiguous += len(candidates) > 1 and times[source_id, target_id] == 1
        source = candidates[min(seen[source_id, target_id], len(candidates) - 1)]
        seen[source_id, target_id] += 1
        sources.append(place[source])
        targets.append(place[target])
        weights.append(weight)
    return sources, targets, weights, n_ambiguous


def _graph(
    table: NodeTable, sources: list[int], targets: list[int], weights: list[float], meta: dict[str, Any]
) -> Graph:
    row_nodes = table.is_kind("feature", "logit").nonzero().flatten()
    at = torch.tensor(targets, dtype=torch.long)
    order = (at * len(table) + torch.tensor(sources, dtype=torch.long)).argsort(stable=True)
    counts = torch.bincount(at, minlength=len(table))
    if int(counts.sum()) != int(counts[row_nodes].sum()):
        raise ValueError("a link ends at a node that is neither a feature nor a logit")
    return Graph(
        nodes=table,
        row_nodes=row_nodes,
        indptr=torch.nn.functional.pad(counts[row_nodes].cumsum(0), (1, 0)),
        indices=torch.tensor(sources, dtype=torch.long)[order],
        values=torch.tensor(weights, dtype=torch.float64)[order],
        values_of_targets=torch.full((len(row_nodes),), float("nan"), dtype=torch.float64),
        meta=meta,
    )


def _meta(content: Mapping[str, Any], nodes: Sequence[_Node], n_ambiguous: int) -> dict[str, Any]:
    metadata = content["metadata"]
    info = metadata.get("info") or {}
    targets = [
        {"kind": "token", "name": node.label, "token": node.label, "id": node.token, "probability": node.activation}
        if node.token >= 0
        else {"kind": "direction", "name": node.label, "weight": node.activation}
        for node in nodes
        if node.kind == LOGIT
    ]
    tokens = {node.position: node.token for node in nodes if node.kind == TOKEN}
    return {
        "prompt": str(metadata.get("prompt", "")),
        "tokens": [str(token) for token in metadata.get("prompt_tokens", ())],
        "token_ids": [tokens.get(position, -1) for position in range(len(metadata.get("prompt_tokens", ())))],
        "targets": targets,
        "model": dict(info.get("model") or {}) or {"name": str(metadata.get("scan", "unknown"))},
        "dictionary": dict(info.get("dictionary") or {}) or {"name": str(metadata.get("scan", "unknown"))},
        "imported": {"from": "json", "pruned_at": metadata.get("node_threshold"), "ambiguous_links": n_ambiguous},
    }


def _story(graph: Graph, q_params: Mapping[str, Any], nodes: Sequence[_Node], names: Mapping[str, str]) -> Story:
    """Pins and groups are lists, or text where circuit-tracer's page has saved them."""
    pins, groups = q_params.get("pinnedIds") or [], q_params.get("supernodes") or []
    pins = pins.split(",") if isinstance(pins, str) else pins
    groups = json.loads(groups) if isinstance(groups, str) else groups
    labels = {i: node.label for i, node in zip(graph.nodes.ids(), nodes, strict=True) if node.kind == FEATURE}
    return Story(
        graph_hash=graph.hash,
        pins=tuple(names[pin] for pin in pins if pin in names),
        groups=tuple(
            StoryGroup(label=str(label), members=tuple(names[member] for member in members if member in names))
            for label, *members in groups
        ),
        labels={node_id: label for node_id, label in labels.items() if label},
    )
