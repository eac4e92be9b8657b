"""The door: types as declared, or one line that says where and what was seen."""

import pytest

from silverstain.errors import UsageError
from silverstain.printable import printable, printable_lines
from silverstain.validation import Count, Finite, FromOutside, ShortText, validated


class Inner(FromOutside):
    label: ShortText
    at: Count = 0


class Outer(FromOutside):
    inner: list[Inner]
    share: Finite = 0.0


def test_a_value_as_declared_passes_and_unknown_keys_are_left_alone():
    read = validated(Outer, {"inner": [{"label": "a", "later": 1}], "share": 1}, "x.json")
    assert (read.inner[0].label, read.inner[0].at, read.share) == ("a", 0, 1.0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "it: input should be .* instance of Outer"),
        ([], "seen: a list"),
        ({}, "inner: field required"),
        ({"inner": {}}, r"inner: .* valid list \(seen: an object\)"),
        ({"inner": [{"label": 5}]}, r"inner.0.label: .* valid string \(seen: 5\)"),
        ({"inner": [{"label": "a", "at": "1"}]}, r"inner.0.at: .*integer \(seen: '1'\)"),
        ({"inner": [{"label": "a", "at": 2**31}]}, r"less than or equal to 2147483647"),
        ({"inner": [{"label": "a", "at": True}]}, "inner.0.at"),
        ({"inner": [{"label": "x" * 20_000}]}, "at most 10000 characters"),
        ({"inner": [], "share": float("nan")}, "share: .*finite number"),
        ({"inner": [{}, {}]}, "and 1 more faults"),
        ({"inner": [{"label": "a", "at": "\x1b[2J"}]}, r"seen: '\\\\x1b\[2J'"),
    ],
)
def test_anything_else_is_refused_in_one_short_line(value, words):
    with pytest.raises(UsageError, match=words) as caught:
        validated(Outer, value, "x.json")
    said = str(caught.value)
    assert said.startswith("cannot read x.json: ")
    assert len(said) < 500
    assert printable(said) == said


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x9b5n", "a\u202eb", "a\nb", "\ud800", "\u2028", "\x7f", "\x85"])
def test_what_a_terminal_would_act_on_is_written_as_in_a_string(text):
    shown = printable(text)
    assert shown != text
    assert shown.isprintable()
    assert shown.encode()


def test_what_is_text_stays_as_it_is():
    for text in ("austin ##las", "日本語 é ñ", "👩‍💻", "עברית", "a\u00a0b", "\\n"):
        assert printable(text) == text
    assert printable("abcdef", 4) == "abc…"
    assert printable("\n\n\n\n", 4) == "\\n\\…"
    assert printable_lines("a\x1b\nb") == "a\\x1b\nb"
