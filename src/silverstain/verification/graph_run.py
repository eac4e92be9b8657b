"""A graph's prompt, run again: what the graph claims is predicted and measured on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.attribution import (
    FrozenFlow,
    Norms,
    Place,
    RecordedRun,
    Targets,
    difference_targets,
    joined,
    logit_targets,
    record_run,
    unit_targets,
)
from silverstain.bases import Basis, with_rule
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.interventions import AnyEdit, Edit, Readouts, Regime, VectorEdit, sweep
from silverstain.interventions.local_replacement import (
    NormChanges,
    OnRead,
    frozen_norms,
    live_norms,
    run_local_replacement,
)
from silverstain.interventions.passes import changes_for
from silverstain.interventions.readouts import readout_set
from silverstain.models import LanguageModel
from silverstain.printable import printable

ROWS_A_PASS = 128


class Responses(NamedTuple):
    """By how much what is read changes under some lists of edits; on the processor, whatever the model's device."""

    features: Float[Tensor, "row feature"]
    """Activations."""
    targets: Float[Tensor, "row target"]

    @property
    def all(self) -> Float[Tensor, "row read"]:
        """Features, then the graph's targets."""
        return torch.cat([self.features, self.targets], dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class GraphRun:
    """A graph, and its prompt recorded in the model and basis that it was traced in."""

    run: RecordedRun
    graph: Graph

    @property
    def model(self) -> LanguageModel:
        return self.run.model

    @property
    def basis(self) -> Basis:
        return self.run.basis

    @cached_property
    def flow(self) -> FrozenFlow:
        """The frozen flow, its norms as the graph has them."""
        return self.run.flow(norms=self.graph_norms)

    @property
    def graph_norms(self) -> Norms:
        return (self.graph.meta.get("settings") or {}).get("norms", "frozen")

    @cached_property
    def frozen(self) -> NormChanges:
        return frozen_norms(self.flow)

    @cached_property
    def live(self) -> NormChanges:
        return live_norms(self.model, self.flow, self.run.recording, self.basis)

    @cached_property
    def errors(self) -> Float[Tensor, "layer pos d_model"]:
        """What error nodes write: all of an MLP's output that the graph's features do not."""
        norms, span = self.graph_norms, self.graph.nodes.span("feature")
        nodes = self.graph.nodes
        if self.basis.is_dense:
            columns = (nodes.layer, nodes.position, nodes.feature)
            named = self.run.units(list(zip(*(c[span].tolist() for c in columns), strict=True)))
            return self.run.errors_beside(named, norms)
        active = self.run.active
        have = set(zip(*(c[span].tolist() for c in (nodes.layer, nodes.position, nodes.feature)), strict=True))
        places = zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True)
        chosen = torch.tensor([i for i, place in enumerate(places) if place in have], dtype=torch.long)
        if len(chosen) < len(have):
            raise UsageError(
                f"{len(have) - len(chosen)} of the graph's {len(have)} features are not active when its prompt is run; "
                "trace the prompt again with this dictionary"
            )
        return self.run.errors_beside(active[chosen], norms)

    def place(self, node: int) -> Place:
        """(layer, position, feature) of a node; feature −1 for an error node."""
        nodes = self.graph.nodes
        return int(nodes.layer[node]), int(nodes.position[node]), int(nodes.feature[node])

    def scaled(self, nodes: Sequence[int], strength: float) -> tuple[AnyEdit, ...]:
        """Features set to strength × their activation, error nodes scaled by strength; other nodes stay.

        Features are set against what they are in the edited run itself (`base="current"`), so that members of one group
        which feed each other are not moved twice.
        """
        values: dict[int, dict[tuple[int, int], float]] = {}
        added: dict[tuple[int, int], Tensor] = {}
        for node in nodes:
            layer, position, feature = self.place(node)
            if feature >= 0:
                values.setdefault(position, {})[layer, feature] = strength * float(self.graph.nodes.activation[node])
            elif bool(self.graph.nodes.is_kind("error")[node]):
                added[layer, position] = (strength - 1) * self.errors[layer, position]
        set_to = (
            Edit(op="patch", features=tuple(given), positions=(position,), donor=tuple(given.values()))
            for position, given in sorted(values.items())
        )
        return (*set_to, *vectors_added(added))

    def written(self, node: int) -> Float[Tensor, "target d_model"]:
        """What a feature or error node writes, to its own layer first."""
        layer, position, feature = self.place(node)
        if feature < 0:
            return self.errors[layer, position][None]
        rows = self.basis.decoder_rows(layer, torch.tensor([feature], device=self.basis.device))[0]
        norm = self.flow.write_norm(layer)
        if norm is not None:
            rows = norm.linear_at(rows.to(self.errors), torch.tensor([position], device=rows.device))
        return float(self.graph.nodes.activation[node]) * rows.to(self.errors)

    def readouts(self, features: Int[Tensor, " feature"]) -> Readouts:
        """The given feature nodes, and every target of the graph."""
        return Readouts(features=tuple(self.place(node) for node in features.tolist()), targets=self.targets)

    @cached_property
    def targets(self) -> Targets:
        """How each target of the graph reads, from what its `meta` says of it."""
        nodes, model = self.graph.nodes, self.model
        span, facts = nodes.span("logit"), list(self.graph.meta.get("targets", ()))
        found: list[Targets] = []
        for node in range(span.start, span.stop):
            position, fact = int(nodes.position[node]), dict(facts[node - span.start]) if facts else {}
            kind = fact.get("kind", "token")
            if kind == "token" and int(nodes.token[node]) < 0:
                raise UsageError(
                    f"the graph does not say which token its target {fact.get('name')!r:.60} is, so it cannot be "
                    "read in the model; trace the prompt with the model"
                )
            if kind == "token":
                found.append(logit_targets(model, [int(nodes.token[node])], [position]))
            elif kind == "difference":
                found.append(difference_targets(model, [tuple(fact["ids"])], [position]))
            elif kind == "feature":
                at = torch.tensor([fact["layer"], position, fact["feature"]], device=model.device)
                inputs = self.run.recording.mlp_inputs[fact["layer"], position][None]
                found.append(unit_targets(self.basis, at[:1], at[1:2], at[2:], inputs))
            else:
                raise UsageError(
                    f"the target {fact.get('name')!r} is a {kind}, whose vector the graph does not keep; verify a "
                    "graph of tokens, differences or features"
                )
        return joined(*found)

    def measured(self, edits: Sequence[Sequence[AnyEdit]], readouts: Readouts, *, attention: str) -> Responses:
        """What is read under each list of edits in the real model; norms are live, features write where they write."""
        regime = Regime(attention=attention, base="current")
        found = sweep(self.model, self.basis, self.run.recording.token_ids, edits, regime=regime, readouts=readouts)
        return Responses(found.activations.change.cpu(), found.targets.change.cpu())

    def predicted(
        self,
        edits: Sequence[Sequence[AnyEdit]],
        readouts: Readouts,
        *,
        norms: str = "live",
        responding: bool = True,
        basis: Basis | None = None,
    ) -> Responses:
        """The same in the local replacement model."""
        recording = self.run.recording
        clean = {**dict(enumerate(recording.mlp_inputs)), self.model.n_layers: recording.final}
        of = readout_set(self.model, self.basis, readouts, clean, self.run.n_positions)
        of = replace(of, by_rule=True)
        parts = []
        for first in range(0, len(edits), ROWS_A_PASS):
            some = edits[first : first + ROWS_A_PASS]
            changed = of.changes(len(some))
            self.run_local_replacement(some, changed.read_, norms=norms, responding=responding, basis=basis)
            n = len(of.places)
            parts.append((changed.active, changed.targets[:, n:]))
        features, targets = zip(*parts, strict=True)
        return Responses(torch.cat(features).cpu(), torch.cat(targets).cpu())

    def run_local_replacement(
        self,
        edits: Sequence[Sequence[AnyEdit]],
        on_read: OnRead,
        *,
        norms: str = "live",
        responding: bool = True,
        basis: Basis | None = None,
    ) -> None:
        """Pass lists of edits up the local replacement model, a row each; see `interventions.local_replacement`."""
        changes = changes_for(self.model, self.basis, edits, [self.run.n_positions] * len(edits))
        how = self.live if norms == "live" else self.frozen
        run_local_replacement(
            self.run, self.flow, how, changes, len(edits), on_read, basis=basis, responding=responding
        )  # fmt: skip


