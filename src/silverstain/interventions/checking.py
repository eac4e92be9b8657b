"""Edits that would do nothing are said, with what is near: silencing a feature that does not fire changes nothing."""

from collections.abc import Sequence

import torch

from silverstain.attribution import RecordedRun
from silverstain.errors import UsageError
from silverstain.interventions.edits import AnyEdit, Edit
from silverstain.interventions.positions import resolved
from silverstain.notation import feature_name

NEAR = 3
"""So many near features are offered."""


def check_active(run: RecordedRun, edits: Sequence[AnyEdit]) -> None:
    """UsageError for a feature that is silenced or scaled where it is not active, naming where it is, or what is near.

    Near are the features active there whose encoder rows point most nearly the same way.
    """
    basis = run.basis
    for edit in edits:
        if isinstance(edit, Edit) and edit.op in ("ablate", "scale"):
            positions = resolved(edit.positions, run.n_positions, first=run.n_real, edit=edit)
            for layer, feature in edit.features:
                if layer >= basis.n_layers or feature >= basis.n_features:
                    raise UsageError(
                        f"The edit {edit} names L{layer}.F{feature}, but this dictionary has {basis.n_layers} "
                        f"layers of {basis.n_features} features; name one of those."
                    )
                if not bool(run.activations([(layer, position, feature) for position in positions]).any()):
                    raise UsageError(_advice(run, layer, feature, positions, edit))


def _advice(run: RecordedRun, layer: int, feature: int, positions: Sequence[int], edit: Edit) -> str:
    where = "anywhere in this prompt" if edit.positions is None else f"at {_listed('position', positions)}"
    said = f"L{layer}.F{feature} is not active {where}, so {edit} changes nothing; "
    if run.basis.is_dense:
        return said + "name another, or another position."
    active = run.active[run.active.of_layer(layer)]
    elsewhere = active.position[active.feature == feature].tolist()
    if elsewhere:
        return said + f"it is active at {_listed('position', elsewhere)}."
    fires = active.feature[torch.isin(active.position, active.position.new_tensor(positions))].unique()
    if not len(fires):
        return said + f"no feature of layer {layer} is."
    named = torch.cat([fires, fires.new_tensor([feature])])
    inputs = run.recording.mlp_inputs[layer, positions[0]].expand(len(named), -1)
    rows = torch.nn.functional.normalize(run.basis.readers(layer, named, inputs).vectors, dim=1)
    near = fires[(rows[:-1] @ rows[-1]).topk(min(NEAR, len(fires))).indices].tolist()
    return said + "nearest of those that are: " + ", ".join(feature_name(layer, n) for n in near) + "."


def _listed(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun} {numbers[0]}" if len(numbers) == 1 else f"{noun}s {', '.join(map(str, numbers))}"
