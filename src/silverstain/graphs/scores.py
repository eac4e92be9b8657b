"""How much of the answer a graph explains, and whether its edges add up."""

from typing import Literal, NamedTuple

import torch

from silverstain.graphs.arrays import GraphArrays
from silverstain.graphs.influence import edge_shares, influence, row_sums, target_weights
from silverstain.graphs.kinds import TOKEN
from silverstain.graphs.pruning import removed_as_error

WHOLE, KEPT = "whole graph", "what the file kept"


class Scores(NamedTuple):
    """Shares between 0 and 1 of what reaches the targets; 0 where nothing does, NaN where it is not known."""

    replacement: float
    """Influence of tokens / influence of tokens and errors, the rest of attention among them: paths that never pass an
    error."""
    completeness: float
    """Mean share of a node's input that is no error, over nodes with input, weighted by influence (the paper's)."""
    completeness_all_rows: float
    """The same over all nodes, so that tokens and errors count as fully explained (circuit-tracer's)."""
    of: Literal["whole graph", "what the file kept"] = WHOLE
    """What the figures are of. A file of another tool may hold only what pruning kept; error nodes are the first to go,
    so figures of that say nothing of the whole graph."""

    def __str__(self) -> str:
        """replacement .925, completeness .964 (whole graph)"""
        figures = {"replacement": self.replacement, "completeness": self.completeness}
        said = ", ".join(f"{name} {_brief(value)}" for name, value in figures.items())
        return f"{said} ({self.of})"


def scores(graph: GraphArrays, *, pruned: bool = False) -> Scores:
    """Replacement and completeness scores (Circuit Tracing, Ameisen et al. 2025).

    With `pruned`, features that pruning removed count as error at their layer and position (attention, as the rest of
    attention there). Of a graph that was
    imported without all of its nodes, the scores are those of the whole graph that its file states; where it states
    none, or with `pruned`, they are computed on what the file kept, and say so.
    """
    if pruned:
        return _computed(removed_as_error(graph))
    return _stated(graph) or _computed(graph)


def _stated(graph: GraphArrays) -> Scores | None:
    """What the imported file says of the whole graph."""
    stated = (graph.meta.get("imported") or {}).get("scores")
    if not stated:
        return None
    all_rows = stated.get("completeness_all_rows")
    return Scores(
        replacement=float(stated["replacement"]),
        completeness=float("nan"),  # files of other tools know the other definition alone
        completeness_all_rows=float("nan") if all_rows is None else float(all_rows),
    )


def _computed(graph: GraphArrays) -> Scores:
    shares = edge_shares(graph)
    reached = influence(graph, shares)
    tokens = reached[graph.nodes.kind == TOKEN].sum()
    is_error = graph.nodes.is_rest
    errors = reached[is_error].sum()

    from_error = torch.where(is_error[graph.indices], shares, 0.0)
    explained = torch.ones(graph.n_nodes, dtype=torch.float64)
    explained[graph.row_nodes] -= row_sums(graph.indptr, from_error)
    has_input = torch.zeros(graph.n_nodes, dtype=torch.bool)
    has_input[graph.row_nodes] = row_sums(graph.indptr, shares) > 0
    weight = reached + target_weights(graph)
    return Scores(
        replacement=_ratio(tokens, tokens + errors),
        completeness=_ratio((weight * explained)[has_input].sum(), weight[has_input].sum()),
        completeness_all_rows=_ratio((weight * explained).sum(), weight.sum()),
        of=KEPT if (graph.meta.get("imported") or {}).get("from") == "json" else WHOLE,
    )


def exactness(graph: GraphArrays) -> float:
    """max over targets of |Σ terms − value| / Σ |terms|: 0 when every target is the sum of its edges.

    All edges count, those of bias nodes and those that pruning hides included. A target without edges is exact only
    if its value is 0, and else infinitely wrong.
    """
    if not len(graph.row_nodes):
        return 0.0
    wrong = (row_sums(graph.indptr, graph.values) - graph.values_of_targets.double()).abs()
    size = row_sums(graph.indptr, graph.values.abs())
    return float(torch.where(wrong == 0, 0.0, wrong / size).max())


def _brief(score: float | None) -> str:
    if score is None or score != score:
        return "not known"
    return f"{score:.3f}".removeprefix("0")


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else 0.0
