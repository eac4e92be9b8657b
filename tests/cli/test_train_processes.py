"""`torchrun -m silverstain train`: two processes, of which one talks, and one dictionary."""

import json
import os
import subprocess
import sys

import pytest

from silverstain.cli import main
from silverstain.evaluation.run_metrics import read_metrics

from .test_train import SMALL, host, text

__all__ = ["host", "text"]  # fixtures

QUICK = [*SMALL, "--graphs", "0", "--steps", "6", "--set", "finetune_steps=2", "--watch-every", "4", "--json"]


def words(model, texts, out):
    return ["train", "--model", str(model), "--text", str(texts), "--out", str(out), *QUICK]


def test_torchrun_trains_what_one_process_trains_and_says_it_once(host, text, tmp_path, capsys):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    found = subprocess.run(
        [*torchrun, "-m", "silverstain", *words(host, text, tmp_path / "two"), "--shard", "features"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert main(words(host, text, tmp_path / "one")) == 0
    ours, alone = json.loads(found.stdout), json.loads(capsys.readouterr().out)
    for name in ("nmse", "kl", "l0", "ce_recovered"):
        assert ours[name] == pytest.approx(alone[name], rel=1e-3)
    records = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two", "one")]
    assert [r["step"] for r in records[0]] == [r["step"] for r in records[1]]
    for two, one in zip(*records, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert ("held_out" in two) == ("held_out" in one)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_a_shard_of_one_process_is_refused(host, text, tmp_path, capsys):
    assert main([*words(host, text, tmp_path / "out"), "--shard", "data"]) == 2
    assert (
        "--shard data is for several processes, and there is one; start them with torchrun" in capsys.readouterr().err
    )
