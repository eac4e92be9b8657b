"""Files are whole or not there, and every error names the file."""

import re
from pathlib import Path

import pytest
import torch

from silverstain.documents import read_json
from silverstain.errors import SilverstainError, UsageError
from silverstain.storage import (
    hash_file,
    hash_tensors,
    read_tensors,
    save_tensors_whole,
    write_json_whole,
    write_text_whole,
)


def test_tensors_and_metadata_read_back_as_written(tmp_path):
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.zeros(0)}
    save_tensors_whole(tmp_path / "new" / "t.safetensors", tensors, {"format": "silverstain.test/1"})
    found, metadata = read_tensors(tmp_path / "new" / "t.safetensors")
    assert metadata == {"format": "silverstain.test/1"}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    whole = torch.arange(4.0)
    save_tensors_whole(tmp_path / "t", {"whole": whole, "same": whole, "part": whole[1:]}, {})
    found, _ = read_tensors(tmp_path / "t")
    assert found["part"].tolist() == [1, 2, 3]


def test_json_reads_back_and_its_format_is_checked(tmp_path):
    value = {"format": "silverstain.story/1", "label": "ℓ → m"}
    write_json_whole(tmp_path / "s.json", value)
    assert read_json(tmp_path / "s.json", "silverstain.story/1") == read_json(tmp_path / "s.json") == value
    with pytest.raises(UsageError, match=r"is not a silverstain.graph/1 file: its format is 'silverstain.story/1'"):
        read_json(tmp_path / "s.json", "silverstain.graph/1")
    write_json_whole(tmp_path / "list.json", [1])
    with pytest.raises(UsageError, match="its format is None"):
        read_json(tmp_path / "list.json", "silverstain.graph/1")


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text_whole(path, "old")

    def interrupt(self, data):
        with self.open("w") as file:
            file.write("ne")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text_whole(path, "new text")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_can_be_read_by_others(tmp_path):
    write_text_whole(tmp_path / "a.txt", "x")
    (tmp_path / "plain.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


@pytest.mark.parametrize("writer", [write_text_whole, lambda path, _: save_tensors_whole(path, {}, {})])
def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path, writer):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*below.txt: .*; choose a folder that can be written"):
        writer(tmp_path / "file" / "below.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*folder: "):
        writer(tmp_path / "folder", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


@pytest.mark.parametrize("read", [read_tensors, read_json, hash_file])
def test_missing_file_is_named(tmp_path, read):
    with pytest.raises(UsageError, match=r"there is no file .*none\.bin"):
        read(tmp_path / "none.bin")
    with pytest.raises(UsageError, match="is a folder, a file was expected"):
        read(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_truncated_tensors_are_named_wherever_they_are_cut(tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    save_tensors_whole(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"cannot read .*cut\.safetensors: .*corrupt or cut short") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_corrupt_json_is_named(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"a": \xff')
    with pytest.raises(UsageError, match=r"cannot read .*x\.json"):
        read_json(tmp_path / "x.json")


def test_hash_of_tensors_sees_names_types_shapes_and_values_but_not_order():
    a, b = torch.arange(4.0), torch.ones(2)
    same = hash_tensors({"a": a, "b": b})
    assert same == hash_tensors({"b": b.clone(), "a": a.clone()})
    others = [
        {"a": a, "c": b},
        {"a": a.reshape(2, 2), "b": b},
        {"a": a.double(), "b": b},
        {"a": a + 1, "b": b},
        {"a": a},
    ]
    assert len({same, *map(hash_tensors, others)}) == 6
    assert re.fullmatch(r"[0-9a-f]{16}", same)


def test_hash_of_a_file_is_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert hash_file(tmp_path / "a") == "e3b0c44298fc1c14"  # sha256 of nothing


def test_usage_errors_are_ours():
    assert issubclass(UsageError, SilverstainError)
