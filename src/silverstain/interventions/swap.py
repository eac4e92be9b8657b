"""Put one prompt's thought into another: silence the recipient's features of a kind, insert the donor's.

"the capital of the state containing dallas is" with texas' features silenced and california's (as they fire on
oakland in the donor prompt) inserted should say sacramento, if that is how the model works.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from silverstain.bases import ActiveUnits, Dictionary
from silverstain.errors import UsageError
from silverstain.interventions.edits import Edit, Place, at_places
from silverstain.interventions.intervene import Intervention, Prompt, as_ids, intervene_many
from silverstain.models import LanguageModel, harvest


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One swap to be made: which places of the recipient are silenced, which of the donor are moved where."""

    prompt: Prompt
    donor_prompt: Prompt
    own: Sequence[Place]
    """(layer, position, feature) of the recipient's features of that kind."""
    donated: Sequence[Place]
    """(layer, position, feature) of the donor's, positions in the donor prompt."""
    positions: Mapping[int, int] | None = None
    """Donor position → recipient position; None: the same positions, for prompts of one length."""
    strength: float = 1.0
    """The donor's activations are multiplied by this: more than 1 where groups are incomplete."""


def swap(
    model: LanguageModel,
    dictionary: Dictionary,
    prompt: Prompt,
    donor_prompt: Prompt,
    *,
    own: Sequence[Place],
    donated: Sequence[Place],
    positions: Mapping[int, int] | None = None,
    strength: float = 1.0,
    attention: str = "live",
    base: str = "clean",
    n_top: int = 10,
) -> Intervention:
    """Silence `own` in `prompt`, set `donated` to strength × their activation in `donor_prompt`, and run."""
    one = Swap(
        prompt=prompt, donor_prompt=donor_prompt, own=own, donated=donated, positions=positions, strength=strength
    )
    return swap_many(model, dictionary, [one], attention=attention, base=base, n_top=n_top)[0]


def swap_many(
    model: LanguageModel,
    dictionary: Dictionary,
    swaps: Sequence[Swap],
    *,
    attention: str = "live",
    base: str = "clean",
    n_top: int = 10,
) -> list[Intervention]:
    """Many swaps in few forward passes."""
    edits = [swap_edits(model, dictionary, one) for one in swaps]
    prompts = [one.prompt for one in swaps]
    return intervene_many(model, dictionary, prompts, edits, attention=attention, base=base, n_top=n_top)


def swap_edits(model: LanguageModel, dictionary: Dictionary, one: Swap) -> tuple[Edit, ...]:
    """The edits a swap consists of: own features silenced, donated ones set; one that is both has its donor value."""
    n_recipient, n_donor = len(as_ids(model, one.prompt)), len(as_ids(model, one.donor_prompt))
    if not one.own and not one.donated:
        raise UsageError("This swap names no feature, neither the recipient's own nor donated ones.")
    moves = one.positions
    if moves is None and n_recipient != n_donor and one.donated:
        raise UsageError(
            f"The prompt has {n_recipient} tokens and the donor {n_donor}; say which donor position goes where "
            "(positions={donor: recipient})."
        )
    lost = sorted({position for _, position, _ in one.donated} - set(moves)) if moves is not None else []
    if lost:
        raise UsageError(f"Donated features at donor positions {lost} have nowhere to go; add them to positions.")
    values = activations_at(model, dictionary, one.donor_prompt, one.donated)
    donated: dict[int, dict[tuple[int, int], float]] = {}
    for (layer, position, feature), value in zip(one.donated, values, strict=True):
        target = position if moves is None else moves[position]
        donated.setdefault(target, {})[layer, feature] = value * one.strength
    patches = [
        Edit(op="patch", features=tuple(given), positions=(position,), donor=tuple(given.values()))
        for position, given in sorted(donated.items())
    ]
    given = {(layer, position, feature) for position, found in donated.items() for layer, feature in found}
    return (*at_places("ablate", [place for place in one.own if place not in given]), *patches)


def activations_at(
    model: LanguageModel, dictionary: Dictionary, prompt: Prompt, places: Sequence[Place]
) -> list[float]:
    """The activation of each (layer, position, feature) in a clean run of the prompt; zero at real-MLP positions."""
    ids = as_ids(model, prompt)
    outside = [
        place
        for place in places
        if not (place[0] < dictionary.n_layers and place[1] < len(ids) and place[2] < dictionary.n_features)
        or min(place) < 0
    ]
    if outside:
        raise UsageError(f"There is no {outside[0]} (layer, position, feature) in a prompt of {len(ids)} tokens here.")
    mlp_inputs = harvest(model, ids[None], reads_at=dictionary.reads_at).mlp_inputs[:, 0]
    dense: dict[tuple[int, int], torch.Tensor] = {}
    values: list[float] = []
    for layer, position, feature in places:
        if (layer, position) not in dense:
            dense[layer, position] = dictionary.encode_layer(layer, mlp_inputs[layer, position].to(dictionary.dtype))
        values.append(float(dense[layer, position][feature]) if position >= model.n_real else 0.0)
    return values


def active_places(
    active: ActiveUnits,
    *,
    features: Collection[tuple[int, int]] | None = None,
    positions: Collection[int] | None = None,
    layers: Collection[int] | None = None,
) -> list[Place]:
    """The (layer, position, feature) that fire, restricted to the given features, positions, layers (None: all)."""
    columns = zip(active.layer.tolist(), active.position.tolist(), active.feature.tolist(), strict=True)
    return [
        (layer, position, feature)
        for layer, position, feature in columns
        if (features is None or (layer, feature) in features)
        and (positions is None or position in positions)
        and (layers is None or layer in layers)
    ]
