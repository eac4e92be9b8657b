"""A file with a checksum is as it was written, or is refused by name."""

from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from silverstain.errors import UsageError
from silverstain.resuming import ResumeStore
from silverstain.sealing import SEAL, check_seal, is_sealed, save_sealed
from silverstain.storage import read_tensors

TENSORS = {
    "b": torch.arange(6.0).view(2, 3), "a": torch.tensor([True, False]), "n": torch.zeros(0, 4), "s": torch.tensor(3),
    "h": torch.ones(3, dtype=torch.bfloat16),
}  # fmt: skip


def test_what_was_written_is_accepted_and_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_sealed(path, TENSORS, {"k": "v", "é": "\n"})
    header = check_seal(path, must_have=True)
    assert is_sealed(path)
    assert {name: entry.shape for name, entry in header.entries.items()} == {
        n: tuple(t.shape) for n, t in TENSORS.items()
    }
    tensors, metadata = read_tensors(path)
    assert torch.equal(tensors["b"], TENSORS["b"])
    assert {key: value for key, value in metadata.items() if key != SEAL} == {"k": "v", "é": "\n"}


def test_no_bit_can_change(tmp_path):
    path = tmp_path / "x.safetensors"
    save_sealed(path, TENSORS, {"k": "v"})
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with suppress(UsageError):
            check_seal(path, must_have=True)
            continue
        refused += 1
    assert refused >= len(whole) - 8  # but for blanks that pad the header
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="cannot read"):
            check_seal(path)


@pytest.mark.parametrize(
    "header",
    [b"[]", b"{", b'{"a":1}', b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"[" * 5000,
     b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999]}}', b'{"__metadata__":[]}',
     b'{"__metadata__":{"a":1}}', b'{"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}}'],
)  # fmt: skip
def test_a_header_that_is_none_is_one_line(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(UsageError, match="cannot read") as raised:
        check_seal(path)
    assert "\n" not in str(raised.value)


def test_files_without_a_checksum_are_read_where_none_is_due(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    check_seal(path)
    assert not is_sealed(path)
    with pytest.raises(UsageError, match="it has no checksum"):
        check_seal(path, must_have=True)


def test_a_resume_store_takes_nothing_that_was_changed(tmp_path):
    store = ResumeStore(tmp_path / "parts", "me")
    key = store.key("one")
    store.put(key, {"values": torch.arange(4.0)})
    store.flush()
    (path,) = (tmp_path / "parts").iterdir()
    assert torch.equal(ResumeStore(tmp_path / "parts", "me").get(key)["values"], torch.arange(4.0))
    save_file({name: 1.5 * tensor for name, tensor in load_file(path).items()}, path)
    with pytest.raises(UsageError, match=r"cannot go on from .*parts: cannot read .*checksum.*begin again"):
        ResumeStore(tmp_path / "parts", "me")
    # one of before there were checksums
    path.rename(path.with_name(path.name.replace("sealed-", "")))
    again = ResumeStore(tmp_path / "parts", "me")
    assert torch.equal(again.get(key)["values"], 1.5 * torch.arange(4.0))
    again.put(again.key("two"), {"values": torch.zeros(1)})
    again.flush()
    assert len(list((tmp_path / "parts").iterdir())) == 2
