"""One recorded prompt with what is asked about it, and the graph that answers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from silverstain.attribution.budget import Question, are_kept, expand, merge_columns
from silverstain.attribution.edge_rows import EdgeRows
from silverstain.attribution.edges import Sources, edges_into
from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.neuron_selection import Selection, select
from silverstain.attribution.recorded import RecordedRun
from silverstain.attribution.roots import Root
from silverstain.attribution.settings import TraceSettings
from silverstain.attribution.sources import Written, sources_of, written_by
from silverstain.attribution.targets import Targets, feature_targets, joined
from silverstain.bases import ActiveUnits, NeuronBasis
from silverstain.graphs import Graph, NodeLayout, NodeTable, node_table
from silverstain.resuming import ResumeStore

Progress = Callable[[int, int], None]
"""Told (targets done, targets in all)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recorded run with what is asked about it."""

    recorded: RecordedRun
    settings: TraceSettings
    roots: tuple[Root, ...]

    @cached_property
    def selection(self) -> Selection | None:
        """The neurons that get nodes, chosen by what they contribute; None where the basis is a dictionary."""
        basis, settings = self.recorded.basis, self.settings
        if not isinstance(basis, NeuronBasis):
            return None
        return select(
            self.flow,
            self.recorded.recording,
            basis,
            self.root_targets,
            self.root_weights,
            most=settings.max_features,
            share=settings.share,
        )

    @property
    def n_active(self) -> int:
        """How many units are active in the run, whether a target can see them or not."""
        return len(self.recorded.active) if self.selection is None else self.selection.n_active

    @property
    def flow(self) -> FrozenFlow:
        """The frozen flow of the run, as the settings want it."""
        return self.recorded.flow(norms=self.settings.norms, products=self.settings.products)

    @cached_property
    def active(self) -> ActiveUnits:
        """The active features that a target can see; features above lead to no target, and get no node."""
        if self.selection is not None:
            return self.selection.kept
        active = self.recorded.active
        return active[: active.of_layer(max(root.layer for root in self.roots)).start]

    @property
    def expanded(self) -> int:
        """How many features may get a row of their own."""
        most = self.settings.max_features
        return len(self.active) if most is None else min(most, len(self.active))

    def layout(self, n_features: int) -> NodeLayout:
        return NodeLayout(
            n_features=n_features,
            n_layers=self.recorded.model.n_layers,
            n_positions=self.recorded.n_positions,
            n_logits=len(self.roots),
            n_real=self.recorded.n_real,
        )

    def nodes(self, chosen: Bool[Tensor, " active"]) -> NodeTable:
        """The node columns when only the chosen features are nodes."""
        chosen = chosen.to(self.active.layer.device)
        return node_table(
            self.layout(int(chosen.sum())),
            layer=self.active.layer[chosen],
            position=self.active.position[chosen],
            feature=self.active.feature[chosen],
            activation=self.active.activation[chosen],
            token_ids=self.recorded.recording.token_ids,
            target_ids=[root.token_id for root in self.roots],
            target_probabilities=[root.weight for root in self.roots],
            target_position=[root.position for root in self.roots],
        )

    @property
    def root_weights(self) -> Tensor:
        """How much of the influence starts at each root, as the graph's `target_weights` has it."""
        weights = torch.tensor([root.weight for root in self.roots], dtype=torch.float64)
        return weights / weights.sum()  # above 0: `find_roots` sees to it

    @property
    def root_targets(self) -> Targets:
        """Roots as readers of the stream."""
        return joined(*(root.target for root in self.roots))

    def keeps_rows(self, n_rows: int) -> bool:
        """Whether rows found while ranking are those of the graph; else they are found again for the chosen features.

        A column of a cross-layer feature is a sum over the layers it writes to, and its parts belong to different error
        nodes.
        """
        is_cross_layer = self.recorded.basis.is_cross_layer
        return not is_cross_layer and are_kept(n_rows, self.layout(len(self.active)).logits.start)

    def features(self, chosen: Int[Tensor, " chosen"]) -> Targets:
        """The chosen active features as targets."""
        return feature_targets(self.recorded.recording, self.recorded.basis, self.active, chosen)

    @cached_property
    def written(self) -> list[Written]:
        """What the active features write; see `written_by`."""
        return written_by(self.recorded.recording, self.recorded.basis, self.active, self.flow)

    def sources(self, flow: FrozenFlow, columns: Int[Tensor, " active"], layout: NodeLayout) -> Sources:
        """What writes in this run, in the columns of a layout; see `sources_of`."""
        recorded = self.recorded
        return sources_of(recorded.recording, recorded.basis, self.active, columns, layout, flow, self.written)


