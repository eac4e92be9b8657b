"""`silverstain evaluate`, and what `train` says before it begins: as a user and as a program see them."""

import json
from pathlib import Path

import pytest

from silverstain.cli import main
from silverstain.cli.train_sweep import read_sparsities
from silverstain.errors import UsageError
from silverstain.models import load_model
from silverstain.training.planning import count_parameters
from silverstain.training.sizes import default_config


@pytest.fixture
def text(tmp_path):
    """Sentences of words that the tiny model knows."""
    lines = ["the capital of the state containing dallas is austin", "austin is the capital of the state"] * 60
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def of(tiny, text, *more):
    return ["evaluate", tiny["dictionary"], "--model", tiny["model"], "--text", text, "--held-out", "1",
            "--context", "16", "--tokens", "200", "--graphs", "2", *more]  # fmt: skip


def test_json_has_every_figure_with_its_interval(tiny, text, capsys):
    assert main(of(tiny, text, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("nmse", "kl", "top1_match", "ce_recovered", "l0"):
        low, high = found["intervals"][name]
        assert low <= found[name] <= high, name
    assert len(found["nmse_layers"]) == len(found["kl_layers"]) == len(found["intervals_layers"]["nmse_layers"]) == 3
    assert found["stand_ins"]["mean"]["nmse"] == pytest.approx(1, rel=1e-3)
    assert found["stand_ins"]["mean"]["ce_recovered"] == pytest.approx(0, abs=1e-6)
    assert found["stand_ins"]["affine"]["nmse"] == pytest.approx(found["affine_nmse"], rel=1e-3)
    assert 0 <= found["replacement"] <= 1
    assert found["path_length"] >= 1
    assert found["graphs"]["n"] == 2
    assert any("tokens are few for a width of 16" in line for line in found["remarks"]) == (found["n_tokens"] < 320)
    assert any("times what affine maps" in line for line in found["remarks"]), "its features are random"


def test_the_table_has_a_line_a_figure_and_a_line_a_layer(tiny, text, capsys):
    assert main(of(tiny, text)) == 0
    out = capsys.readouterr().out
    for words in ("NMSE ÷ that of affine maps", "CE recovered", "replacement, 2 graphs", "KL alone", "affine maps"):
        assert words in out
    assert max(map(len, out.splitlines()[:20])) <= 120


def test_the_same_seed_gives_the_same_intervals(tiny, text, capsys):
    found = []
    for seed in ("3", "3", "4"):
        assert main(of(tiny, text, "--json", "--seed", seed)) == 0
        found.append(json.loads(capsys.readouterr().out)["intervals"])
    assert found[0] == found[1] != found[2]


def test_another_model_needs_text(tiny, capsys):
    assert main(["evaluate", tiny["dictionary"], "--model", tiny["model"]]) == 2
    assert "needs text; give --text FILE" in capsys.readouterr().err


def test_the_field_of_a_row_that_holds_the_text_is_named(tiny, text, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    lines = Path(text).read_text(encoding="utf-8").splitlines()
    rows.write_text("\n".join(json.dumps({"body": line}) for line in lines), encoding="utf-8")
    assert main(of(tiny, str(rows), "--json")) == 2
    assert "has no field 'text'; its fields are body: name the one that holds the text (--field)" in said(capsys)
    assert main(of(tiny, str(rows), "--field", "body", "--graphs", "0", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["n_tokens"] > 200


def said(capsys):
    """What went to stderr: one line."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_dry_run_trains_nothing(tiny, text, tmp_path, capsys):
    line = ["train", "--model", tiny["model"], "--text", text, "--out", str(tmp_path / "out"), "--features", "16",
            "--l0", "4", "--steps", "20", "--set", "pool_rows=2048", "--context", "16", "--dry-run"]  # fmt: skip
    assert main([*line, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    model = load_model(tiny["model"])
    config = default_config(model, n_features=16, l0=4, steps=20, pool_rows=2048)
    assert (plan["steps"], plan["parameters"]) == (config.n_steps, count_parameters(model, config))
    assert plan["bytes"] == max(plan["parts"].values())
    assert main(line) == 0
    assert "above the loaded model at the peak" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_sparsities_are_numbers():
    assert read_sparsities("8,12.5, 16") == [8, 12.5, 16]
    with pytest.raises(UsageError, match="--sweep takes numbers with commas, got '8;12'"):
        read_sparsities("8;12")
