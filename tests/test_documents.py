"""JSON and YAML of strangers: what they may say, and what they may not ask for."""

import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silverstain.documents import DEEPEST, _depth, parsed_json, read_json, read_yaml
from silverstain.errors import UsageError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def depth_by_walking(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_by_walking, inner), default=0)


@given(PLAIN)
def test_depth_is_found_without_walking(value):
    assert _depth(json.dumps(value)) == _depth(json.dumps(value, ensure_ascii=False)) == depth_by_walking(value)


@given(PLAIN)
def test_json_is_read_as_python_reads_it(value):
    for escaped in (True, False):
        text = json.dumps(value, ensure_ascii=escaped)
        try:
            text.encode()
        except UnicodeEncodeError:
            continue
        assert parsed_json(text) == value


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 100_000])
@pytest.mark.parametrize("pair", ["[]", '{"a":'])
def test_nesting_is_bounded(tmp_path, depth, pair):
    text = "[" * depth + "]" * depth if pair == "[]" else pair * depth + "1" + "}" * depth
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=r"cannot read .*x\.json: .*deep in each other"):
        read_json(tmp_path / "x.json")


def test_half_of_a_character_is_no_text(tmp_path):
    (tmp_path / "x.json").write_text(r'{"label": "\ud83d"}')
    with pytest.raises(UsageError, match=r"half of a character \(\\ud83d\)"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text(r'{"label": "\ud83d\ude00", "path": "C:\\ud83d"}')
    assert read_json(tmp_path / "x.json") == {"label": "😀", "path": "C:\\ud83d"}


def test_a_document_that_is_too_large_is_refused_unread(tmp_path):
    (tmp_path / "x.json").write_text("[" + " " * 100_000 + "]")
    with pytest.raises(UsageError, match="is larger than 0 MB"):
        read_json(tmp_path / "x.json", most_bytes=1000)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), PLAIN, max_size=4))
def test_yaml_that_is_json_reads_as_json(tmp_path_factory, value):
    try:
        text = json.dumps(value)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    if any(code in text for code in ("\\u00", "\\ud8", "\\udb", "\\uff", "\\ud")):  # YAML forbids some characters
        return
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(text)
    assert read_yaml(path) == value


def test_yaml_gives_what_json_has_and_dates_as_they_are_written(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 2024-05-01\nb: 1:30\nc: 0o17\nd: 1e-3\ne: .5\nf: yes\ng: .inf\nh: ~\ni: 010\nj: '5'\nk: -7\n")
    assert read_yaml(path) == {
        "a": "2024-05-01", "b": "1:30", "c": "0o17", "d": 1e-3, "e": 0.5, "f": True, "g": math.inf, "h": None, "i": 10,
        "j": "5", "k": -7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]\n", "an alias stands inside of what it names"),
        ("a: &a {k: *a}\n", "an alias stands inside of what it names"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
            "more than 100000 values",
        ),
        ("a: " + "[" * 20_000, "deep in each other"),
        ("x: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("x: !!set {a}\n", "could not determine a constructor"),
        ("? [a]\n: b\n", "unhashable"),
        ("a: 'open\n", "while scanning"),
        ("a: \x00\n", "special characters are not allowed"),
    ],
)
def test_yaml_that_asks_for_too_much_is_one_line(tmp_path, text, words):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    tracemalloc.start()
    with pytest.raises(UsageError, match=words) as caught:
        read_yaml(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 20e6


def test_long_numbers_stay_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: " + "1:" * 3000 + "1\nb: " + "9" * 5000 + "\n")
    assert read_yaml(path)["b"] == "9" * 5000
