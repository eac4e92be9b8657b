"""Edits as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.interventions.edits import EXAMPLE, AnyEdit, DirectionEdit, Edit, PatternEdit, VectorEdit
from silverstain.interventions.positions import positions_from_json
from silverstain.storage import write_json_whole

FORMAT = "silverstain.edits/1"


def save_edits(edits: Sequence[AnyEdit], path: str | Path) -> None:
    """Write the edits as JSON, whole or not at all."""
    write_json_whole(Path(path), {"format": FORMAT, "edits": [edit.to_json() for edit in edits]})


def load_edits(path: str | Path) -> tuple[AnyEdit, ...]:
    """Read what `save_edits` wrote; UsageError naming the file when it is missing or of another format."""
    data = read_json(Path(path), FORMAT)
    if not isinstance(data.get("edits"), list):
        raise UsageError(f'{path} holds no list of edits under "edits"; write it with save_edits.')
    return tuple(edit_from_json(entry) for entry in data["edits"])


def edit_from_json(data: Mapping[str, Any]) -> AnyEdit:
    """Read what an edit's `to_json` wrote; without a "kind" it is an edit of features."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind is None:
        return Edit.from_json(data)
    said: dict[str, Any] = {key: value for key, value in data.items() if key != "kind"}
    try:
        said |= {"positions": positions_from_json(said.get("positions"))}
        for key in ("donor", "keys", "direction"):
            if said.get(key) is not None:
                said[key] = tuple(said[key])
        if kind in ("error", "token"):
            return VectorEdit(**said)
        if kind == "direction":
            return DirectionEdit(**said)
        if kind == "attention":
            said["heads"] = tuple((int(layer), int(head)) for layer, head in said["heads"])
            return PatternEdit(**said)
    except (KeyError, TypeError, ValueError) as reason:
        raise UsageError(f"Not an edit: {_short(data)} ({reason!r}); {EXAMPLE}.") from None
    raise UsageError(f"Not an edit: {_short(data)} is of the kind {kind!r}; {EXAMPLE}.")


def _short(data: Mapping[str, Any]) -> str:
    text = json.dumps(dict(data), default=str)
    return text if len(text) < 120 else text[:120] + "…"
