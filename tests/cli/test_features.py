"""`silverstain features` and `silverstain lens`: built on the organism, shown, searched, asked, labelled, exported."""

import json
from pathlib import Path

import pytest

from silverstain.cli.feature_card import card_text
from silverstain.cli.main import main


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cards") / "cards.parquet"
    assert main(["features", "build", "--model", "organism/memorised", "--tokens", "400", "--out", str(out)]) == 0
    return out


def said(capsys, *words: str) -> dict:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_built_is_described_labelled_and_found(built, capsys):
    counted = said(capsys, "features", "query", str(built), "SELECT count(*), count(label) FROM cards")
    n, labelled = counted["rows"][0]
    assert n > 300
    assert labelled > 0
    top = said(capsys, "features", "query", str(built), "SELECT layer, feature FROM cards ORDER BY energy DESC")
    layer, feature = top["rows"][0]
    card = said(capsys, "features", "show", str(built), f"L{layer}.F{feature}=0.5")
    assert (card["layer"], card["feature"]) == (layer, feature)
    assert 0 <= card["percentile"] <= 100
    assert card["examples"]
    assert main(["features", "show", str(built), f"L{layer}.F{feature}"]) == 0
    shown = capsys.readouterr().out
    assert f"L{layer}.F{feature}" in shown
    assert "promotes:" in shown
    found = said(capsys, "features", "search", str(built), "is")
    assert isinstance(found["cards"], list)
    assert not built.with_name(built.name + ".unfinished").exists()


def test_a_plan_says_what_it_takes_and_reads_nothing(capsys, tmp_path):
    plan = said(capsys, "features", "build", "--dry-run", "--out", str(tmp_path / "x.parquet"))
    assert plan["features"] == 8192
    assert plan["bytes"] > plan["state_bytes"] > 1e7
    assert not (tmp_path / "x.parquet").exists()


def test_labels_of_a_file_and_other_tools_forms(built, capsys, tmp_path):
    layer, feature = said(capsys, "features", "query", str(built), "SELECT layer, feature FROM cards")["rows"][0]
    labels, out = tmp_path / "labels.jsonl", tmp_path / "labelled.parquet"
    labels.write_text(json.dumps({"layer": layer, "feature": feature, "text": "my own\x1b[2J words"}) + "\n")
    report = said(capsys, "features", "label", str(built), "--labels", str(labels), "--out", str(out))
    assert (report["labelled"], report["unknown"]) == (1, 0)
    assert main(["features", "search", str(out), "my own"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    exported = said(capsys, "features", "export", str(out), "--to", "circuit-tracer", "--out", str(tmp_path / "p"))
    again = said(capsys, "features", "import", str(tmp_path / "p"), "--out", str(tmp_path / "again.parquet"))
    assert exported["features"] == again["features"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["show", "FILE", "F3"], "names no feature; write it as L3.F1501"),
        (["show", "FILE", "L0.F1=x"], "is no activation; write a number"),
        (["show", "FILE", "L99.F1"], "there is no L99.F1: this basis has 4 layers"),
        (["query", "FILE", "DROP TABLE cards"], "a query is one SELECT over the table cards"),
        (["label", "FILE"], "give either --labels FILE or --neuronpedia MODEL/SOURCE"),
        (["export", "FILE", "--to", "nothing", "--out", "x"], "--to is 'nothing'; give circuit-tracer or neuronpedia"),
        (["build", "--model", "organism", "--lens", "FILE"], "cannot read"),
    ],
)
def test_mistakes_are_one_line(built, capsys, words, line):
    assert main(["features", *(str(built) if word == "FILE" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1


def test_a_text_smaller_than_the_context_is_described_all_the_same(capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the capital of texas is austin .\nthe word big in french is grand .\n")
    out = tmp_path / "small.parquet"
    report = said(
        capsys,
        "features",
        "build",
        "--model",
        "organism/memorised",
        "--text",
        str(text),
        "--compact",
        "--no-labels",
        "--out",
        str(out),
    )
    assert 5 < report["places"] < 40
    assert report["described"] > 0


def test_tokens_with_control_characters_and_halves_are_fit_to_be_shown():
    token = {"token": "\x1b[31m<b>\udce2", "id": 1, "weight": 1.0}
    row = {
        "layer": 0, "feature": 1, "label": "a\u202eb", "density": 0.1, "mean": 1.0, "maximum": 2.0, "minimum": -1.0,
        "labels": [{"text": "\x07x", "kind": "k", "sign": -1, "score": 0.5, "precision": None, "recall": None}],
        "promotes": [token], "suppresses": [], "lens_promotes": [], "lens_suppresses": [], "driven_by": [],
        "upstream": [], "nearest": [], "co_active": [], "writes_to": [0],
        "examples": [{"group": "top", "tokens": ["a\nb", "\x9b", "⟨E2⟩"], "at": 1, "activation": 2.0}],
    }  # fmt: skip
    text = card_text(row, n_examples=3, value=1.0, percentile=12.0)
    for character in ("\x1b", "\u202e", "\x07", "\x9b", "\udce2"):
        assert character not in text
    assert "above 12.0 %" in text


def test_a_lens_is_built_and_cards_are_read_through_it(capsys, tmp_path):
    lens, out = tmp_path / "lens.safetensors", tmp_path / "cards.parquet"
    report = said(capsys, "lens", "build", "--model", "organism/memorised", "--rows", "3", "--out", str(lens))
    assert report["rows"] == 3
    build = ("features", "build", "--model", "organism/memorised", "--tokens", "100", "--no-labels", "--compact")
    said(capsys, *build, "--lens", str(lens), "--out", str(out))
    found = said(capsys, "features", "query", str(out), "SELECT len(lens_promotes) FROM cards LIMIT 1")
    assert found["rows"][0][0] > 0
    assert main(["features", "build", "--model", "organism", "--lens", str(lens), "--out", str(out)]) == 2
    assert "this lens is of another model" in capsys.readouterr().err
