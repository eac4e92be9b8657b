"""Two processes train what one trains: the same figures step by step, the same file on disk, refusals in one line.

All of it is done once, by `two_processes.py` in two processes; the tests look at what it left behind.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from silverstain.bases import open_dictionary
from silverstain.storage import read_tensors
from silverstain.training.team import feature_axis

from .two_processes import AT, BOTH, RUNS, SHARES

ROOT = Path(__file__).parents[2]
WAYS = [(name, share) for name in RUNS for share in SHARES.get(name, BOTH)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    script = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(folder)]
    processes = [
        subprocess.Popen(script, env={**os.environ, **shared, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """What both processes found; what one of them had to itself is in one place."""
    first, second = (json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2))
    for name in RUNS:
        first[name] = {**second[name], **first[name]}
    return first, second


def assert_same(curve, expected):
    """Step, loss, NMSE, L0 of three layers, KL, dead."""
    assert len(curve) == len(expected)
    for ours, theirs in zip(curve, expected, strict=True):
        # an activation of 1e-8 is counted or not as rounding has it: one of 48 tokens
        assert ours[3:6] == pytest.approx(theirs[3:6], abs=0.03)
        assert ours[:3] + ours[6:] == pytest.approx(theirs[:3] + theirs[6:], rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(("name", "share"), WAYS)
def test_two_processes_say_what_one_says_at_every_step(found, name, share):
    first, second = found
    alone = first[name]["alone"]
    assert [step[0] for step in alone] == list(range(1, RUNS[name].n_steps + 1))
    assert len({step[1] for step in alone}) == RUNS[name].n_steps
    assert_same(first[name][share], alone)
    assert first[name][share] == second[name][share]


def test_features_died_and_were_revived_in_these_runs(found):
    """So that the runs above say something of reseeding and AuxK."""
    for name in ("batchtopk", "topk", "l0"):
        assert max(step[-1] for step in found[0][name]["alone"]) > 0.02


@pytest.mark.parametrize(("name", "share"), [way for way in WAYS if way[0] not in ("molt", "jacobian")])
def test_what_is_kept_is_the_whole_dictionary(folder, name, share):
    ours, alone = open_dictionary(folder / f"{share}-{name}"), open_dictionary(folder / f"alone-{name}")
    assert sorted(p.name for p in (folder / f"{share}-{name}").iterdir()) == sorted(
        p.name for p in (folder / f"alone-{name}").iterdir()
    )
    for layer in range(alone.n_layers):
        for what in ("W_enc", "W_dec", "threshold"):
            torch.testing.assert_close(
                getattr(ours, what)(layer), getattr(alone, what)(layer), rtol=1e-3, atol=1e-4, msg=f"{what} {layer}"
            )


@pytest.mark.parametrize("share", BOTH)
def test_an_observer_sees_the_whole_dictionary(found, share):
    assert found[0]["batchtopk"][f"{share}_fidelity"] == pytest.approx(
        found[0]["batchtopk"]["alone_fidelity"], rel=1e-4
    )


@pytest.mark.parametrize("share", BOTH)
def test_ctrl_c_in_one_process_ends_all_and_leaves_one_file_with_everybodys_state(folder, found, share):
    for said in found:
        parts = said[f"{share}_parts"]
        assert parts["interrupted"]
        assert parts["steps"] == AT
        assert parts["files"] == ["checkpoint.safetensors"]
    ours, _ = read_tensors(folder / f"{share}.safetensors")
    alone, _ = read_tensors(folder / "begun-alone" / "checkpoint.safetensors")
    assert ours.keys() == alone.keys()
    moments = [name for name in alone if name.endswith((".exp_avg", ".exp_avg_sq"))]
    assert len(moments) == 2 * len([name for name in alone if name.endswith(".step")]) > 0
    for name, tensor in alone.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    halves = [tensor.chunk(2, axis) for name, tensor in ours.items() if (axis := feature_axis(name)) is not None]
    assert any(not torch.allclose(a, b) for a, b in halves)


@pytest.mark.parametrize("share", BOTH)
def test_a_run_goes_on_to_the_very_same_weights(folder, found, share):
    assert found[0][f"{share}_parts"]["resumed"] == found[0]["batchtopk"][share][AT:]
    assert open_dictionary(folder / f"{share}-parts").hash != ""
    whole, parts = (open_dictionary(folder / f"{share}-{name}") for name in ("batchtopk", "parts"))
    for layer in range(whole.n_layers):
        assert torch.equal(whole.W_enc(layer), parts.W_enc(layer))
        assert torch.equal(whole.W_dec(layer), parts.W_dec(layer))


@pytest.mark.parametrize("share", BOTH)
def test_a_run_goes_on_with_another_number_of_processes(found, share):
    alone = found[0]["batchtopk"]["alone"][AT:]
    assert_same(found[0][f"{share}_parts"]["from_alone"], alone)
    assert_same(found[0][f"{share}_parts"]["goes_on_alone"], alone)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        ("unsaid", "2 processes train into one folder; say with shard what they share, data or features"),
        ("unknown", "what processes share is data or features, got 'layers'"),
        ("odd", "63 features a layer cannot be cut into 2 equal parts"),
        ("molt", "molt have unlike ranks and are not cut into parts; share the data"),
        ("jacobian", "jacobian_weight is 0.1, which pairs tokens of different processes"),
        ("rows", "a step has 63 rows for 2 processes; raise rows to 64"),
        ("cache", "a cache of activations is of one process, and there are 2"),
        ("one sequence", "a batch has 1 sequences for 2 processes"),
        ("unwritable", "cannot write"),
    ],
)
def test_what_cannot_be_shared_is_said_in_one_line_by_every_process(found, attempt, words):
    for said in found:
        assert words in said["refused"][attempt]
        assert "\n" not in said["refused"][attempt]


def test_a_model_in_shards_gives_the_activations_of_the_plain_one(found):
    for said in found:
        assert said["fsdp"]["parameters"] == "DTensor"
        assert said["fsdp"]["difference"] < 1e-6
        assert said["fsdp"]["hash"]


@pytest.mark.parametrize("share", BOTH)
def test_training_on_a_model_in_shards_is_training_on_the_plain_one(found, share):
    assert_same(found[0]["fsdp"][share], found[0]["batchtopk"]["alone"])
