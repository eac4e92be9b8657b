"""Keeping the few nodes and edges that carry most of the influence."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.errors import UsageError
from silverstain.graphs.arrays import AnyGraph, GraphArrays
from silverstain.graphs.influence import edge_shares, influence, target_weights
from silverstain.graphs.nodes import with_rest

SORTED_AT_ONCE = 1 << 16


def prune(graph: AnyGraph, *, node_share: float = 0.8, edge_share: float = 0.98, keep_errors: bool = True) -> AnyGraph:
    """The graph with masks that keep the most influential nodes, and among them the most influential edges.

    Nodes: the fewest whose influence adds up to `node_share` of all. Edges between them: influence is computed again
    on what is left, an edge's score is its share of its target's input times the target's influence, and the fewest
    edges are kept whose scores add up to `edge_share`. Then nodes left without use are dropped, again and again:
    features and attention need an edge in and an edge out. Tokens and logits always stay; bias nodes, which carry no
    influence, never do.

    With `keep_errors` error nodes, and those of the rest of attention, always stay too, as in the paper; without, they
    are pruned like features, which is what circuit-tracer does. Pruning starts from the whole graph, whatever masks it
    has.
    """
    _check_share("node_share", node_share)
    _check_share("edge_share", edge_share)
    protected = graph.nodes.is_kind("token", "logit")
    if keep_errors:
        protected |= graph.nodes.is_rest
    kept_nodes = top_share(influence(graph), node_share) | protected
    kept_nodes &= ~graph.nodes.is_kind("bias")
    between = kept_nodes[graph.indices] & kept_nodes[graph.targets]

    shares = edge_shares(graph, between)
    reached = influence(graph, shares) + target_weights(graph)
    kept_edges = top_share(shares * reached[graph.targets], edge_share) & between
    kept_nodes, kept_edges = _without_dead_ends(graph, kept_nodes, kept_edges, protected)
    settings = {"node_share": node_share, "edge_share": edge_share, "keep_errors": keep_errors}
    return replace(graph, node_mask=kept_nodes, edge_mask=kept_edges, meta={**graph.meta, "pruning": settings})


def top_share(weights: Float[Tensor, " item"], share: float) -> Bool[Tensor, " item"]:
    """The fewest items, largest first and ties included, whose weights add up to `share` of the total.

    Items of weight 0 are never among them: circuit-tracer's threshold falls to 0, and keeps every absent edge, when
    rounding keeps the sum of all shares below 1.
    """
    present = weights[weights > 0]
    if not len(present) or share <= 0:
        return torch.zeros_like(weights, dtype=torch.bool)
    return weights >= _smallest_needed(present, share)


def _smallest_needed(weights: Float[Tensor, " item"], share: float) -> float:
    """The largest of the weights (all above 0) such that those no smaller add up to `share` of all.

    Found by halving the interval of bit patterns it lies in (those of positive numbers are ordered as the numbers are),
    as sorting a hundred million edges takes several times their memory: what is surely kept becomes one number, what
    is surely not is dropped, and only what is between is looked at again.
    """
    left = weights.double()
    wanted, kept = share * float(left.sum()), 0.0
    low, high = int(left.min().view(torch.int64)), int(left.max().view(torch.int64))
    while len(left) > SORTED_AT_ONCE and low < high:
        middle = (low + high) // 2
        above = left.view(torch.int64) > middle
        mass = kept + float(left[above].sum())
        if mass >= wanted:
            low, left = middle + 1, left[above]
        else:
            kept, high, left = mass, middle, left[~above]
    ranked = left.sort(descending=True).values
    last = int(torch.searchsorted(kept + ranked.cumsum(0), wanted))
    return float(ranked[min(last, len(ranked) - 1)])


def _without_dead_ends(
    graph: GraphArrays,
    nodes: Bool[Tensor, " node"],
    edges: Bool[Tensor, " edge"],
    protected: Bool[Tensor, " node"],
) -> tuple[Bool[Tensor, " node"], Bool[Tensor, " edge"]]:
    """Drop nodes that feed nothing, features and attention that nothing feeds, and their edges, until none is left."""
    sources, targets = graph.indices, graph.targets
    needs_input = graph.nodes.is_unit
    while True:
        feeds, is_fed = torch.zeros_like(nodes), torch.zeros_like(nodes)
        feeds[sources[edges]] = True
        is_fed[targets[edges]] = True
        useful = nodes & (protected | feeds) & (~needs_input | is_fed)
        if bool((useful == nodes).all()):
            return nodes, edges
        nodes = useful
        edges = edges & nodes[sources] & nodes[targets]


def removed_as_error(graph: AnyGraph) -> AnyGraph:
    """The graph in which each feature that pruning removed is part of the error at its layer and position, and each
    removed node of attention part of the rest of attention there.

    Every edge of a removed node is added with its sign to that node's edge into the same target, before any
    absolute value is taken, so what each target receives is unchanged. Removed nodes lose their rows. Error nodes,
    and edges between kept nodes that pruning hid, count as what they are. Where a place has no such node, as in files
    of other tools, it is given one.
    """
    if graph.node_mask is None:
        return graph
    graph = _with_rest_for_removed(graph)
    assert graph.node_mask is not None
    removed = graph.nodes.is_unit & ~graph.node_mask
    counted_at = torch.where(removed, graph.nodes.rest_nodes(), torch.arange(graph.n_nodes))
    rows_left = ~removed[graph.row_nodes]
    n_rows = int(rows_left.sum())
    edges = rows_left[graph.edge_rows]
    rows = (rows_left.cumsum(0) - 1)[graph.edge_rows[edges]]
    places, place_of_edge = torch.unique(rows * graph.n_nodes + counted_at[graph.indices[edges]], return_inverse=True)
    values = torch.zeros(len(places), dtype=torch.float64).index_add_(0, place_of_edge, graph.values[edges].double())
    counts = torch.bincount(places // graph.n_nodes, minlength=n_rows)
    return replace(
        graph,
        nodes=replace(graph.nodes, influence=None),
        row_nodes=graph.row_nodes[rows_left],
        indptr=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        indices=places % graph.n_nodes,
        values=values,
        values_of_targets=graph.values_of_targets[rows_left],
        node_mask=None,
        edge_mask=None,
    )


def _with_rest_for_removed(graph: AnyGraph) -> AnyGraph:
    """The graph with a node for the rest, without edges, wherever pruning removed a feature or attention and there is
    none: files of other tools hold only the errors that their pruning kept."""
    assert graph.node_mask is not None
    lacks = graph.nodes.is_unit & ~graph.node_mask & (graph.nodes.rest_nodes() < 0)
    if not bool(lacks.any()):
        return graph
    places = torch.stack([graph.nodes.depth[lacks], graph.nodes.position[lacks]], dim=1).unique(dim=0)
    nodes, place = with_rest(graph.nodes, places[:, 0], places[:, 1])
    node_mask = torch.ones(len(nodes), dtype=torch.bool)
    node_mask[place] = graph.node_mask
    return replace(
        graph, nodes=nodes, row_nodes=place[graph.row_nodes], indices=place[graph.indices], node_mask=node_mask
    )


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise UsageError(f"{name} is {share}; it is a share, give a number from 0 to 1")
