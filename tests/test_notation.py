"""How nodes are named: what is written reads back, and the ids of files are read as well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silverstain.notation import NodeName, attention_name, feature_name, name_of_id, read_node

counts, positions = st.integers(0, 10**6), st.none() | st.integers(-99, 10**6)


@given(kind=st.sampled_from(["feature", "head"]), layer=counts, index=counts, position=positions)
def test_what_is_written_reads_back(kind: str, layer: int, index: int, position: int | None):
    named = NodeName(kind=kind, layer=layer, index=index, position=position)
    assert read_node(str(named)) == read_node(f" {str(named).lower()} ") == named


@pytest.mark.parametrize(
    ("text", "written", "fields"),
    [
        ("L3.F1501@9", "L3.F1501@9", ("feature", 3, 1501, 9)),
        ("l3.f1501 @ -2", "L3.F1501@-2", ("feature", 3, 1501, -2)),
        ("3_1501_9", "L3.F1501@9", ("feature", 3, 1501, 9)),
        ("3_1501", "L3.F1501", ("feature", 3, 1501, None)),
        ("L3.error", "L3.error", ("error", 3, -1, None)),
        ("3_error_9", "L3.error@9", ("error", 3, -1, 9)),
        ("token@9", "token@9", ("token", -1, -1, 9)),
        ("E_40_9", "token@9", ("token", -1, 40, 9)),
        ("L3.H2", "L3.H2", ("head", 3, 2, None)),
        ("L3.truth", "L3.truth", ("direction", 3, -1, None)),
    ],
)
def test_every_form_is_read(text: str, written: str, fields: tuple):
    named = read_node(text)
    assert named is not None
    assert (named.kind, named.layer, named.index, named.position) == fields
    assert str(named) == written


@given(layer=counts, head=counts | st.just(-1), position=counts, key=counts)
def test_attention_reads_back_in_every_form(layer: int, head: int, position: int, key: int):
    written = attention_name(layer, head, position, key)
    named = read_node(written)
    assert named is not None
    assert (named.kind, named.layer, named.index, named.position) == ("attention", layer, head, position)
    assert named.key == (None if head < 0 else key)
    assert str(named) == written
    assert read_node(written.replace("←", " < ").lower()) == named
    node_id = f"{layer}_attn_{position}" if head < 0 else f"{layer}_attn{head}_{position}_{key}"
    assert read_node(node_id) == named
    assert name_of_id(node_id) == written


def test_attention_is_written_as_a_head_with_query_and_key():
    assert attention_name(12, 3, 9, 4) == "L12.H3@9←4"
    assert read_node("attention L12.H3@9←4") == read_node("L12.H3@9<4") == read_node("12_attn3_9_4")
    assert attention_name(12, -1, 9, -1) == "L12.attention@9"
    head = read_node("L12.H3@9")
    assert head is not None
    assert head.kind == "head"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "austin",
        "L3",
        "F7",
        "3",
        "3_",
        "1_2_3_4",
        "L3.F1@x",
        "L3.F" + "9" * 30 + "@",
        "L3.F1@9<4",
        "L3.H1@9<",
        "3_attn",
    ],
)
def test_what_names_no_node_is_none(text: str):
    assert read_node(text) is None


def test_ids_of_other_nodes_are_left_as_they_are():
    assert name_of_id("3_1501_9") == feature_name(3, 1501, 9) == "L3.F1501@9"
    assert name_of_id("bias_constant") == "bias_constant"
    assert name_of_id("state = texas") == "state = texas"
