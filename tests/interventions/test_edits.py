"""Edits are plain values: what is written, typed or stored reads back the same."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silverstain.errors import UsageError
from silverstain.interventions import Edit, at_places, load_edits, parse_edit, parse_edits, save_edits

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def fields_of_an_edit(draw: st.DrawFn) -> dict:
    """Only its fields: the checks of types in the tests draw chances of their own, which strategies must not."""
    op = draw(st.sampled_from(["ablate", "scale", "set", "add", "patch"]))
    pairs = st.tuples(st.integers(0, 90), st.integers(0, 9999))
    features = tuple(draw(st.lists(pairs, min_size=1, max_size=4, unique=True)))
    positions = draw(st.none() | st.lists(st.integers(-9, 99), min_size=1, max_size=4, unique=True).map(tuple))
    value = draw(numbers) if op in ("scale", "set", "add") else None
    donor = tuple(draw(numbers) for _ in features) if op == "patch" else None
    return {"op": op, "features": features, "positions": positions, "value": value, "donor": donor}


@settings(max_examples=40, deadline=None)
@given(fields=fields_of_an_edit())
def test_an_edit_reads_back_from_json_and_from_its_command_line_form(fields: dict):
    edit = Edit(**fields)
    assert Edit.from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert parse_edit(str(edit)) == edit


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("ablate:L1.F23@5", Edit(op="ablate", features=((1, 23),), positions=(5,))),
        ("set:L1.F23@5=2.0", Edit(op="set", features=((1, 23),), positions=(5,), value=2.0)),
        ("scale:L0.F7=-1", Edit(op="scale", features=((0, 7),), value=-1.0)),
        (
            "add: l0.f7 + L2.F1 @ 3..5,-1 = 1e-1",
            Edit(op="add", features=((0, 7), (2, 1)), positions=(3, 4, 5, -1), value=0.1),
        ),
        ("ablate:1_23_5", Edit(op="ablate", features=((1, 23),), positions=(5,))),
        ("scale:1_23_5 + 2_4_5 = 2", Edit(op="scale", features=((1, 23), (2, 4)), positions=(5,), value=2.0)),
        ("scale:1_23@-1=2", Edit(op="scale", features=((1, 23),), positions=(-1,), value=2.0)),
        ("patch:L1.F2+L1.F3@4=0.5,2", Edit(op="patch", features=((1, 2), (1, 3)), positions=(4,), donor=(0.5, 2.0))),
    ],
)
def test_the_command_line_form_says_what_it_says(text: str, edit: Edit):
    assert parse_edit(text) == edit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Cannot read the edit ''"),
        ("ablate", "Cannot read the edit 'ablate'"),
        ("erase:L1.F2", "the operation is 'erase', not one of ablate, scale, set, add, patch"),
        ("ablate:texas@3", "names no feature, error, token or head, and there is no group 'texas@3'; groups come from"),
        ("ablate:L1.F2=3", "ablate takes no value"),
        ("set:L1.F2", "set needs a value"),
        ("set:L1.F2=1,2", "set takes one value, but the edit"),
        ("set:L1.F2=two", "Cannot read the value 'two'"),
        ("set:L1.F2=inf", "values must be finite"),
        ("patch:L1.F2+L1.F3=1", "2 features but 1 donor activations"),
        ("ablate:L1.F2+L1.F2", "a feature is named twice"),
        ("ablate:L1.F2@5..3", "Cannot read the positions '5..3'"),
        ("ablate:L1.F2+austin", "Cannot read the features 'L1.F2+austin'"),
        ("ablate:1_2_5@6", "has ids of nodes at other positions"),
        ("ablate:1_2_5+L1.F3", "has ids of nodes at other positions"),
    ],
)
def test_a_wrong_edit_is_refused_in_one_line_with_an_example(text: str, words: str):
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        parse_edit(text)
    assert "\n" not in str(error.value)
    assert "ablate:L1.F23@5" in str(error.value)


def test_json_with_a_missing_or_unknown_key_is_refused():
    with pytest.raises(UsageError, match="features: field required"):
        Edit.from_json({"op": "ablate"})
    with pytest.raises(UsageError, match="layer: extra inputs are not permitted"):
        Edit.from_json({"op": "ablate", "features": [[0, 1]], "layer": 3})


def test_a_group_stands_for_its_members_each_at_its_own_position():
    groups = {"state = texas": [(1, 4, 7), (2, 4, 9), (2, 8, 9)]}
    assert parse_edits(["ablate:state = texas", "add:L0.F1=2"], groups) == (
        Edit(op="ablate", features=((1, 7), (2, 9)), positions=(4,)),
        Edit(op="ablate", features=((2, 9),), positions=(8,)),
        Edit(op="add", features=((0, 1),), value=2.0),
    )
    assert parse_edits(["scale:state = texas=-2"], groups) == at_places("scale", groups["state = texas"], -2.0)
    with pytest.raises(UsageError, match="there is no group 'state = ohio'; groups are: 'state = texas'; "):
        parse_edits(["ablate:state = ohio"], groups)


def test_what_follows_the_name_of_a_group_is_a_value_or_there_is_no_such_group():
    groups = {"state": [(1, 4, 7)], **{f"town {n}": [(1, 4, n)] for n in range(9)}}
    (edit,) = parse_edits(["scale:state = -2"], groups)
    assert isinstance(edit, Edit)
    assert edit.value == -2
    for text in ("ablate:state = texas", "set:state = texas", "scale:state = texas=2", "add:state = texas<"):
        with pytest.raises(UsageError, match="there is no group 'state = texas") as error:
            parse_edits([text], groups)
        assert "groups are: 'state', 'town 0'" in str(error.value)
        assert "'town 6' and 2 more;" in str(error.value)
    with pytest.raises(UsageError, match="there is no group 'texas'; the story of that graph has no groups"):
        parse_edits(["ablate:texas"], {})


def test_edits_are_stored_and_read_whole(tmp_path):
    edits = parse_edits(["ablate:L1.F23@5", "patch:L1.F2@-1=0.25"])
    save_edits(edits, tmp_path / "edits.json")
    assert load_edits(tmp_path / "edits.json") == edits
    with pytest.raises(UsageError, match=r"other\.json"):
        load_edits(tmp_path / "other.json")
