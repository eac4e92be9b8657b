"""Edits as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.interventions.edits import EXAMPLE, AnyEdit, DirectionEdit, Edit, PatternEdit, VectorEdit
from silverstain.interventions.outside_edits import (
    KINDS,
    EditsFile,
    OutsideDirectionEdit,
    OutsidePatternEdit,
    OutsideVectorEdit,
    pairs,
    positions_read,
)
from silverstain.parts import shown_path
from silverstain.storage import write_json_whole
from silverstain.validation import validated

FORMAT = "silverstain.edits/1"


def save_edits(edits: Sequence[AnyEdit], path: str | Path) -> None:
    """Write the edits as JSON, whole or not at all."""
    write_json_whole(Path(path), {"format": FORMAT, "edits": [edit.to_json() for edit in edits]})


def load_edits(path: str | Path) -> tuple[AnyEdit, ...]:
    """Read what `save_edits` wrote; UsageError naming the file when it is missing, damaged or of another format."""
    said = validated(EditsFile, read_json(Path(path), FORMAT), path, "write it with save_edits")
    found = []
    for number, entry in enumerate(said.edits, start=1):
        try:
            found.append(edit_from_json(entry))
        except UsageError as error:
            raise UsageError(f"cannot read {shown_path(path)}, edit {number}: {error}") from error
    return tuple(found)


def edit_from_json(data: Mapping[str, Any]) -> AnyEdit:
    """Read what an edit's `to_json` wrote; without a "kind" it is an edit of features."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not (kind is None or isinstance(kind, str)) or kind not in KINDS:
        raise UsageError(f"Not an edit: it is of the kind {kind!r:.80}; {EXAMPLE}.")
    if kind is None:
        return Edit.from_json(data)
    said = validated(KINDS[kind], data, "the edit", EXAMPLE)
    shared: dict[str, Any] = {"op": said.op, "positions": positions_read(said.positions), "value": said.value}
    if isinstance(said, OutsideVectorEdit):
        return VectorEdit(layer=said.layer, donor=_numbers(said.donor), **shared)
    if isinstance(said, OutsideDirectionEdit):
        return DirectionEdit(layer=said.layer, direction=tuple(said.direction), name=said.name, **shared)
    assert isinstance(said, OutsidePatternEdit)  # KINDS has no other
    keys = None if said.keys is None else tuple(said.keys)
    return PatternEdit(heads=pairs(said.heads), keys=keys, donor=_numbers(said.donor), **shared)


def _numbers(read: list[float] | None) -> tuple[float, ...] | None:
    return None if read is None else tuple(read)
