"""A graph's size and the groups of its story as plain values, which JSON can hold."""

from typing import Any

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.kinds import ATTENTION
from silverstain.graphs.naming import attention_in_words
from silverstain.graphs.story import Story
from silverstain.graphs.supernodes import group_shares


def counts_of(graph: GraphArrays) -> dict[str, Any]:
    """Nodes by kind, features that were active in the run, edges, and after pruning how many are kept."""
    nodes: dict[str, int] = dict(graph.nodes.count())
    nodes["active"] = graph.meta.get("active_features", nodes["feature"])
    out: dict[str, Any] = {"nodes": nodes, "edges": graph.n_edges}
    if graph.node_mask is not None and graph.edge_mask is not None:
        out["kept"] = {"nodes": int(graph.node_mask.sum()), "edges": int(graph.edge_mask.sum())}
    return out


def groups_of(graph: GraphArrays, story: Story) -> list[dict[str, Any]]:
    """The story's groups that have members in this graph, each with its share of the influence."""
    groups = [group for group in story.groups_in(graph) if group.members]
    shares = group_shares(graph, groups).tolist()
    ids, positions = graph.nodes.ids(), graph.nodes.position.tolist()
    return [
        {
            "label": group.label,
            "kind": group.kind,
            "members": [ids[member] for member in group.members],
            "positions": sorted({positions[member] for member in group.members}),
            "share": share,
        }
        for group, share in zip(groups, shares, strict=True)
    ]


def node_columns(graph: GraphArrays, story: Story | None = None) -> dict[str, list[Any]]:
    """The columns of a table of nodes: id, kind, numbers, the text at the node's position and its label.

    The text of an answer is its name. A label is what the story says, or of words and answers their text, or what
    attention does in words, else None.
    """
    table = graph.nodes
    columns: dict[str, list[Any]] = {name: column.tolist() for name, column in table.columns().items()}
    tokens, answers = graph.meta.get("tokens", ()), table.span("logit")
    texts = [str(tokens[at]) if 0 <= at < len(tokens) else None for at in columns["position"]]
    texts[answers] = graph.target_names
    labels = (story or Story()).labels_in(table)
    words = table.is_kind("token", "logit").tolist()
    labels = [label or (text if is_word else None) for label, text, is_word in zip(labels, texts, words, strict=True)]
    for node in (table.kind == ATTENTION).nonzero().flatten().tolist():
        labels[node] = labels[node] or attention_in_words(graph, node)
    return {"id": table.ids(), **columns, "kind": table.kinds, "text": texts, "label": labels}
