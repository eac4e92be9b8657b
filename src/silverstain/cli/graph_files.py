"""A graph and the story beside it: `dallas.safetensors` and `dallas.story.json`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silverstain.graphs import Graph, Story


def story_beside(graph_file: Path) -> Path:
    """Where the story of a graph file is kept."""
    return graph_file.with_name(graph_file.stem + ".story.json")


def open_with_story(graph_file: Path) -> "tuple[Graph, Story]":
    """The graph and its story, an empty one if there is none."""
    from silverstain.graphs import Graph, Story

    graph = Graph.load(graph_file)
    beside = story_beside(graph_file)
    return graph, Story.load(beside) if beside.exists() else Story(graph_hash=graph.hash)


def counts(graph: "Graph") -> dict[str, Any]:
    """What `--json` says of a graph's size: nodes by kind, edges, and how many are kept after pruning."""
    nodes: dict[str, int] = dict(graph.nodes.count())
    nodes["active"] = graph.meta.get("active_features", nodes["feature"])
    out: dict[str, Any] = {"nodes": nodes, "edges": graph.n_edges}
    if graph.node_mask is not None and graph.edge_mask is not None:
        out["kept"] = {"nodes": int(graph.node_mask.sum()), "edges": int(graph.edge_mask.sum())}
    return out


def scores_of(graph: "Graph", *, pruned: bool = False) -> dict[str, float]:
    """The three scores by name."""
    from silverstain.graphs import scores

    return scores(graph, pruned=pruned)._asdict()


def groups_of(graph: "Graph", story: "Story") -> list[dict[str, Any]]:
    """What `--json` says of a story's groups."""
    from silverstain.graphs import group_shares

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


def size_in_words(graph: "Graph") -> str:
    """Nodes and edges, for a person."""
    size = counts(graph)
    text = f"{size['nodes']['feature']} features, {graph.n_nodes} nodes, {graph.n_edges} edges"
    kept = size.get("kept")
    return f"{text}; kept {kept['nodes']} nodes, {kept['edges']} edges" if kept else text
