"""A checkpoint is gone on with as it was written; whatever else stands in the file is one line that names it."""

import json
from dataclasses import replace

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.sealing import SEAL, save_sealed
from silverstain.storage import read_tensors, save_tensors_whole
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.checkpoint import FILE, FORMAT, WITHOUT_SEAL

from .conftest import batches

SHORT = TrainingConfig(
    n_features=24, l0=4, steps=8, rows=32, pool_rows=64, pool_epochs=1, warmup=1, reseed_every=3, finetune_steps=2
)


@pytest.fixture(scope="module")
def stopped(model, tmp_path_factory):
    """Tensors and header of a run that was stopped at its fourth step."""
    folder = tmp_path_factory.mktemp("stopped")

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(1), SHORT, folder, stop)
    tensors, metadata = read_tensors(folder / FILE)
    return tensors, json.loads(metadata["silverstain"])


def resumed(model, folder):
    return train_dictionary(model, batches(1), SHORT, folder)


def in_header(*path_and_value):
    *path, value = path_and_value

    def change(tensors, header):
        place = header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def without(*path):
    def change(tensors, header):
        place = header
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def tensor(name, value):
    def change(tensors, header):
        tensors[name] = value(tensors[name]) if callable(value) else value

    return change


def no_tensor(name):
    return lambda tensors, header: tensors.pop(name)


@pytest.mark.parametrize("lengths", [{"steps": 4}, {"steps": 12}, {"finetune_steps": 5}])
def test_a_run_may_end_sooner_or_later_than_was_planned(model, tmp_path, stopped, lengths):
    tensors, header = stopped
    save_sealed(tmp_path / FILE, tensors, {"silverstain": json.dumps(header)})
    planned = replace(SHORT, **lengths)
    reached = []
    train_dictionary(model, batches(1), planned, tmp_path, lambda progress: reached.append(progress.step))
    assert reached == list(range(5, planned.steps + planned.finetune_steps + 1))
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("step", "lengths", "said"),
    [
        (4, {"steps": 3}, "steps was 8 and is 3"),
        (9, {"steps": 9}, "steps was 8 and is 9"),
        (9, {"finetune_steps": 0}, "finetune_steps was 2 and is 0"),
    ],
)
def test_a_phase_cannot_end_before_where_the_run_is(model, tmp_path, stopped, step, lengths, said):
    tensors, header = stopped
    moved = header | {"state": header["state"] | {"step": step}}
    save_sealed(tmp_path / FILE, tensors, {"silverstain": json.dumps(moved)})
    with pytest.raises(UsageError, match=said):
        train_dictionary(model, batches(1), replace(SHORT, **lengths), tmp_path)


DAMAGE = {
    "no step": without("state", "step"), "no hash": without("model_hash"), "config null": in_header("config", None),
    "calm of another kind": in_header("state", "stability", "best_nmse", "x"), "state a list": in_header("state", [1]),
    "step a word": in_header("state", "step", "4"), "step true": in_header("state", "step", True),
    "step beyond": in_header("state", "step", 11), "step -1": in_header("state", "step", -1),
    "hash of another": in_header("model_hash", "0" * 16), "a billion batches": in_header("state", "drawn_at", 10**9),
    "a billion starts": in_header("state", "pool", {"fills": [1], "starts": [10**9]}),
    "pool uneven": in_header("state", "pool", {"fills": [1, 2], "starts": [0]}),
    "pool empty": in_header("state", "pool", {"fills": [], "starts": []}),
    "fill beyond": in_header("state", "pool", {"fills": [99], "starts": [1]}),
    "dead of two": in_header("state", "dead", 2.0), "dead null": in_header("state", "dead", None),
    "no moment": no_tensor("optimizer.W_enc.0.exp_avg"), "no weights": no_tensor("weights.W_enc.0"),
    "no scale": no_tensor("scales.input_factor"), "no fired": no_tensor("fired"),
    "wrong shape": tensor("weights.W_enc.0", lambda t: t[:, :3].clone()),
    "moment of wrong shape": tensor("optimizer.b_enc.1.exp_avg_sq", lambda t: t[:2].clone()),
    "empty": tensor("weights.W_enc.1", lambda t: t[:0].clone()), "scalar": tensor("fired", torch.tensor(3)),
    "wrong type": tensor("fired", lambda t: t.float()), "half": tensor("weights.b_dec", lambda t: t.half()),
    "nan": tensor("weights.W_enc.0", lambda t: t * float("nan")),
    "inf": tensor("optimizer.W_enc.0.exp_avg", lambda t: t + float("inf")),
    "another tensor": lambda tensors, header: tensors.update(more=torch.zeros(2)),
}  # fmt: skip


@pytest.mark.parametrize("how", list(DAMAGE))
@pytest.mark.parametrize("seal", [True, False])
def test_damage_behind_a_right_format_is_one_line(model, tmp_path, stopped, how, seal):
    """With a checksum made anew, and as a file of before there were checksums."""
    tensors, header = dict(stopped[0]), json.loads(json.dumps(stopped[1]))
    DAMAGE[how](tensors, header)
    if seal:
        save_sealed(tmp_path / FILE, tensors, {"silverstain": json.dumps(header)})
    else:
        header["format"] = WITHOUT_SEAL
        save_tensors_whole(tmp_path / FILE, tensors, {"silverstain": json.dumps(header)})
    with pytest.raises(UsageError) as raised:
        resumed(model, tmp_path)
    assert FILE in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("said", ["", "[", "3", "null", '"x"', "[1]", "{}", '{"format": 7}', "[" * 900])
def test_a_header_that_is_garbage_is_one_line(model, tmp_path, stopped, said):
    save_sealed(tmp_path / FILE, stopped[0], {"silverstain": said})
    with pytest.raises(UsageError, match=FILE) as raised:
        resumed(model, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_changed_weight_is_found_by_the_checksum(model, tmp_path, stopped):
    tensors, header = dict(stopped[0]), {"silverstain": json.dumps(stopped[1])}
    save_sealed(tmp_path / FILE, tensors, header)
    _, metadata = read_tensors(tmp_path / FILE)
    tensors["weights.W_enc.0"] = tensors["weights.W_enc.0"] * 1.001
    for kept in (metadata, header):  # with the former checksum, and with none
        save_tensors_whole(tmp_path / FILE, tensors, kept)
        with pytest.raises(UsageError, match=r"cannot read .*checksum"):
            resumed(model, tmp_path)
    assert SEAL in metadata


def test_a_checkpoint_of_before_there_were_checksums_is_gone_on_with(model, tmp_path, stopped):
    tensors = {name: tensor for name, tensor in stopped[0].items() if name != "scales.output_cap"}
    header = {**stopped[1], "format": WITHOUT_SEAL}
    save_tensors_whole(tmp_path / "old" / FILE, tensors, {"silverstain": json.dumps(header)})
    save_sealed(tmp_path / "new" / FILE, stopped[0], {"silverstain": json.dumps({**header, "format": FORMAT})})
    assert resumed(model, tmp_path / "old").hash == resumed(model, tmp_path / "new").hash
