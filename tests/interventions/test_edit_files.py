"""Files of edits that others wrote: what is not as it should be is named, with the file and the edit."""

import json
from pathlib import Path
from typing import Any

import pytest

from silverstain.errors import UsageError
from silverstain.interventions import load_edits

GOOD = {"op": "set", "features": [[0, 1]], "positions": [2], "value": 1}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (None, "edits.1"),
        ([GOOD], "edits.1"),
        ({**GOOD, "features": [[2**70, 0]]}, "features.0.0"),
        ({**GOOD, "features": [["0", 1]]}, "features.0.0"),
        ({**GOOD, "features": [[0]]}, "features.0"),
        ({**GOOD, "features": {"0": 1}}, "features"),
        ({**GOOD, "positions": [float("inf")]}, "positions"),
        ({**GOOD, "positions": {"from": 2**40}}, "positions"),
        ({**GOOD, "value": float("nan")}, "value"),
        ({**GOOD, "value": True}, "value"),
        ({**GOOD, "op": ["set"]}, "op"),
        ({**GOOD, "kind": ["token"]}, "is of the kind ['token']"),
        ({"kind": "token", "op": "scale", "value": "2"}, "value"),
        ({"kind": "error", "op": "ablate", "layer": [1]}, "layer"),
        ({"kind": "direction", "op": "ablate", "layer": 0, "direction": [1.0, None]}, "direction.1"),
        ({"kind": "direction", "op": "ablate", "layer": 0, "direction": [1.0], "name": 3}, "name"),
        ({"kind": "attention", "op": "ablate", "heads": [[0, -1]]}, "heads.0.1"),
        ({"kind": "attention", "op": "ablate", "heads": [[0, 1]], "keys": "01"}, "keys"),
    ],
)
def test_a_damaged_entry_is_named_with_its_file(tmp_path: Path, entry: Any, words: str):
    path = tmp_path / "edits.json"
    path.write_text(json.dumps({"format": "silverstain.edits/1", "edits": [GOOD, entry]}))
    with pytest.raises(UsageError) as error:
        load_edits(path)
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("edits", [None, {}, "x", 5])
def test_a_file_without_a_list_is_named(tmp_path: Path, edits: Any):
    path = tmp_path / "edits.json"
    path.write_text(json.dumps({"format": "silverstain.edits/1", "edits": edits}))
    with pytest.raises(UsageError, match=r"cannot read .*edits\.json: edits"):
        load_edits(path)
