"""What a person adds to a graph: pins, groups, labels, notes, evidence. Small JSON beside the graph.

Nodes are named by their ids (`NodeTable.ids`), not by their index, so a story outlives a new trace with another budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from silverstain.brief import brief
from silverstain.documents import read_json
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.kinds import FEATURE
from silverstain.graphs.nodes import NodeTable
from silverstain.graphs.story_schema import StoryFile, verification_in
from silverstain.graphs.supernodes import Group
from silverstain.storage import write_json_whole
from silverstain.validation import validated

FORMAT = "silverstain.story/1"


@brief
@dataclass(frozen=True, kw_only=True)
class StoryGroup:
    """A group whose members are node ids."""

    label: str
    members: tuple[str, ...]
    kind: str = ""


@brief
@dataclass(frozen=True, kw_only=True)
class Story:
    """A reading of one graph.

    Attributes:
        graph_hash: `Graph.hash` of the graph it was written for.
        pins: ids of the nodes that are shown.
        groups: supernodes.
        labels: what a node means, by node id (`layer_feature_position`) or, at every position, by `layer_feature`.
        notes: free text.
        evidence: experiments and their results, each an object that JSON can hold.
        view: how the explorer shows the graph: what is hidden and why, where boxes were moved, thresholds, filters.
    """

    graph_hash: str = ""
    pins: tuple[str, ...] = ()
    groups: tuple[StoryGroup, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    view: Mapping[str, Any] = field(default_factory=dict)

    def label_of(self, nodes: NodeTable, node: int) -> str | None:
        """The label of one node, by its own id first and then by its feature; None if it has none."""
        return self.labels_in(nodes)[node]

    def labels_in(self, nodes: NodeTable) -> list[str | None]:
        """The label of every node."""
        is_feature = (nodes.kind == FEATURE).tolist()
        columns = zip(nodes.ids(), is_feature, nodes.layer.tolist(), nodes.feature.tolist(), strict=True)
        return [
            self.labels.get(node_id, self.labels.get(f"{layer}_{feature}") if has_index else None)
            for node_id, has_index, layer, feature in columns
        ]

    def groups_in(self, graph: GraphArrays) -> list[Group]:
        """The groups with members as node indices, each once; members that this graph does not have are left out."""
        index = {node_id: i for i, node_id in enumerate(graph.nodes.ids())}
        return [
            Group(label=g.label, kind=g.kind, members=tuple(index[m] for m in dict.fromkeys(g.members) if m in index))
            for g in self.groups
        ]

    def with_evidence(self, graph_hash: str, result: Mapping[str, Any]) -> "Story":
        """This story with the result of an experiment on that graph, in place of earlier ones of the same kind."""
        verification_in(result)  # what is written can be read
        others = (entry for entry in self.evidence if entry.get("kind") != result["kind"])
        return replace(self, graph_hash=graph_hash, evidence=(*others, result))

    def save(self, path: str | Path) -> None:
        """Write the JSON, whole or not at all."""
        write_json_whole(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What the file holds; `view` only where the explorer has left one."""
        return {"format": FORMAT, **{key: value for key, value in asdict(self).items() if key != "view" or value}}

    @classmethod
    def load(cls, path: str | Path) -> "Story":
        """Read the JSON; UsageError names a missing, foreign or damaged file."""
        return cls.from_json(read_json(path, FORMAT), path)

    @classmethod
    def from_json(cls, written: Any, where: str | Path) -> "Story":
        """What `to_json` gave, from outside; UsageError says what is wrong, and where it came from."""
        content = validated(StoryFile, written, where, "correct it, or delete it and write it again")
        return cls(
            graph_hash=content.graph_hash,
            pins=tuple(content.pins),
            groups=tuple(StoryGroup(label=g.label, members=tuple(g.members), kind=g.kind) for g in content.groups),
            labels=dict(content.labels),
            notes=tuple(content.notes),
            evidence=tuple(content.evidence),
            view=dict(content.view),
        )


def story_beside(graph_file: Path) -> Path:
    """Where the story of a graph file is kept: `dallas.story.json` beside `dallas.safetensors`."""
    return graph_file.with_name(graph_file.stem + ".story.json")


def story_groups(graph: GraphArrays, groups: Sequence[Group]) -> tuple[StoryGroup, ...]:
    """Groups with members as node ids, as a story keeps them."""
    ids = graph.nodes.ids()
    return tuple(StoryGroup(label=g.label, kind=g.kind, members=tuple(ids[m] for m in g.members)) for g in groups)
