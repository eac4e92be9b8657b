"""Targets as text, for the command line and for files of prompts; `silverstain.target_forms` has the forms."""

from pathlib import Path

from silverstain.attribution.requests import (
    DifferenceTarget,
    DirectionTarget,
    FeatureTarget,
    TargetRequest,
    TokenTarget,
)
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.storage import read_tensors
from silverstain.target_forms import TargetForm, read_form, shown


def read_target(text: str) -> TargetRequest:
    """The target a text names, a direction's vector read from its file; UsageError says what it could have been."""
    form = read_form(text)
    if form.kind == "direction":
        return _direction(form)
    if form.kind == "difference":
        return DifferenceTarget(token=form.token, minus=form.minus, position=form.position)
    if form.kind == "token":
        return TokenTarget(token=form.token, position=form.position)
    assert form.layer is not None  # a feature has one
    return FeatureTarget(layer=form.layer, feature=form.feature, position=form.position)


def _direction(form: TargetForm) -> DirectionTarget:
    vectors, _ = read_tensors(form.file)
    name = form.name or (next(iter(vectors)) if len(vectors) == 1 else None)
    if name not in vectors:
        what = "no vector is named" if name is None else f"there is no vector {shown(name)}"
        known = printable(", ".join(sorted(vectors)) or "none", 300)
        raise UsageError(f"cannot read the target {shown(form.text)}: {what}; {Path(form.file).name} has {known}")
    return DirectionTarget(name=name, vector=vectors[name], layer=form.layer, position=form.position)
