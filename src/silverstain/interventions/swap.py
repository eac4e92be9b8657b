"""Put one prompt's thought into another: silence the recipient's features of a kind, insert the donor's.

"the capital of the state containing dallas is" with texas' features silenced and california's (as they fire on
oakland in the donor prompt) inserted should say sacramento, if that is how the model works.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.attribution import Place
from silverstain.bases import ActiveUnits, Basis
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.interventions.donors import Donor
from silverstain.interventions.edits import Edit, at_places
from silverstain.interventions.intervene import Intervention, intervene_many
from silverstain.interventions.regimes import Regime
from silverstain.models import LanguageModel, Prompt, as_ids


@brief
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
    basis: Basis,
    prompt: Prompt,
    donor_prompt: Prompt,
    *,
    own: Sequence[Place],
    donated: Sequence[Place],
    positions: Mapping[int, int] | None = None,
    strength: float = 1.0,
    regime: Regime | None = None,
    n_top: int = 10,
    **held: Any,
) -> Intervention:
    """Silence `own` in `prompt`, set `donated` to strength × their activation in `donor_prompt`, and run."""
    one = Swap(
        prompt=prompt, donor_prompt=donor_prompt, own=own, donated=donated, positions=positions, strength=strength
    )
    return swap_many(model, basis, [one], regime, n_top=n_top, **held)[0]


def swap_many(
    model: LanguageModel,
    basis: Basis,
    swaps: Sequence[Swap],
    regime: Regime | None = None,
    *,
    n_top: int = 10,
    **held: Any,
) -> list[Intervention]:
    """Many swaps in few forward passes."""
    edits = [swap_edits(model, basis, one) for one in swaps]
    return intervene_many(model, basis, [one.prompt for one in swaps], edits, regime, n_top=n_top, **held)


def swap_edits(model: LanguageModel, basis: Basis, one: Swap) -> tuple[Edit, ...]:
    """The edits a swap consists of: own features silenced, donated ones set; one that is both has its donor value."""
    n_recipient, n_donor = len(as_ids(model, one.prompt)), len(as_ids(model, one.donor_prompt))
    if not one.own and not one.donated:
        raise UsageError("This swap names no feature, neither the recipient's own nor donated ones.")
    if one.positions is None and n_recipient != n_donor and one.donated:
        raise UsageError(
            f"The prompt has {n_recipient} tokens and the donor {n_donor}; say which donor position goes where "
            "(positions={donor: recipient})."
        )
    if not one.donated:
        return at_places("ablate", one.own)
    donor = Donor(model, basis, one.donor_prompt)
    patches = donor.patch(one.donated, to=one.positions, strength=one.strength)
    given = {(*at, position) for edit in patches for at in edit.features for position in resolved_positions(edit)}
    own = [place for place in one.own if (place[0], place[2], place[1]) not in given]
    return (*at_places("ablate", own), *patches)


def resolved_positions(edit: Edit) -> tuple[int, ...]:
    """The positions of an edit that names them one by one."""
    assert isinstance(edit.positions, tuple)  # patches of a donor do
    return edit.positions


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
