"""From two prompts to the graph of why the model answers them differently."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from time import perf_counter
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.joining import check_finite
from silverstain.attribution.requests import DifferenceTarget
from silverstain.attribution.roots import Root, find_roots, root_facts
from silverstain.attribution.secant.edges import (
    edges_into_pairs,
    edges_into_readers,
    pair_columns,
    secant_sources,
    unit_rows,
)
from silverstain.attribution.secant.flow import Contributions, SecantFlow, secant_flow
from silverstain.attribution.secant.rules import slope
from silverstain.attribution.secant.selection import MOST_NODES, Selection, select
from silverstain.attribution.secant.units import NeuronUnits
from silverstain.attribution.settings import TraceSettings
from silverstain.attribution.targets import Targets, joined
from silverstain.bases import Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.graphs import Graph, NodeLayout, NodeTable, node_table
from silverstain.graphs.lettering import columns_of
from silverstain.models import LanguageModel
from silverstain.models.pairs import Pair, record_pair
from silverstain.version import __version__

Request = str | Sequence[int]


@brief
@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """Two recorded runs with what is asked of their difference: the flow, the roots, and what comes through what."""

    flow: SecantFlow
    basis: Basis
    settings: TraceSettings
    roots: tuple[Root, ...]
    prompts: tuple[str, str]

    @cached_property
    @torch.no_grad()
    def contributions(self) -> Contributions:
        """What comes through every unit and pattern; found where it is asked for, as patches alone need none of it."""
        targets = self.targets
        return self.flow.contributions(targets.vectors, targets.layers.tolist(), targets.positions)

    def _repr_html_(self) -> str:
        """What a notebook shows: the explorer with the graph of it, whose edges are worked out for that."""
        return contrast_graph(self).prune()._repr_html_()

    @property
    def pair(self) -> Pair:
        return self.flow.pair

    @property
    def model(self) -> LanguageModel:
        return self.flow.model

    @property
    def weights(self) -> Float[Tensor, " root"]:
        """How much each root counts beside the others."""
        weights = torch.tensor([root.weight for root in self.roots], dtype=torch.float64)
        return weights / weights.sum()

    @property
    def targets(self) -> Targets:
        """The roots as readers of the stream."""
        return joined(*(root.target for root in self.roots))

    @property
    def changes(self) -> Float[Tensor, " root"]:
        """By how much each root really differs between the two runs, in float64 before it is rounded."""
        targets = self.targets
        read = torch.stack([self._read(int(i), int(p)) for i, p in zip(targets.layers, targets.positions, strict=True)])
        change = (targets.vectors.double() * (read[:, 1].double() - read[:, 0].double())).sum(-1)
        return (change + targets.constants.double()).to(targets.vectors)

    def _read(self, layer: int, position: int) -> Float[Tensor, "run d_model"]:
        read = self.pair.final if layer == self.model.n_layers else self.pair.read(layer)
        return read[:, position]


def contrast(
    model: LanguageModel,
    basis: Basis,
    base: Request,
    other: Request,
    settings: TraceSettings | None = None,
    **keywords: Any,
) -> Graph:
    """Why the model answers two prompts of one length differently: the exact graph of the difference of the two runs.

    Args:
        base, other: text, or token ids as they are to be run; the change is from the first to the second.
        settings: as for `trace`; by default the target is the answer to the second less the answer to the first.

    Nodes are changes: of units, of attention patterns (a head, from a query to a key), of tokens. Nothing is held
    fixed: attention, norms and gates are live, and the edges into each node add up to its real change
    (`meta["exactness"]`). UsageError for equal prompts, prompts of other lengths, and answers that agree where no
    target is named.
    """
    start = perf_counter()
    found = find_contrast(model, basis, base, other, settings, **keywords)
    return contrast_graph(found, start)


@torch.no_grad()
def find_contrast(
    model: LanguageModel,
    basis: Basis,
    base: Request,
    other: Request,
    settings: TraceSettings | None = None,
    **keywords: Any,
) -> Contrast:
    """The two runs and how much of the difference comes through every unit and pattern, without edges."""
    settings = TraceSettings.of(settings, keywords)
    ids = [model.tokenize(prompt) if isinstance(prompt, str) else list(prompt) for prompt in (base, other)]
    check_pair(model, *ids)
    position, requests = _place(settings.position, len(ids[0])), settings.requests
    places = [_place(position if r.position is None else r.position, len(ids[0])) for r in requests or ()] or [position]
    pair = record_pair(model, *ids, reads_at=basis.reads_at, places=places)
    asked = [answers_apart(model, pair, position)] if requests is None else list(requests)
    flow = secant_flow(model, basis, pair)
    run = _Other(model=model, basis=basis, pair=pair)
    roots = tuple(_between(flow, root) for root in find_roots(run, asked, places[: len(asked)]))
    texts = [
        p if isinstance(p, str) else str(model.tokenizer.decode(i)) for p, i in zip((base, other), ids, strict=True)
    ]
    return Contrast(flow=flow, basis=basis, settings=settings, roots=roots, prompts=(texts[0], texts[1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Other:
    """The contrast, as roots see it."""

    model: LanguageModel
    basis: Basis
    pair: Pair

    def logits_at(self, position: int) -> Float[Tensor, " d_vocab"]:
        return self.pair.logits_at(position)[1]

    def read_at(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        return self.pair.read(layer)[1, position]

    def activation_at(self, layer: int, position: int, feature: int) -> float:
        first, at, unit = torch.tensor([[0], [position], [feature]], device=self.model.device)
        return float(self.basis.activations_at(layer, self.pair.read(layer)[1:], first, at, unit)[0])


def check_pair(model: LanguageModel, base: Sequence[int], other: Sequence[int]) -> None:
    """UsageError for prompts that are equal, or of other lengths: with the tokens of both."""
    if list(base) == list(other):
        raise UsageError("the two prompts are the same, so nothing differs; change a word in one of them")
    if len(base) != len(other):
        texts = [list(map(repr, model.token_strings(ids))) for ids in (base, other)]
        pairs = [*zip_longest(*texts, fillvalue="")]
        widths = [max(map(columns_of, pair)) for pair in pairs]
        rows = [
            " ".join(text + " " * (width - columns_of(text)) for text, width in zip(side, widths, strict=True)).rstrip()
            for side in zip(*pairs, strict=True)
        ]
        raise UsageError(
            f"the prompts have {len(base)} and {len(other)} tokens, and only prompts of one length can be compared; "
            "choose words of as many tokens",
            shown=tuple(rows),
        )


def answers_apart(model: LanguageModel, pair: Pair, position: int) -> DifferenceTarget:
    """The likeliest token of the contrast less that of the base; UsageError where they agree."""
    base, other = pair.logits_at(position).argmax(dim=-1).tolist()
    if base == other:
        (text,) = model.token_strings([base])
        raise UsageError(
            f"the model answers both prompts with {text!r}; name what is to be explained: --target diff:TOKEN,TOKEN"
        )
    return DifferenceTarget(token=other, minus=base, position=position)


def _place(position: int, n_positions: int) -> int:
    if not -n_positions <= position < n_positions:
        raise UsageError(
            f"there is no position {position} in prompts of {n_positions} tokens; give one from {-n_positions} to "
            f"{n_positions - 1}"
        )
    return position % n_positions


def _between(flow: SecantFlow, root: Root) -> Root:
    """A root as a reader of changes: constants drop out, soft-capped logits are read by their exact slopes, and neurons
    as the flow reads them."""
    model, pair = flow.model, flow.pair
    target = replace(root.target, constants=torch.zeros_like(root.target.constants))
    if root.kind == "feature" and isinstance(units := flow.units[root.layer], NeuronUnits):
        read = units.reads(torch.tensor([units.at(root.position, root.facts["feature"])], device=target.vectors.device))
        target = replace(target, vectors=read.vectors, constants=read.constants)
    if model.softcap is not None and root.kind == "difference":
        cap, ids = model.softcap, list(root.facts["ids"])
        plain = pair.final[:, root.position] @ model.W_U[ids].T.to(pair.final)
        if model.b_U is not None:
            plain = plain + model.b_U[ids]
        slopes = slope(lambda z: cap * torch.tanh(z / cap), plain[0], plain[1])
        rows = model.W_U[ids].to(slopes) * slopes[:, None]
        target = replace(target, vectors=(rows[0] - rows[1])[None])
    return replace(root, target=target)


@torch.no_grad()
def contrast_graph(found: Contrast, start: float | None = None) -> Graph:
    """The graph of the largest contributions, with all direct edges between them."""
    begun = perf_counter()
    flow, settings = found.flow, found.settings
    most = MOST_NODES if settings.max_features is None else settings.max_features
    selection = select(flow, found.contributions, found.weights, most=most, share=settings.share)
    layout = NodeLayout(
        n_features=sum(map(len, selection.units)),
        n_attention=len(selection.pairs) + flow.n_layers * flow.n_positions,
        n_layers=flow.n_layers,
        n_positions=flow.n_positions,
        n_logits=len(found.roots),
        n_real=flow.n_real,
    )
    nodes = _nodes(found, selection, layout)
    sources = secant_sources(flow, selection, layout)
    readers = edges_into_readers(flow, sources, joined(unit_rows(flow, selection), found.targets))
    pairs = edges_into_pairs(flow, sources, selection.pairs)
    n_units = layout.n_features
    rows = torch.cat([readers[:n_units], pairs, readers[n_units:]])
    check_finite(rows, "edges")
    graph = Graph.from_rows(
        nodes=nodes,
        row_nodes=torch.cat(
            [
                torch.arange(n_units),
                pair_columns(layout, selection)[0],
                torch.arange(layout.logits.start, layout.logits.stop),
            ]
        ),
        rows=torch.nn.functional.pad(rows, (0, layout.n_logits)),
        values_of_targets=torch.cat(
            [_unit_changes(flow, selection), _pair_changes(flow, selection), found.changes]
        ).cpu(),
    )
    done = perf_counter()
    start = begun if start is None else start
    meta = _meta(found, selection) | {
        "exactness": {"max_relative_error": graph.exactness()},
        "seconds": {"record": begun - start, "attribute": done - begun, "total": perf_counter() - start},
    }
    return graph.with_meta(meta)


def _unit_changes(flow: SecantFlow, selection: Selection) -> Tensor:
    return torch.cat([units.change[some] for units, some in zip(flow.units, selection.units, strict=True)])


def _pair_changes(flow: SecantFlow, selection: Selection) -> Tensor:
    pairs, found = selection.pairs, flow.embedding_change.new_zeros(len(selection.pairs))
    for layer in pairs.layer.unique().tolist():
        here = pairs.layer == layer
        found[here] = flow.attentions[layer].change[pairs.head[here], pairs.query[here], pairs.key[here]]
    return found


def _nodes(found: Contrast, selection: Selection, layout: NodeLayout) -> NodeTable:
    flow, pairs = found.flow, selection.pairs
    chosen = list(zip(flow.units, selection.units, strict=True))
    columns, rests = pair_columns(layout, selection)
    attention = {name: torch.full((layout.n_attention,), -1) for name in ("layer", "position", "head", "key")}
    activation = torch.zeros(layout.n_attention, dtype=flow.embedding_change.dtype)
    at, rest = columns - layout.attentions.start, rests - layout.attentions.start
    every = torch.arange(layout.n_layers * layout.n_positions)
    attention["layer"][rest], attention["position"][rest] = every // layout.n_positions, every % layout.n_positions
    for name, column in (("layer", pairs.layer), ("position", pairs.query), ("head", pairs.head), ("key", pairs.key)):
        attention[name][at] = column
    activation[at] = _pair_changes(flow, selection).cpu()
    return node_table(
        layout,
        layer=torch.cat([torch.full_like(some, units.layer) for units, some in chosen]),
        position=torch.cat([units.position[some] for units, some in chosen]),
        feature=torch.cat([units.feature[some] for units, some in chosen]),
        activation=_unit_changes(flow, selection),
        attention_layer=attention["layer"],
        attention_position=attention["position"],
        attention_head=attention["head"],
        attention_key=attention["key"],
        attention_activation=activation,
        token_ids=found.pair.token_ids[1],
        target_ids=[root.token_id for root in found.roots],
        target_probabilities=[root.weight for root in found.roots],
        target_position=[root.position for root in found.roots],
    )


def _meta(found: Contrast, selection: Selection) -> dict[str, Any]:
    """What the graph is of: JSON can hold it."""
    model, basis, pair = found.model, found.basis, found.pair
    base, other = pair.token_ids.tolist()
    return {
        "prompt": found.prompts[1],
        "tokens": model.token_strings(other),
        "token_ids": other,
        "contrast": {
            "prompt": found.prompts[0],
            "contrast_prompt": found.prompts[1],
            "tokens": model.token_strings(base),
            "contrast_tokens": model.token_strings(other),
            "token_ids": base,
            "contrast_token_ids": other,
            "changed": pair.changed,
            **_answers(found),
        },
        "rest": True,
        "model": {"name": model.name, "hash": model.hash},
        "dictionary": {"name": basis.name, "hash": basis.hash},
        "targets": root_facts(found.roots, found.changes),
        "settings": found.settings.to_json() | {"n_real": found.flow.n_real, "dtype": str(model.dtype).split(".")[-1]},
        "share": selection.share,
        "active_features": sum(int((units.change != 0).sum()) for units in found.flow.units),
        "unexplained_influence": 0.0,
        "versions": {
            "silverstain": __version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        },
    }


def _answers(found: Contrast) -> dict[str, Any]:
    """The first target in each run, and the two answers where it is a difference of two tokens."""
    root, pair = found.roots[0], found.pair
    if root.kind != "difference":
        value = float(found.changes[0])
        return {"base": None, "contrast": None, "change": value}
    other, base = root.facts["ids"]
    logits = pair.logits_at(root.position)
    chances = logits.double().softmax(-1)
    difference = (logits[:, other] - logits[:, base]).tolist()
    texts = found.model.token_strings([base, other])
    return {
        "base": difference[0],
        "contrast": difference[1],
        "answers": texts,
        "probabilities": {
            "base": chances[0, [base, other]].tolist(),
            "contrast": chances[1, [base, other]].tolist(),
        },
    }
