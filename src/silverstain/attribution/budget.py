"""Which features get a row of their own when there is no room for all: the most influential first.

Rows are found in rounds. After each, influence flows from the targets down the rows known so far and rests on the
features that have none yet; those with most go next. What rests there at the end is what the graph leaves unexplained.
Where the rows of all features would not fit in memory only what ranks is kept of them: the largest shares of each row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.attribution.edge_rows import EdgeRows
from silverstain.attribution.edges import Sources, compressed, pieces_into
from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.joining import join_rows
from silverstain.attribution.targets import Targets
from silverstain.graphs import NodeLayout, shares_of_rows
from silverstain.resuming import ResumeStore

ROUNDS = 8
"""A full budget is spent in about this many rounds: more rounds rank better and cost a pass over the shares each."""
SMALLEST_ROUND = 64
"""Smaller rounds than this waste the matrix products."""
KEPT_BYTES = 2**28
"""Room for the rows found while ranking; beyond it they are found again for the features chosen."""
MERGED_AT_ONCE = 1 << 24
"""Numbers in the dense block that columns are merged in."""
SHARES_BYTES = 2**30
"""Room for the shares that rank; beyond it the smallest of each row count as unexplained."""


class Expansion(NamedTuple):
    """Features chosen under a budget, and the rows found while choosing."""

    chosen: Bool[Tensor, " active"]
    rows: EdgeRows | None
    """Of the chosen features in their order, then of the roots; columns are those of all active features. None where
    they were not kept."""
    unexplained: float
    """Share of the roots' influence that rests on features without a row: at most this much could be shared out
    differently among tokens and errors by a larger budget."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything `expand` ranks: the sources with their columns, what can be expanded, and what is to be explained."""

    flow: FrozenFlow
    sources: Sources
    layout: NodeLayout
    layers: Int[Tensor, " active"]
    """Of the active features; they rise."""
    features: Callable[[Int[Tensor, " chosen"]], Targets]
    """The chosen ones as targets."""
    roots: Targets
    weights: Float[Tensor, " root"]
    """How much of the influence starts at each root; they sum to 1."""


class _Round(NamedTuple):
    """Shares of the rows of one round, by layer."""

    expanded: Int[Tensor, " row"]
    """The features they belong to, rising; empty for the roots."""
    rows: EdgeRows


def are_kept(n_rows: int, n_columns: int) -> bool:
    """Whether there is room for the rows found while ranking: a column index and a value for each edge."""
    return n_rows * n_columns * 8 <= KEPT_BYTES


