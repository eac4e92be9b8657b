"""The attribution graph: the arrays of one traced prompt, and what can be asked of them."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from silverstain.displays import shown
from silverstain.errors import UsageError
from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.export import write_graph_json
from silverstain.graphs.figure import Figure, figure
from silverstain.graphs.files import load_graph, save_graph
from silverstain.graphs.influence import influence
from silverstain.graphs.nodes import NodeTable
from silverstain.graphs.pruning import prune
from silverstain.graphs.scores import Scores, exactness, scores
from silverstain.graphs.story import Story
from silverstain.graphs.summary import node_columns
from silverstain.printable import printable

if TYPE_CHECKING:
    import networkx
    import scipy.sparse


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph(GraphArrays):
    """One traced prompt: which node contributed how much to which. Its attributes are those of `GraphArrays`.

    A node table without the column `influence` is given it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes.influence is None:
            column = influence(self).to(self.values.dtype)
            object.__setattr__(self, "nodes", replace(self.nodes, influence=column))

    def __repr__(self) -> str:
        prompt = printable(repr(self.meta.get("prompt")), 80)
        pruned = "" if self.node_mask is None else f", {int(self.node_mask.sum())} kept"
        return f"Graph({prompt}, {self.n_nodes} nodes{pruned}, {self.n_edges} edges)"

    def _repr_html_(self) -> str:
        """What a notebook shows: the explorer, or the circuit where that is not there."""
        return shown("graph", self, lambda: self.figure().svg())

    @classmethod
    def from_rows(
        cls,
        *,
        nodes: NodeTable,
        row_nodes: Int64[Tensor, " row"],
        rows: Float[Tensor, "row node"],
        values_of_targets: Float[Tensor, " row"],
        meta: Mapping[str, Any] | None = None,
    ) -> "Graph":
        """A graph out of dense rows [target, source]; zeros become no edge."""
        rows = rows.detach().cpu()
        present = rows != 0
        edge_rows, sources = present.nonzero().unbind(1)
        return cls(
            nodes=nodes,
            row_nodes=row_nodes,
            indptr=torch.nn.functional.pad(present.sum(1).cumsum(0), (1, 0)),
            indices=sources,
            values=rows[edge_rows, sources],
            values_of_targets=values_of_targets,
            meta=dict(meta or {}),
        )

    def influence(self) -> Float[Tensor, " node"]:
        """See `silverstain.graphs.influence`."""
        return influence(self)

    def scores(self, *, pruned: bool = False) -> Scores:
        """Replacement and completeness scores; with `pruned`, what pruning removed counts as error."""
        return scores(self, pruned=pruned)

    def exactness(self) -> float:
        """How far the edges of a target are from adding up to its value: the worst relative error."""
        return exactness(self)

    def prune(self, node_share: float = 0.8, edge_share: float = 0.98, keep_errors: bool = True) -> "Graph":
        """This graph with masks that keep the most influential nodes and edges."""
        return prune(self, node_share=node_share, edge_share=edge_share, keep_errors=keep_errors)

    def unpruned(self) -> "Graph":
        """This graph without masks."""
        return replace(self, node_mask=None, edge_mask=None)

    def with_meta(self, meta: Mapping[str, Any]) -> "Graph":
        """This graph with other `meta`; its arrays are not checked again."""
        other = copy(self)
        object.__setattr__(other, "meta", dict(meta))
        other.__dict__.pop("hash", None)
        return other

    def save(self, path: str | Path) -> None:
        """Write the native file, whole or not at all."""
        save_graph(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Graph":
        """Read the native file; UsageError names a missing, foreign or damaged one."""
        return load_graph(path, cls)

    def figure(self, story: Story | None = None, *, boxes: int = 10) -> Figure:
        """The circuit as a picture, with the story's groups and names; `.save("austin.svg")` writes it."""
        return figure(self, story, boxes=boxes)

    def to_json(self, path: str | Path, **options: Any) -> None:
        """Write the JSON that circuit-tracer's viewer and Neuronpedia read; see `export.write_graph_json`."""
        write_graph_json(self, path, **options)

    def matrix(self, pruned: bool = False) -> "scipy.sparse.csr_matrix":
        """Edges as a scipy CSR over all nodes, row = target, column = source; before pruning unless asked."""
        import scipy.sparse

        kept = self.kept_edges(pruned)
        coordinates = (self.targets[kept].numpy(), self.indices[kept].numpy())
        shape = (self.n_nodes, self.n_nodes)
        return scipy.sparse.csr_matrix((self.values[kept].numpy(), coordinates), shape=shape)

    def to_networkx(self, pruned: bool = True) -> "networkx.DiGraph":
        """Nodes by index with their columns, edges source → target with `weight`; the pruned graph if there is one."""
        drawn = _imported("networkx").DiGraph()
        columns, edges = node_columns(self), self.kept_edges(pruned)
        for node in self.kept_nodes(pruned).nonzero().flatten().tolist():
            drawn.add_node(node, **{name: column[node] for name, column in columns.items()})
        ends = zip(self.indices[edges].tolist(), self.targets[edges].tolist(), self.values[edges].tolist(), strict=True)
        drawn.add_weighted_edges_from(ends)
        return drawn

    def to_pandas(self, story: Story | None = None) -> Any:
        """The nodes as a pandas data frame, one row a node, with `kept` after pruning.

        `text` is the token of the prompt at the node's position, or of an answer its name; `label` is what the story
        says of a node, and of words and answers their text.
        """
        columns = node_columns(self, story)
        if self.node_mask is not None:
            columns["kept"] = self.node_mask.tolist()
        return _imported("pandas").DataFrame(columns)


def _imported(package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"this needs {package}, which is not installed; install it: pip install {package}") from error