def attribute(
    run: Run,
    *,
    store: ResumeStore | None = None,
    on_progress: Progress | None = None,
) -> tuple[Graph, float]:
    """The graph of a run without its `meta`, and the share of influence left unexplained."""
    flow = run.flow
    try:
        graph, unexplained = _found(run, flow, store, on_progress)
    except BaseException:
        if store is not None:
            store.flush()
        raise
    if store is not None:
        store.discard()
    return graph, unexplained


def _found(
    run: Run,
    flow: FrozenFlow,
    store: ResumeStore | None,
    on_progress: Progress | None,
) -> tuple[Graph, float]:
    n_active, limit, max_unexplained = len(run.active), run.expanded, run.settings.max_unexplained
    roots = run.root_targets
    everything = torch.ones(n_active, dtype=torch.bool)
    columns = torch.arange(n_active, device=run.active.layer.device)
    layout = run.layout(n_active)
    if limit == n_active and max_unexplained == 0:
        targets = joined(run.features(columns), roots)
        step = _counting(on_progress, len(targets))
        rows = edges_into(flow, run.sources(flow, columns, layout), targets, on_progress=step, store=store)
        return _graph(run, everything, targets, rows), 0.0

    question = Question(
        flow=flow,
        sources=run.sources(flow, columns, layout),
        layout=layout,
        layers=run.active.layer.long(),
        features=run.features,
        roots=roots,
        weights=run.root_weights,
    )
    n_rows = limit + len(roots)
    keeps = run.keeps_rows(n_rows)
    step = _counting(on_progress, n_rows if keeps else 2 * n_rows)
    expansion = expand(
        question,
        max_features=limit,
        max_unexplained=max_unexplained,
        keeps_rows=keeps,
        store=store,
        on_progress=step,
    )
    del question
    return _within_budget(run, flow, roots, expansion.chosen, expansion.rows, store, step), expansion.unexplained


def _within_budget(
    run: Run,
    flow: FrozenFlow,
    roots: Targets,
    chosen: Bool[Tensor, " active"],
    rows: EdgeRows | None,
    store: ResumeStore | None,
    step: Callable[[int], None] | None,
) -> Graph:
    """The graph of chosen features and roots when what the other features write belongs to error nodes."""
    on_device = chosen.to(run.active.layer.device)
    small = run.layout(int(chosen.sum()))
    columns = torch.where(on_device, on_device.cumsum(0) - 1, -1)
    targets = joined(run.features(on_device.nonzero().flatten()), roots)
    if rows is None:
        rows = edges_into(flow, run.sources(flow, columns, small), targets, on_progress=step, store=store)
    else:
        rows = merge_columns(rows, _renamed(run, columns, small))
    return _graph(run, chosen, targets, rows)


def _renamed(run: Run, columns: Int[Tensor, " active"], small: NodeLayout) -> Int[Tensor, " column"]:
    """For each column of all active features its node in the small layout."""
    own_error = small.error(run.active.layer.long(), run.active.position.long())
    others = torch.arange(small.errors.start, small.logits.start, device=columns.device)
    return torch.cat([torch.where(columns < 0, own_error, columns), others])


def _graph(run: Run, chosen: Bool[Tensor, " active"], targets: Targets, rows: EdgeRows) -> Graph:
    nodes, n_features = run.nodes(chosen), int(chosen.sum())
    return Graph(
        nodes=nodes,
        row_nodes=torch.cat([torch.arange(n_features), torch.arange(len(nodes) - len(run.roots), len(nodes))]),
        indptr=rows.indptr.cpu(),
        indices=rows.columns.cpu(),
        values=rows.values.cpu(),
        values_of_targets=targets.values_in(run.recorded.recording).cpu(),
    )


def _counting(on_progress: Progress | None, total: int) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        on_progress(done, total)

    return count
