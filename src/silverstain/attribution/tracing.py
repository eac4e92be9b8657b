"""From a prompt to its attribution graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
import transformers
from jaxtyping import Bool, Int
from torch import Tensor

from silverstain import __version__
from silverstain.attribution.budget import expand, merge_columns
from silverstain.attribution.edges import EdgeRows, Targets, edges_into
from silverstain.attribution.flow import FrozenFlow
from silverstain.attribution.freezing import freeze
from silverstain.attribution.requests import TargetRequest, as_request, described
from silverstain.attribution.room import saying_what_fits
from silverstain.attribution.roots import (
    MOST_TARGETS,
    PROBABILITY,
    Root,
    cut_prompt,
    find_roots,
    likeliest,
    root_facts,
    root_targets,
)
from silverstain.attribution.sources import sources_of
from silverstain.attribution.targets import feature_targets
from silverstain.dictionaries import ActiveFeatures, Dictionary, check_fits
from silverstain.errors import UsageError
from silverstain.graphs import Graph, NodeLayout, NodeTable, node_table
from silverstain.models import LanguageModel, Recording, record

Progress = Callable[[int, int], None]
"""Told (targets done, targets in all)."""


@torch.no_grad()
def trace(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: str | Sequence[int],
    *,
    targets: Sequence[str | int | TargetRequest] | None = None,
    position: int = -1,
    probability: float = PROBABILITY,
    most_targets: int = MOST_TARGETS,
    max_features: int | None = None,
    max_unexplained: float = 0.0,
    on_progress: Progress | None = None,
) -> Graph:
    """How the model came to its next token: every active feature, what fed it, and what it fed.

    Args:
        prompt: text, or token ids as they are to be run.
        targets: what is explained, each with a position of its own where it names one: tokens (text or ids) whose
            logits are read, TokenTarget, DifferenceTarget, DirectionTarget, FeatureTarget. By default the smallest set
            of tokens that reaches `probability`, at most `most_targets`.
        position: the token after which the answer is read, for targets that name no other. What follows the last
            token that is read is left out, as it changes nothing.
        max_features: room for features with nodes of their own, taken in order of influence. What the others write
            goes to the error nodes of the layers and positions they write to. By default every active feature.
        max_unexplained: stop expanding when no more than this share of the influence is left unexplained; the share
            that was left is `meta["unexplained_influence"]`.
        on_progress: told (targets done, targets in all).

    UsageError for a prompt, target or position that the model does not have, or a dictionary of another model.
    """
    check_fits(dictionary, model)
    _check_budget(max_features, max_unexplained)
    _check_likeliest(probability, most_targets)
    requests = None if targets is None else [as_request(target) for target in targets]
    token_ids, places = cut_prompt(_tokens(model, prompt), requests, position)

    start = perf_counter()
    recording = record(model, token_ids, reads_at=dictionary.reads_at)
    n_real = min(model.n_real, recording.n_positions)
    ours = dictionary.to(device=model.device, dtype=model.dtype)
    everything = ours.encode(recording.mlp_inputs, n_real=n_real)
    if requests is None:
        asked = likeliest(recording, places[0], probability=probability, most=most_targets)
        places = places * len(asked)
    else:
        asked = requests
    roots = find_roots(model, ours, recording, asked, places)
    active = _below(everything, max(root.layer for root in roots))
    recorded = perf_counter()

    run = _Run(model=model, dictionary=ours, recording=recording, active=active, roots=roots, n_real=n_real)
    with saying_what_fits(
        n_features=len(active) if max_features is None else min(len(active), max_features),
        n_others=run.layout(0).size,
        n_targets=len(roots),
        itemsize=model.dtype.itemsize,
        device=model.device,
    ):
        graph, unexplained = _attribute(run, max_features, max_unexplained, on_progress)
    done = perf_counter()

    meta = _meta(run, dictionary, prompt, token_ids) | {
        "targets": root_facts(roots, graph.values_of_targets[-len(roots) :]),
        "active_features": len(everything),
        "settings": {
            "targets": None if requests is None else [described(request) for request in requests],
            "position": position,
            "probability": probability,
            "most_targets": most_targets,
            "max_features": max_features,
            "max_unexplained": max_unexplained,
            "n_real": n_real,
            "dtype": str(model.dtype).removeprefix("torch."),
        },
        "unexplained_influence": unexplained,
        "exactness": {"max_relative_error": graph.exactness()},
        "seconds": {"record": recorded - start, "attribute": done - recorded, "total": perf_counter() - start},
    }
    return replace(graph, meta=meta)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One recorded prompt, with what is asked about it."""

    model: LanguageModel
    dictionary: Dictionary
    recording: Recording
    active: ActiveFeatures
    roots: tuple[Root, ...]
    n_real: int

    def layout(self, n_features: int) -> NodeLayout:
        return NodeLayout(
            n_features=n_features,
            n_layers=self.model.n_layers,
            n_positions=self.recording.n_positions,
            n_logits=len(self.roots),
            n_real=self.n_real,
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
            token_ids=self.recording.token_ids,
            target_ids=[root.token_id for root in self.roots],
            target_probabilities=[root.weight for root in self.roots],
            target_position=[root.position for root in self.roots],
        )


