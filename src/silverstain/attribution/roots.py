"""The roots of a graph: each thing that was asked for, found in one recorded run.

Roots are the graph's logit nodes, whatever they read. They stand above the last layer, also when they read below it:
nothing reads a root, so edges still run upwards, and every pass over a graph meets its roots first. Where a root reads
is in `meta["targets"]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution.requests import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
)
from silverstain.attribution.targets import Targets, difference_targets, logit_targets, unit_targets
from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Recording
from silverstain.notation import feature_name


@dataclass(frozen=True, kw_only=True, eq=False)  # tensors do not compare to one truth
class Root:
    """One target of a graph, and how it reads the stream."""

    kind: str
    """token, difference, direction or feature."""
    name: str
    layer: int
    """The layer whose MLP input is read; n_layers for the final norm."""
    position: int
    weight: float
    """In the influence, beside the other roots."""
    target: Targets
    """The one by which it reads."""
    token_id: int = -1
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What only its kind has: of a token its text, id and probability, and so on."""


@runtime_checkable
class Seen(Protocol):
    """What roots look up in a run of a model."""

    @property
    def model(self) -> LanguageModel: ...

    @property
    def basis(self) -> Basis: ...

    def logits_at(self, position: int) -> Float[Tensor, " d_vocab"]: ...

    def read_at(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """What the basis reads there."""
        ...

    def activation_at(self, layer: int, position: int, feature: int) -> float: ...


def cut_prompt(
    token_ids: Sequence[int], requests: Sequence[TargetRequest] | None, position: int
) -> tuple[list[int], list[int]]:
    """The tokens up to the last one after which something is read, and where each request reads.

    Without requests there is one place, `position`. UsageError for a position that the prompt does not have.
    """
    wanted = [position] if requests is None else [_or(request.position, position) for request in requests]
    size = len(token_ids)
    for place in wanted:
        if size and not -size <= place < size:
            raise UsageError(
                f"there is no position {place} in a prompt of {size} tokens; give one from {-size} to {size - 1}"
            )
    places = [place % size for place in wanted] if size else wanted
    return list(token_ids[: max(places, default=size - 1) + 1]), places


def likeliest(recording: Recording, position: int, *, probability: float, most: int) -> list[TargetRequest]:
    """The smallest set of tokens that reaches a probability, at most so many; the likeliest first."""
    chances = recording.logits[position].double().softmax(-1)
    ranked, order = chances.topk(min(most, len(chances)))
    count = min(int((ranked.cumsum(0) < probability).sum()) + 1, len(ranked))
    return [TokenTarget(token=int(token), position=position) for token in order[:count]]


def find_roots(run: Seen, requests: Sequence[TargetRequest], places: Sequence[int]) -> tuple[Root, ...]:
    """What is asked for at each of `places`, in a recorded run; UsageError for what the model does not have, and for a
    target named twice."""
    roots = tuple(_root(run, request, place) for request, place in zip(requests, places, strict=True))
    seen: set[tuple[Any, ...]] = set()
    for root in roots:
        identity = (root.kind, root.name, root.layer, root.position, root.token_id, str(root.facts.get("ids")))
        if identity in seen:
            raise UsageError(
                f"the target {root.name!r} is named twice at position {root.position}; name each target once"
            )
        seen.add(identity)
    if not roots:
        raise UsageError("no target is named; name one, or leave targets out for the likeliest tokens")
    if not any(root.weight > 0 for root in roots):
        raise UsageError("every target has weight 0; give one of them a weight above it")
    return roots


def root_facts(roots: Sequence[Root], values: Float[Tensor, " root"]) -> list[dict[str, Any]]:
    """What a graph's `meta` says of its roots."""
    return [
        {
            "kind": root.kind,
            "name": root.name,
            **root.facts,
            "layer": root.layer,
            "position": root.position,
            "weight": root.weight,
            "value": value,
        }
        for root, value in zip(roots, values.tolist(), strict=True)
    ]


def _root(run: Seen, request: TargetRequest, place: int) -> Root:
    if isinstance(request, TokenTarget):
        return _token(run, request, place)
    if isinstance(request, DifferenceTarget):
        return _difference(run.model, request, place)
    if isinstance(request, DirectionTarget):
        return _direction(run, request, place)
    return _feature(run, request, place)


def _token(run: Seen, request: TokenTarget, place: int) -> Root:
    model = run.model
    token = _token_id(model, request.token)
    probability = float(run.logits_at(place).double().softmax(-1)[token])
    text = model.token_strings([token])[0]
    return Root(
        kind="token",
        name=text,
        layer=model.n_layers,
        position=place,
        weight=_weight(request, probability, text),
        target=logit_targets(model, [token], [place]),
        token_id=token,
        facts={"token": text, "id": token, "probability": probability},
    )


def _difference(model: LanguageModel, request: DifferenceTarget, place: int) -> Root:
    token, minus = _token_id(model, request.token), _token_id(model, request.minus)
    if token == minus:
        raise UsageError(f"the difference of {request.token!r} and {request.minus!r} is of one token; name two")
    texts = model.token_strings([token, minus])
    name = " − ".join(text.strip() or text for text in texts)
    return Root(
        kind="difference",
        name=name,
        layer=model.n_layers,
        position=place,
        weight=_weight(request, 1.0, name),
        target=difference_targets(model, [(token, minus)], [place]),
        facts={"tokens": texts, "ids": [token, minus]},
    )


def _direction(run: Seen, request: DirectionTarget, place: int) -> Root:
    model, like = run.model, run.read_at(0, place)
    vector = torch.as_tensor(request.vector).detach().to(like)
    if vector.shape != (model.d_model,):
        raise UsageError(
            f"the direction {request.name!r} has shape {list(vector.shape)}; {model.name} reads vectors of "
            f"{model.d_model} numbers"
        )
    if not bool(vector.isfinite().all()) or not bool(vector.any()):
        raise UsageError(f"the direction {request.name!r} is zero or not finite; give a vector that points somewhere")
    layer = model.n_layers if request.layer is None else _layer(model.n_layers, request.layer, request.name)
    at = torch.tensor([layer, place], device=like.device)
    return Root(
        kind="direction",
        name=request.name,
        layer=layer,
        position=place,
        weight=_weight(request, 1.0, request.name),
        target=Targets(vectors=vector[None], layers=at[:1], positions=at[1:], constants=vector.new_zeros(1)),
    )


def _feature(run: Seen, request: FeatureTarget, place: int) -> Root:
    model, basis = run.model, run.basis
    name = feature_name(request.layer, request.feature)
    layer = _layer(model.n_layers, request.layer, name)
    if not 0 <= request.feature < basis.n_features:
        raise UsageError(
            f"there is no feature {request.feature} in layer {layer} of {basis.name}; give one from 0 to "
            f"{basis.n_features - 1}"
        )
    n_real = basis.n_real(model)
    if place < n_real:
        raise UsageError(
            f"{name} is asked for at position {place}, where the model keeps its real MLP and features mean nothing; "
            f"give a position from {n_real} on"
        )
    at = torch.tensor([layer, place, request.feature], device=model.device)
    inputs = run.read_at(layer, place)[None]
    return Root(
        kind="feature",
        name=name,
        layer=layer,
        position=place,
        weight=_weight(request, 1.0, name),
        target=unit_targets(basis, at[:1], at[1:2], at[2:], inputs),
        facts={"feature": request.feature, "activation": run.activation_at(layer, place, request.feature)},
    )


def _token_id(model: LanguageModel, token: str | int) -> int:
    if isinstance(token, str):
        return model.token_id(token)
    if not 0 <= token < model.d_vocab:
        raise UsageError(
            f"target token id {token} is not in the vocabulary of {model.name}; give ids from 0 to {model.d_vocab - 1}"
        )
    return int(token)


def _layer(n_layers: int, layer: int, name: str) -> int:
    if not 0 <= layer < n_layers:
        raise UsageError(f"{name} is asked for in layer {layer}; give one from 0 to {n_layers - 1}")
    return layer


def _weight(request: TargetRequest, default: float, name: str) -> float:
    weight = _or(request.weight, default)
    if not 0 <= weight < float("inf"):
        raise UsageError(f"the target {name!r} has weight {weight}; give a number from 0 on")
    return float(weight)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
