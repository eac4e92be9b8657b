"""Graphs as the JSON that circuit-tracer and Neuronpedia write, and `export` here, read as far as it goes.

Such a file has the nodes that pruning kept, no bias nodes, and no values of targets: those are NaN.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from silverstain.documents import parsed_json, read_json
from silverstain.errors import UsageError
from silverstain.graphs.graph import Graph
from silverstain.graphs.json_nodes import JsonNode, read_nodes
from silverstain.graphs.json_schema import GraphFile, GroupsFile, LinkFile, LinksFile, MetadataFile, QParamsFile
from silverstain.graphs.kinds import ATTENTION, BIAS, FEATURE, LOGIT, TOKEN
from silverstain.graphs.meta import token_names
from silverstain.graphs.naming import attention_in_words
from silverstain.graphs.nodes import NodeTable
from silverstain.graphs.places import LARGEST_NUMBER, check_places
from silverstain.graphs.story import Story, StoryGroup
from silverstain.printable import printable
from silverstain.storage import broken_file
from silverstain.validation import validated

MOST_BYTES = 256 << 20
"""Published graphs have about a megabyte, 600,000 links take 52 MB; reading takes some ten times as much memory."""
LINKS_AT_ONCE = 10_000


def read_json_graph(path: str | Path) -> tuple[Graph, Story]:
    """The graph, and its labels, pins and groups as a story; UsageError for a file of another kind."""
    path = Path(path)
    content = read_json(path, most_bytes=MOST_BYTES)
    missing = sorted({"metadata", "nodes", "links"} - content.keys()) if isinstance(content, dict) else ["an object"]
    if missing:
        raise UsageError(
            f"{printable(str(path), 200)} is no graph: it lacks metadata, nodes or links ({', '.join(missing)}); give "
            "the JSON of an attribution graph"
        )
    file = validated(GraphFile, content, path)
    try:
        return _read(path, file)
    except (ValueError, RuntimeError) as error:
        raise broken_file(path, error) from error


def _read(path: Path, file: GraphFile) -> tuple[Graph, Story]:
    nodes = read_nodes(path, file)
    order = sorted(range(len(nodes)), key=lambda at: nodes[at].sort_key)
    place = {at: new for new, at in enumerate(order)}
    ranked = [nodes[at] for at in order]
    table = _table(ranked)
    ids = table.ids()
    _refuse_twice(ids)
    edges, n_ambiguous = _edges(path, file, nodes, place)
    meta = _meta(file.metadata, ranked, n_ambiguous)
    check_places(table, n_positions=len(meta["tokens"]), n_targets=len(meta["targets"]))
    graph = _graph(table, edges, meta)
    names = {node.node_id: ids[place[at]] for at, node in enumerate(nodes)}
    return graph, _story(path, graph, file.qParams or QParamsFile(), ranked, names)


def _refuse_twice(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for node_id in ids:
        if node_id in seen:
            raise ValueError(f"two nodes are {printable(node_id, 60)}")
        seen.add(node_id)


def _table(nodes: Sequence[JsonNode]) -> NodeTable:
    def column(name: str) -> torch.Tensor:
        return torch.tensor([getattr(node, name) for node in nodes], dtype=torch.int32)

    has_attention = any(node.kind == ATTENTION for node in nodes)
    return NodeTable(
        key=column("key") if has_attention else None,
        kind=torch.tensor([node.kind for node in nodes], dtype=torch.int8),
        layer=column("layer"),
        position=column("position"),
        feature=column("feature"),
        token=column("token"),
        activation=torch.tensor([node.activation for node in nodes], dtype=torch.float64),
    )


def _edges(
    path: Path, file: GraphFile, nodes: Sequence[JsonNode], place: dict[int, int]
) -> tuple[dict[tuple[int, int], float], int]:
    """The weight of each (target, source), and how many links could have had another source.

    circuit-tracer names the error of layer ℓ as it names feature ℓ of layer 0 at the same position. Only a feature is
    a target. Of two links from one such name to one target the first is the feature's, as it writes them in that order;
    a single one is the feature's if the error is in no lower layer than the target, and is counted as ambiguous if not.
    Further links between the same two add up.
    """
    by_id: dict[str, list[int]] = {}
    for at, node in enumerate(nodes):
        by_id.setdefault(node.node_id, []).append(at)
    for candidates in by_id.values():
        candidates.sort(key=lambda at: nodes[at].kind)  # features before errors
    edges: dict[tuple[int, int], float] = {}
    times: dict[tuple[str, str], int] = {}  # of links whose source may be either of two
    for link in _links(path, file):
        if link.source not in by_id or link.target not in by_id:
            raise ValueError(f"a link {_ends(link)} names a node that is not there")
        target = by_id[link.target][0]
        if not nodes[target].is_target:
            raise ValueError(f"a link {_ends(link)} ends at a node that is neither a feature nor a logit")
        candidates = [at for at in by_id[link.source] if nodes[at].depth < nodes[target].depth]
        if not candidates:
            raise ValueError(f"the link {_ends(link)} does not run from a lower layer to a higher one")
        seen = times.get((link.source, link.target), 0)
        if len(candidates) > 1:
            times[link.source, link.target] = seen + 1
        edge = place[target], place[candidates[min(seen, len(candidates) - 1)]]
        edges[edge] = edges.get(edge, 0.0) + link.weight
        if abs(edges[edge]) > LARGEST_NUMBER:
            raise ValueError(f"the weight of the link {_ends(link)} is larger than {LARGEST_NUMBER:.2g}")
    return edges, sum(count == 1 for count in times.values())


def _links(path: Path, file: GraphFile) -> Iterator[LinkFile]:
    for first in range(0, len(file.links), LINKS_AT_ONCE):
        yield from validated(LinksFile, {"links": file.links[first : first + LINKS_AT_ONCE]}, path).links


def _ends(link: LinkFile) -> str:
    return f"from {printable(link.source, 60)!r} to {printable(link.target, 60)!r}"


def _graph(table: NodeTable, edges: dict[tuple[int, int], float], meta: dict[str, Any]) -> Graph:
    row_nodes = (table.is_unit | table.is_kind("logit")).nonzero().flatten()
    ends = torch.tensor(list(edges), dtype=torch.long).reshape(-1, 2)
    order = (ends[:, 0] * len(table) + ends[:, 1]).argsort()
    counts = torch.bincount(ends[:, 0], minlength=len(table))
    return Graph(
        nodes=table,
        row_nodes=row_nodes,
        indptr=torch.nn.functional.pad(counts[row_nodes].cumsum(0), (1, 0)),
        indices=ends[order, 1],
        values=torch.tensor(list(edges.values()), dtype=torch.float64)[order],
        values_of_targets=torch.full((len(row_nodes),), float("nan"), dtype=torch.float64),
        meta=meta,
    )


def _meta(metadata: MetadataFile, nodes: Sequence[JsonNode], n_ambiguous: int) -> dict[str, Any]:
    tokens, token_ids = _tokens(metadata, nodes)
    scan = metadata.scan if isinstance(metadata.scan, str) else ", ".join(metadata.scan or ())
    imported: dict[str, Any] = {
        "from": "json", "pruned_at": metadata.node_threshold, "ambiguous_links": n_ambiguous,
    }  # fmt: skip
    if metadata.replacement_score is not None:
        stated = {"replacement": metadata.replacement_score, "completeness_all_rows": metadata.completeness_score}
        imported["scores"] = stated
    return {
        "prompt": metadata.prompt or "",
        "tokens": tokens,
        "token_ids": token_ids,
        "targets": [_target(node) for node in nodes if node.kind == LOGIT],
        **{what: _named(metadata, what, scan) for what in ("model", "dictionary")},
        "imported": imported,
        **_of_contrast(metadata),
    }


def _of_contrast(metadata: MetadataFile) -> dict[str, Any]:
    said = metadata.info
    if said is None:
        return {}
    contrast = {} if said.contrast is None else {"contrast": said.contrast.model_dump()}
    return {**contrast, **({"rest": True} if said.rest else {})}


def _target(node: JsonNode) -> dict[str, Any]:
    name = node.label or (f"#{node.token}" if node.token >= 0 else "?")
    if node.is_direction:
        return {"kind": "direction", "name": name, "weight": node.activation}
    known = {"id": node.token} if node.token >= 0 else {}
    return {"kind": "token", "name": name, "token": name, **known, "probability": node.activation}


def _tokens(metadata: MetadataFile, nodes: Sequence[JsonNode]) -> tuple[list[str], list[int]]:
    """The prompt's tokens and their ids, -1 where they are not known.

    A file that does not list its tokens has them in the labels of its embeddings; there must be one at every position.
    """
    embeddings = {node.position: node for node in nodes if node.kind == TOKEN}
    tokens, highest = list(metadata.prompt_tokens or ()), max(node.position for node in nodes)
    if not tokens:
        missing = next((at for at in range(len(nodes) + 1) if at not in embeddings), 0)
        if highest >= missing:
            raise ValueError(f"it lacks prompt_tokens, and an embedding at position {missing} that would stand for one")
        unnamed = token_names([embeddings[at].token for at in range(highest + 1)])
        tokens = [embeddings[at].label or unnamed[at] for at in range(highest + 1)]
    elif highest >= len(tokens):
        raise ValueError(f"a node is at position {highest} of a prompt of {len(tokens)} tokens")
    return tokens, [embeddings[at].token if at in embeddings else -1 for at in range(len(tokens))]


def _named(metadata: MetadataFile, what: str, scan: str) -> dict[str, str]:
    named = getattr(metadata.info, what, None)
    said = {} if named is None else {key: value for key, value in named.model_dump().items() if value is not None}
    return said or {"name": scan or "unknown"}


def _story(path: Path, graph: Graph, asked: QParamsFile, nodes: Sequence[JsonNode], names: dict[str, str]) -> Story:
    pins, groups = asked.pinnedIds or [], asked.supernodes or []
    pins = pins.split(",") if isinstance(pins, str) else pins
    if isinstance(groups, str):
        groups = validated(GroupsFile, {"supernodes": parsed_json(groups)}, path).supernodes
    ids = graph.nodes.ids()
    labels = {i: node.label for i, node in zip(ids, nodes, strict=True) if node.kind in (FEATURE, BIAS)}
    for i in graph.nodes.is_kind("attention").nonzero().flatten().tolist():
        if nodes[i].label != attention_in_words(graph, i):  # which says nothing that the node does not
            labels[ids[i]] = nodes[i].label
    return Story(
        graph_hash=graph.hash,
        pins=tuple(dict.fromkeys(names[pin] for pin in pins if pin in names)),
        groups=tuple(_groups(groups, names)),
        labels={node_id: label for node_id, label in labels.items() if label},
    )


def _groups(groups: Sequence[Sequence[str]], names: dict[str, str]) -> Iterator[StoryGroup]:
    """Groups that have members here; a node that is in several stays in the first, as groups do not overlap."""
    taken: set[str] = set()
    for label, *members in filter(None, groups):
        here = [names[member] for member in dict.fromkeys(members) if member in names]
        here = [member for member in dict.fromkeys(here) if member not in taken]
        taken.update(here)
        if here:
            yield StoryGroup(label=label, members=tuple(here))