def vectors_added(added: dict[tuple[int, int], Tensor]) -> tuple[VectorEdit, ...]:
    """Edits that add a vector to the MLP output at each (layer, position)."""
    return tuple(
        VectorEdit(op="add", layer=layer, positions=(position,), donor=tuple(vector.tolist()))
        for (layer, position), vector in added.items()
    )


def graph_run(model: LanguageModel, basis: Basis, graph: Graph, run: RecordedRun | None = None) -> GraphRun:
    """Record the graph's prompt, unless its run is given; UsageError if the graph is of another model, dictionary or
    prompt."""
    token_ids = graph.meta.get("token_ids")
    if not token_ids:
        raise UsageError("the graph does not say which tokens it is of, so nothing can be run; trace the prompt again")
    if min(token_ids) < 0:
        raise UsageError(
            f"the file that the graph was imported from does not say which tokens {sum(t < 0 for t in token_ids)} of "
            f"its {len(token_ids)} positions hold, so its prompt cannot be run; trace the prompt with the model"
        )
    check_belongs(graph, model, basis)
    basis = with_rule(basis, rule_of(graph))
    run = (
        record_run(model, basis, token_ids) if run is None else replace(run, basis=with_rule(run.basis, rule_of(graph)))
    )
    if run.model is not model or run.basis.hash != basis.hash or run.recording.token_ids.tolist() != list(token_ids):
        raise UsageError(
            "the run that is given is of another model, dictionary or prompt than the graph; record it anew"
        )
    found = GraphRun(run=run, graph=graph)
    _ = found.errors  # says at once whether the graph's features are active
    return found


def check_belongs(graph: Graph, model: LanguageModel, basis: Basis) -> None:
    """UsageError if the graph is of another model or dictionary, with the flags that name those it is of."""
    if graph.n_layers != model.n_layers:
        raise UsageError(
            f"the graph is of a model of {graph.n_layers} layers, and {model.name} has {model.n_layers}; load the "
            f"model that it is of{_flags(graph)}"
        )
    for what, ours in (("model", model), ("dictionary", basis)):
        theirs = (graph.meta.get(what) or {}).get("hash")
        if theirs is not None and theirs != ours.hash:
            name = graph.meta[what].get("name")
            raise UsageError(
                f"the graph is of another {what} ({name}, {theirs}) than {ours.name} ({ours.hash}); load that one"
                f"{_flags(graph)}"
            )


def rule_of(graph: Graph) -> str | None:
    """The rule by which a graph of neurons reads them; None for graphs of dictionaries."""
    return (graph.meta.get("settings") or {}).get("neuron_rule")


def _flags(graph: Graph) -> str:
    """How to name, on the command line, what the graph says it is of."""
    names = {what: (graph.meta.get(what) or {}).get("name") or "" for what in ("model", "dictionary")}
    flags = " ".join(f"--{what} {printable(name, 100)}" for what, name in names.items() if name not in ("", "unknown"))
    return f": {flags} (the path of a folder, or its id on the hub)" if flags else ""
