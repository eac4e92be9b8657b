"""Random features that are changed as much as the chosen ones: what any push of that size would do.

A control lives at the same layers and positions, moves as many other features by the same amounts, and is scaled so
that the vectors it adds are, layer and position for layer and position, as long as those of the edits it controls for.

What most pushes do is even: a push and its opposite both lengthen the stream, norms divide by more, and a logit falls.
So random controls come in pairs, the second moved the other way. The others are drawn from all features, or from those
that fire on the prompt: these carry its answer, so moving a few of them is a second edit as much as a control, and the
one that bites.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from silverstain.attribution import RecordedRun
from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit
from silverstain.interventions.passes import sites_for

Among = Literal["all", "active"]
"""Which features a control is drawn from: all of a layer, or those that fire at the place."""


def random_control(
    run: RecordedRun, edits: Sequence[Edit], *, seed: int = 0, opposite: bool = False, among: Among = "all"
) -> tuple[Edit, ...]:
    """Edits of random features, matched to `edits` of the run's prompt in layer, position, number and size.

    None of them is edited there. Places that the edits leave unchanged get no control, nor do those without other
    features to draw from. `opposite` moves the same features the other way.
    """
    basis = run.basis
    sites = sites_for(run.model, basis, [edits], [run.n_positions])
    edited: dict[tuple[int, int], list[tuple[int, float, float]]] = defaultdict(list)
    columns = (sites.layer, sites.position, sites.feature, sites.factor, sites.constant)
    for layer, position, feature, factor, constant in zip(*(column.tolist() for column in columns), strict=True):
        edited[layer, position].append((feature, factor, constant))
    generator = torch.Generator().manual_seed(seed)
    control: list[Edit] = []
    for (layer, position), rules in edited.items():
        activations = basis.encode_layer(layer, run.recording.mlp_inputs[layer, position])
        features = torch.tensor([feature for feature, _, _ in rules], device=activations.device)
        factors = torch.tensor([factor for _, factor, _ in rules], device=activations.device)
        constants = torch.tensor([constant for _, _, constant in rules], device=activations.device)
        change = (factors.to(activations) - 1) * activations[features] + constants.to(activations)
        if bool((change != 0).any()):
            others = _others(features, activations != 0 if among == "active" else None, basis.n_features, generator)
            if not len(others):
                continue
            amounts = _as_long(change[: len(others)], others, change, features, layer, basis)
            amounts = -amounts if opposite else amounts
            if not bool(amounts.isfinite().all()):
                raise UsageError(
                    f"The edits change layer {layer} at position {position} by so much that no random change is as "
                    "long; make the change smaller."
                )
            control.append(_moved_to(layer, position, others, activations[others] + amounts))
    return tuple(control)


def _others(
    edited: Int[Tensor, " k"], fires: Bool[Tensor, " feature"] | None, n_features: int, generator: torch.Generator
) -> Int[Tensor, " others"]:
    """As many random features as are edited, or all others if these are fewer; of those that fire, if told."""
    is_free = torch.ones(n_features, dtype=torch.bool) if fires is None else fires.cpu().clone()
    is_free[edited.cpu()] = False
    candidates = is_free.nonzero().flatten()
    order = torch.randperm(len(candidates), generator=generator)
    return candidates[order[: len(edited)]].to(edited.device)


def _as_long(
    amounts: Float[Tensor, " others"],
    others: Int[Tensor, " others"],
    change: Float[Tensor, " k"],
    features: Int[Tensor, " k"],
    layer: int,
    basis: Basis,
) -> Float[Tensor, " others"]:
    """`amounts` scaled so that what the others write is as long as what `change` of the features writes."""

    def written(by: Tensor, rows: Tensor) -> Tensor:
        return torch.einsum("f, f k d -> k d", by, basis.decoder_rows(layer, rows).to(by)).norm()

    length = written(amounts, others)
    return amounts * (written(change, features) / length) if float(length) > 0 else amounts


def _moved_to(layer: int, position: int, features: Int[Tensor, " k"], values: Float[Tensor, " k"]) -> Edit:
    pairs = tuple((layer, feature) for feature in features.tolist())
    return Edit(op="patch", features=pairs, positions=(position,), donor=tuple(values.tolist()))