def _attribute(
    run: _Run, max_features: int | None, max_unexplained: float, on_progress: Progress | None
) -> tuple[Graph, float]:
    """The graph of a run without its `meta`, and the share of influence left unexplained."""
    flow = freeze(run.model, run.recording, run.dictionary)
    features = feature_targets(run.recording, run.dictionary, run.active)
    logits = root_targets(run.recording, run.roots)
    everything = torch.ones(len(features), dtype=torch.bool)
    n_rows = len(logits) + min(len(features), len(features) if max_features is None else max_features)
    step = _counting(on_progress, n_rows)

    if max_unexplained == 0 and (max_features is None or max_features >= len(features)):
        columns = torch.arange(len(features), device=run.active.layer.device)
        sources = sources_of(run.recording, run.dictionary, run.active, columns, run.layout(len(features)))
        rows = edges_into(flow, sources, joined(features, logits), on_progress=step)
        return _graph(run, everything, features, logits, rows), 0.0

    all_columns = torch.arange(len(features), device=run.active.layer.device)
    all_sources = sources_of(run.recording, run.dictionary, run.active, all_columns, run.layout(len(features)))
    expansion = expand(
        flow,
        all_sources,
        features,
        logits,
        run.nodes(everything),
        max_features=len(features) if max_features is None else max_features,
        max_unexplained=max_unexplained,
        on_progress=step,
    )
    rows = _within_budget(run, flow, features, logits, expansion.chosen, expansion.rows)
    return _graph(run, expansion.chosen, features, logits, rows), expansion.unexplained


def _within_budget(
    run: _Run,
    flow: FrozenFlow,
    features: Targets,
    logits: Targets,
    chosen: Bool[Tensor, " active"],
    rows: EdgeRows,
) -> EdgeRows:
    """The rows of chosen features and logits when what the other features write belongs to error nodes."""
    chosen = chosen.to(features.layers.device)
    small = run.layout(int(chosen.sum()))
    columns = torch.where(chosen, chosen.cumsum(0) - 1, -1)
    if run.dictionary.is_cross_layer:
        # A column is a sum over the layers a feature writes to; its parts belong to different error nodes.
        sources = sources_of(run.recording, run.dictionary, run.active, columns, small)
        return edges_into(flow, sources, joined(features[chosen.nonzero().flatten()], logits))
    return merge_columns(rows, _renamed(run, columns, small))


def _renamed(run: _Run, columns: Int[Tensor, " active"], small: NodeLayout) -> Int[Tensor, " column"]:
    """For each column of all active features its node in the small layout."""
    own_error = small.error(run.active.layer.long(), run.active.position.long())
    others = torch.arange(small.errors.start, small.logits.start, device=columns.device)
    return torch.cat([torch.where(columns < 0, own_error, columns), others])


def joined(first: Targets, second: Targets) -> Targets:
    """Two sets of targets, one behind the other."""
    return Targets(
        vectors=torch.cat([first.vectors, second.vectors]),
        layers=torch.cat([first.layers, second.layers]),
        positions=torch.cat([first.positions, second.positions]),
        constants=torch.cat([first.constants, second.constants]),
        values=torch.cat([first.values, second.values]),
    )


def _graph(run: _Run, chosen: Bool[Tensor, " active"], features: Targets, logits: Targets, rows: EdgeRows) -> Graph:
    nodes = run.nodes(chosen)
    n_features = int(chosen.sum())
    values = torch.cat([features.values[chosen.to(features.values.device)], logits.values])
    return Graph(
        nodes=nodes,
        row_nodes=torch.cat([torch.arange(n_features), torch.arange(len(nodes) - len(logits), len(nodes))]),
        indptr=rows.indptr.cpu(),
        indices=rows.columns.cpu(),
        values=rows.values.cpu(),
        values_of_targets=values.cpu(),
    )


def _meta(run: _Run, dictionary: Dictionary, prompt: str | Sequence[int], token_ids: list[int]) -> dict[str, Any]:
    """What the graph is of: JSON can hold it."""
    model = run.model
    return {
        "prompt": prompt if isinstance(prompt, str) else model.tokenizer.decode(token_ids, skip_special_tokens=True),
        "tokens": model.token_strings(token_ids),
        "token_ids": token_ids,
        "model": {"name": model.name, "hash": model.hash},
        "dictionary": {"name": dictionary.name, "hash": dictionary.hash},
        "versions": {
            "silverstain": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        },
    }


def _tokens(model: LanguageModel, prompt: str | Sequence[int]) -> list[int]:
    return model.tokenize(prompt) if isinstance(prompt, str) else [int(token) for token in prompt]


def _below(active: ActiveFeatures, layer: int) -> ActiveFeatures:
    """The features that a read at `layer` can see; those above lead to no target, and get no node."""
    stop = active.of_layer(layer).start
    columns = ("layer", "position", "feature", "activation")
    return replace(active, **{name: getattr(active, name)[:stop] for name in columns})


def _check_budget(max_features: int | None, max_unexplained: float) -> None:
    if max_features is not None and max_features < 0:
        raise UsageError(f"max_features is {max_features}; give a number of features, or none for all of them")
    if not 0 <= max_unexplained <= 1:
        raise UsageError(f"max_unexplained is {max_unexplained}; give a share of the influence, from 0 to 1")


def _check_likeliest(probability: float, most_targets: int) -> None:
    if not 0 <= probability <= 1:
        raise UsageError(f"probability is {probability}; give what the explained tokens are to reach, from 0 to 1")
    if most_targets < 1:
        raise UsageError(f"most_targets is {most_targets}; give a number of tokens from 1 on")


def _counting(on_progress: Progress | None, total: int) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        on_progress(done, total)

    return count