def expand(
    question: Question,
    *,
    max_features: int,
    max_unexplained: float = 0.0,
    keeps_rows: bool = True,
    store: ResumeStore | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Expansion:
    """Expand features in order of influence until `max_features` have rows or little is left unexplained.

    Features that no path from the roots reaches are never expanded. With `keeps_rows` the rows are given back; there
    must be room for them (`are_kept`).
    """
    n_active = len(question.layers)
    n_rows = min(max_features, n_active) + len(question.roots)
    widest = max(SMALLEST_ROUND, SHARES_BYTES // (8 * n_rows))
    chosen = torch.zeros(n_active, dtype=torch.bool)
    kept: list[EdgeRows] = []
    rounds = [_round(question, chosen[:0].long(), question.roots, widest, keeps_rows, kept, store, on_progress)]
    order = torch.zeros(0, dtype=torch.long)
    step = max(SMALLEST_ROUND, -(-max_features // ROUNDS))
    while True:
        reached = _influence(question, rounds)
        reached[:-1][chosen] = 0
        unexplained = float(reached.sum())
        room = min(step, max_features - len(order), int((reached[:-1] > 0).sum()))
        if room <= 0 or unexplained <= max_unexplained:
            return Expansion(chosen, _in_order(kept, order) if keeps_rows else None, unexplained)
        following = reached[:-1].topk(room).indices.sort().values
        chosen[following] = True
        order = torch.cat([order, following])
        targets = question.features(following.to(question.layers.device))
        rounds.append(_round(question, following, targets, widest, keeps_rows, kept, store, on_progress))


def merge_columns(rows: EdgeRows, columns: Int[Tensor, " column"]) -> EdgeRows:
    """The same rows with column c renamed to `columns[c]`, edges that then share a column added up."""
    width = int(columns.max()) + 1
    at_once = max(1, MERGED_AT_ONCE // width)
    pieces = []
    for start in range(0, len(rows), at_once):
        indptr = rows.indptr[start : start + at_once + 1]
        edges = slice(int(indptr[0]), int(indptr[-1]))
        row = torch.arange(len(indptr) - 1, device=indptr.device).repeat_interleave(indptr.diff())
        sums = rows.values.new_zeros(len(indptr) - 1, width)
        sums.view(-1).index_add_(0, row * width + columns[rows.columns[edges]], rows.values[edges])
        pieces.append(compressed(sums, [0, len(sums)]))
    places = torch.arange(len(rows), device=rows.indptr.device).split(at_once)
    return join_rows(pieces, list(places))


def _round(
    question: Question,
    expanded: Int[Tensor, " row"],
    targets: Targets,
    widest: int,
    keeps_rows: bool,
    kept: list[EdgeRows],
    store: ResumeStore | None,
    on_progress: Callable[[int], None] | None,
) -> _Round:
    """Find the rows of these targets and what ranks of them; the rows themselves go into `kept`."""

    def ranking(rows: EdgeRows) -> EdgeRows:
        return _feature_shares(rows, question.layout, widest)

    groups, shares, whole = [], [], []
    finish = None if keeps_rows else ranking
    for group, rows in pieces_into(question.flow, question.sources, targets, finish=finish, store=store):
        groups.append(group)
        if keeps_rows:
            whole.append(rows)
        shares.append(ranking(rows) if keeps_rows else rows)
        if on_progress is not None:
            on_progress(len(group))
    if keeps_rows:
        kept.append(join_rows(whole, groups))
    return _Round(expanded, join_rows(shares, groups))


def _feature_shares(rows: EdgeRows, layout: NodeLayout, widest: int) -> EdgeRows:
    """Shares that features have in each row, on the processor: at most `widest` a row, the largest.

    What the others have together stands in a column behind those of the features.
    """
    is_bias = (rows.columns >= layout.biases.start) & (rows.columns < layout.biases.stop)
    shares = shares_of_rows(rows.indptr, rows.values, is_bias).float()
    found: list[tuple[Tensor, Tensor]] = []
    for start, stop in pairwise(rows.indptr.tolist()):
        columns, values = rows.columns[start:stop], shares[start:stop]
        here = columns < layout.n_features
        columns, values = columns[here], values[here]
        if len(values) > widest:
            largest = values.topk(widest).indices.sort().values
            lost = (values.sum() - values[largest].sum()).clamp(min=0)
            columns = torch.cat([columns[largest], columns.new_tensor([layout.n_features])])
            values = torch.cat([values[largest], lost[None]])
        found.append((columns.int(), values))
    counts = torch.tensor([0, *(len(columns) for columns, _ in found)])
    columns, values = (torch.cat(part).cpu() for part in zip(*found, strict=True))
    return EdgeRows(indptr=counts.cumsum(0), columns=columns, values=values)


def _influence(question: Question, rounds: list[_Round]) -> Float[Tensor, " active_and_lost"]:
    """Influence that reaches each active feature down the rows known; at last what smallest shares carry off."""
    layers = question.layers.cpu()
    reached = torch.zeros(len(layers) + 1, dtype=torch.float64)
    roots, others = rounds[0].rows, rounds[1:]
    _pass_on_(reached, roots, slice(0, len(roots)), question.weights.cpu().double())
    for layer in range(question.flow.n_layers - 1, -1, -1):
        here = torch.searchsorted(layers, torch.tensor([layer, layer + 1]))
        for expanded, rows in others:
            start, stop = torch.searchsorted(expanded, here).tolist()
            if start < stop:
                _pass_on_(reached, rows, slice(start, stop), reached[expanded[start:stop]])
    return reached


def _pass_on_(
    reached: Float[Tensor, " active_and_lost"], rows: EdgeRows, some: slice, weights: Float[Tensor, " some"]
) -> None:
    """Add, in place, what these rows hand down of the influence on their targets."""
    edges = slice(int(rows.indptr[some.start]), int(rows.indptr[some.stop]))
    handed = weights.repeat_interleave(rows.indptr[some.start : some.stop + 1].diff())
    reached.index_add_(0, rows.columns[edges], rows.values[edges] * handed)


def _in_order(kept: list[EdgeRows], order: Int[Tensor, " expanded"]) -> EdgeRows:
    """Rows of the roots and of features found in `order`, sorted by feature, the roots' behind."""
    place = torch.empty_like(order)
    place[order.argsort()] = torch.arange(len(order))
    roots, *rounds = kept
    places = place.split([len(rows) for rows in rounds]) if rounds else ()
    behind = torch.arange(len(roots)) + len(order)
    device = roots.indptr.device
    return join_rows([*rounds, roots], [part.to(device) for part in (*places, behind)])
