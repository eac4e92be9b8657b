"""Many prompts: every graph that trace would give, each made once, none lost to a bad line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from silverstain.attribution import (
    INDEX,
    BadLine,
    FeatureTarget,
    Outcome,
    PromptLine,
    TokenTarget,
    TraceSettings,
    read_prompts,
    trace,
    trace_many,
)
from silverstain.attribution.prompt_files import LONGEST_LINE
from silverstain.errors import OutOfMemory, UsageError
from silverstain.graphs import Graph

GOOD = [
    {"id": "first", "prompt": "w11 w5", "targets": ["w4", "diff:w9,w4", 7]},
    {"token_ids": [0, 11, 5, 23], "other": "left alone"},
    {"id": 7, "prompt": "w11 w5 w40", "targets": ["feature:L1.F3@2"]},
]


def write(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts.jsonl", GOOD[0], "", *GOOD[1:])


@pytest.fixture
def run(tiny, tmp_path: Path):
    def run(path: Path, **options: Any) -> list[Outcome]:
        lines = read_prompts(path)
        return list(trace_many(tiny.model("llama"), tiny.dictionary("per-layer"), lines, tmp_path / "out", **options))

    return run


def index_of(tmp_path: Path) -> dict[str, dict[str, Any]]:
    entries = [json.loads(line) for line in (tmp_path / "out" / INDEX).read_text().splitlines()]
    assert len({entry["id"] for entry in entries}) == len(entries)
    return {entry["id"]: entry for entry in entries}


# reading


def test_lines_are_prompts_with_their_numbers(prompts: Path):
    first, second, third = read_prompts(prompts)
    assert isinstance(first, PromptLine)
    assert (first.line, first.id, first.prompt) == (1, "first", "w11 w5")
    assert first.targets is not None
    assert first.targets[::2] == (TokenTarget(token="w4"), TokenTarget(token=7))
    assert second == PromptLine(line=3, id="00003", prompt=(0, 11, 5, 23))
    assert third == PromptLine(
        line=4, id="7", prompt="w11 w5 w40", targets=(FeatureTarget(layer=1, feature=3, position=2),)
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "it is not JSON"),
        ([1, 2], "it is a list; write an object with a prompt or token_ids"),
        ({"targets": ["w4"]}, "it has neither prompt nor token_ids; give one of them"),
        ({"prompt": "a", "token_ids": [1]}, "it has both prompt and token_ids"),
        ({"prompt": 12}, "its prompt is 12; give a text"),
        ({"token_ids": "0,1"}, "its token_ids are '0,1'; give a list of whole numbers"),
        ({"token_ids": [0, True]}, "its token_ids are [0, True]"),
        ({"prompt": "a", "targets": "w4"}, "its targets are 'w4'; give a list"),
        ({"prompt": "a", "targets": [1.5]}, "its target 1.5 is no text and no id"),
        ({"prompt": "a", "targets": ["feature:3"]}, "cannot read the target 'feature:3'"),
        ({"prompt": "a", "id": "../secret"}, "its id is '../secret'; it names a file"),
        ({"prompt": "a", "id": ".hidden"}, "its id is '.hidden'"),
        ({"prompt": "a", "id": "x" * 201}, "it names a file"),
        ({"prompt": "a", "targets": ["id:" + "9" * 5000]}, "an id is a number"),
        ('{"a":' + "[" * 200_000, "it is not JSON"),
        ({"prompt": "a", "id": "first"}, "the id 'first' is that of line 1; give each line its own"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_leaves_the_others(tmp_path: Path, line: Any, words: str):
    first, bad, last = read_prompts(write(tmp_path / "p.jsonl", GOOD[0], line, GOOD[1]))
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    assert words in bad.reason
    assert isinstance(first, PromptLine)
    assert isinstance(last, PromptLine)


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "w4"}), encoding="utf-8-sig")
    (line,) = read_prompts(tmp_path / "p.jsonl")
    assert isinstance(line, PromptLine)


def test_a_file_without_prompts_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="has no prompts; write one object a line"):
        read_prompts(write(tmp_path / "p.jsonl", ""))
    with pytest.raises(UsageError, match="there is no file"):
        read_prompts(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        read_prompts(tmp_path / "binary.jsonl")


def test_parquet_holds_the_same_prompts(tmp_path: Path, prompts: Path):
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"id": "first", "prompt": "w11 w5", "token_ids": None, "targets": ["w4", "diff:w9,w4", "id:7"]},
        {"token_ids": [0, 11, 5, 23]},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    first, second = read_prompts(tmp_path / "p.parquet")
    assert first == read_prompts(prompts)[0]
    assert second == PromptLine(line=2, id="00002", prompt=(0, 11, 5, 23))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"p\.parquet"):
        read_prompts(tmp_path / "p.parquet")


# tracing


def test_each_graph_is_the_one_that_trace_gives(tiny, run, prompts: Path, tmp_path: Path):
    outcomes = run(prompts)
    assert [outcome.state for outcome in outcomes] == ["traced"] * 3
    index = index_of(tmp_path)
    assert set(index) == {"first", "00003", "7"}
    alone = trace(tiny.model("llama"), tiny.dictionary("per-layer"), [0, 11, 5, 23])
    graph = Graph.load(tmp_path / "out" / index["00003"]["graph"])
    assert graph.hash == alone.hash == index["00003"]["hash"]
    assert graph.node_mask is not None
    assert index["00003"]["exactness"]["max_relative_error"] < 1e-10
    assert set(index["first"]["scores"]) == {"replacement", "completeness", "completeness_all_rows", "of"}
    assert [target["name"] for target in index["first"]["targets"]] == ["w4", "w9 − w4", "w7"]


def test_targets_of_the_run_are_for_lines_without_their_own(run, prompts: Path, tmp_path: Path):
    run(prompts, settings=TraceSettings(targets=(TokenTarget(token=30),)), prune=False)
    index = index_of(tmp_path)
    assert [target["name"] for target in index["00003"]["targets"]] == ["w30"]
    assert [target["kind"] for target in index["7"]["targets"]] == ["feature"]


def test_what_is_there_is_skipped_and_made_again_when_something_differs(run, prompts: Path, tmp_path: Path):
    run(prompts)
    assert [outcome.state for outcome in run(prompts)] == ["skipped"] * 3
    (tmp_path / "out" / "7.safetensors").unlink()
    assert [outcome.state for outcome in run(prompts)] == ["skipped", "skipped", "traced"]
    assert [outcome.state for outcome in run(prompts, settings=TraceSettings(products=torch.float32))] == ["traced"] * 3
    assert [outcome.state for outcome in run(prompts, settings=TraceSettings(max_features=5))] == ["traced"] * 3
    write(prompts, GOOD[0] | {"prompt": "w11 w6"}, *GOOD[1:])
    states = [outcome.state for outcome in run(prompts, settings=TraceSettings(max_features=5))]
    assert states == ["traced", "traced", "skipped"]  # the second line has no id, and another number now
    run(prompts, settings=TraceSettings(max_features=5))
    assert set(index_of(tmp_path)) == {"first", "00002", "00003", "7"}


def test_another_dictionary_makes_other_graphs(tiny, run, prompts: Path, tmp_path: Path):
    run(prompts)
    lines = read_prompts(prompts)
    other = trace_many(tiny.model("llama"), tiny.dictionary("cross-layer"), lines, tmp_path / "out")
    assert [outcome.state for outcome in other] == ["traced"] * 3


def test_a_line_that_cannot_be_traced_leaves_the_others(run, tmp_path: Path):
    bad = [{"prompt": "w1", "targets": [99]}, {"token_ids": [0, 99]}, "{", {"prompt": "w1", "targets": ["w4@9"]}]
    outcomes = run(write(tmp_path / "p.jsonl", GOOD[0], *bad, GOOD[1]))
    assert [outcome.state for outcome in outcomes] == ["traced"] + ["failed"] * 4 + ["traced"]
    assert [outcome.line for outcome in outcomes] == [1, 2, 3, 4, 5, 6]
    assert "there is no position 9" in outcomes[4].error
    assert set(index_of(tmp_path)) == {"first", "00006"}


def test_running_out_of_memory_fails_one_line(run, prompts: Path, monkeypatch: pytest.MonkeyPatch):
    real = trace

    def sometimes(model: Any, dictionary: Any, prompt: Any, settings: Any, **options: Any) -> Graph:
        if prompt == "w11 w5":
            raise OutOfMemory("out of memory: max_features=4 should fit")
        return real(model, dictionary, prompt, settings, **options)

    monkeypatch.setattr("silverstain.attribution.many.trace", sometimes)
    outcomes = run(prompts)
    assert [outcome.state for outcome in outcomes] == ["failed", "traced", "traced"]
    assert outcomes[0].is_out_of_memory
    assert "max_features=4" in outcomes[0].error


def test_an_interrupted_run_goes_on_where_it_was(tiny, prompts: Path, tmp_path: Path):
    lines, made = read_prompts(prompts), []
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")

    def interrupt(graph: Graph, path: Path) -> None:
        made.append(path.name)
        if len(made) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(trace_many(model, dictionary, lines, tmp_path / "out", on_graph=interrupt))
    assert set(index_of(tmp_path)) == {"first"}
    states = [outcome.state for outcome in trace_many(model, dictionary, lines, tmp_path / "out")]
    assert states == ["skipped", "traced", "traced"]


@pytest.mark.parametrize("damage", ["cut", "no newline", "foreign", "bytes"])
def test_a_damaged_index_loses_only_its_bad_lines(run, prompts: Path, tmp_path: Path, damage: str):
    run(prompts)
    path = tmp_path / "out" / INDEX
    text = path.read_text()
    damaged = {"cut": text[:-20], "no newline": text[:-1], "foreign": text + "[]\n12\n", "bytes": text}[damage]
    path.write_bytes(damaged.encode() + (b"\xff\n" if damage == "bytes" else b""))
    expected = ["skipped", "skipped", "traced" if damage == "cut" else "skipped"]
    assert [outcome.state for outcome in run(prompts)] == expected
    assert set(index_of(tmp_path)) == {"first", "00003", "7"}


def test_a_prompt_may_hold_any_character(run, tmp_path: Path):
    path = write(tmp_path / "p.jsonl", {"id": "odd", "prompt": "w1\u2028w2", "targets": ["w4"]})
    run(path)
    assert [outcome.state for outcome in run(path)] == ["skipped"]


def test_a_folder_that_cannot_be_made_is_a_usage_error(run, prompts: Path, tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        run(prompts)


def test_damaged_bytes_are_a_bad_line_each_and_the_others_stay(tmp_path: Path):
    good = json.dumps({"prompt": "w4"}).encode()
    long = b'{"prompt": "' + b"w " * LONGEST_LINE + b'"}'
    bad = [b"\x00\x00", b'{"prompt": "\xff"}', b'{"prompt": "\\ud83d"}', long, b'{"token_ids": [' + b"9" * 30 + b"]}"]
    (tmp_path / "p.jsonl").write_bytes(b"\n".join([*bad, good]))
    *damaged, line = read_prompts(tmp_path / "p.jsonl")
    assert line == PromptLine(line=6, id="00006", prompt="w4")
    for number, (found, words) in enumerate(
        zip(
            damaged,
            ["not JSON", "no text in UTF-8", "half of a character", "longer than 4 MB", "token_ids"],
            strict=True,
        ),
        1,
    ):
        assert isinstance(found, BadLine)
        assert found.line == number
        assert words in found.reason
        assert len(found.reason) < 400


def test_a_line_of_the_index_that_is_damaged_is_traced_again(tmp_path):
    from silverstain.attribution.many import INDEX, _read_index

    whole = {
        "id": "a", "graph": "a.safetensors", "settings_hash": "0", "targets": [{"name": "x"}], "edges": 3,
        "seconds": {"total": 1.0},
    }  # fmt: skip
    damaged = [{**whole, "id": "b", **change} for change in ({"targets": 5}, {"targets": [{}]}, {"edges": "3"})]
    damaged += [{k: v for k, v in whole.items() if k != key} | {"id": "b"} for key in ("seconds", "graph")]
    rows = [json.dumps(row) for row in (whole, *damaged)] + ["null", "[" * 900, '{"id": "b\\ud83d"}']
    (tmp_path / INDEX).write_bytes("\n".join(rows).encode() + "\n{é".encode()[:-1])
    assert _read_index(tmp_path) == {"a": whole}
    assert (tmp_path / INDEX).read_text() == json.dumps(whole) + "\n"
