"""Opening reads headers only; using reads the rows that are active, in whatever format the set is stored."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from tests.bases.published import WRITERS, D, Draw, F, L, settings

from silverstain.bases import Dictionary, open_dictionary
from silverstain.bases import storage as storage_module
from silverstain.bases.lazy import Lazy

HUGE_F, HUGE_D, HUGE_L = 1 << 20, 1024, 4


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], int]]:
    """(shape of the stored tensor, rows read) of every read; -1 for the whole of one."""
    found: list[tuple[tuple[int, ...], int]] = []
    original = Lazy.of

    def of(tensor: torch.Tensor, where: str) -> Lazy:
        lazy = original(tensor, where)

        def read(rows: torch.Tensor | None) -> torch.Tensor:
            found.append((lazy.shape, -1 if rows is None else len(rows)))
            return lazy.read(rows)

        return Lazy(lazy.shape, lazy.dtype, read, where)

    monkeypatch.setattr(Lazy, "of", staticmethod(of))
    monkeypatch.setattr(storage_module, "CACHED_BYTES", 0)  # as for a large set
    return found


@pytest.mark.parametrize("case", WRITERS)
def test_opening_reads_no_tensor_and_decoding_only_the_rows_asked_for(case: str, tmp_path: Path, reads):
    WRITERS[case](tmp_path, Draw(0))
    dictionary = open_dictionary(tmp_path)
    assert (dictionary.n_features, dictionary.has_skip) == (F, dictionary.W_skip(0) is not None)
    del reads[1 if dictionary.has_skip else 0 :]
    reads.clear()
    open_dictionary(tmp_path)
    assert reads == []
    dictionary.decoder_rows(0, torch.tensor([4, 1, 4]))
    rows = [n for shape, n in reads if len(shape) > 1]
    if "openmoss" in case and "topk" in case and "plain" not in case:
        assert sum(n for n in rows) <= (F + 2) * L * 2  # the one kind whose choice needs every row's norm, once
    else:
        assert all(0 < n <= 2 for n in rows)  # each row once, though asked for twice


def write_holes(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros that takes no space on the disk."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        os.truncate(path, 8 + len(text) + end)


def resident(kind: str = "RssAnon") -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts resident memory as Linux shows it")
def test_a_set_of_thirty_gigabytes_opens_and_is_used_by_row(tmp_path: Path):
    settings(tmp_path / "config.yaml", {"model_kind": "cross_layer_transcoder"})
    for i in range(HUGE_L):
        biases = {f"b_enc_{i}": (HUGE_F,), f"b_dec_{i}": (HUGE_D,), f"threshold_{i}": (HUGE_F,)}
        write_holes(tmp_path / f"W_enc_{i}.safetensors", {f"W_enc_{i}": (HUGE_F, HUGE_D), **biases})
        write_holes(tmp_path / f"W_dec_{i}.safetensors", {f"W_dec_{i}": (HUGE_F, HUGE_L - i, HUGE_D)})
    size = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert size > 29e9
    before = resident(), resident("RssFile")
    dictionary = open_dictionary(tmp_path)
    features = torch.randint(HUGE_F, (20,), generator=torch.Generator().manual_seed(0))
    for layer in range(HUGE_L):
        assert dictionary.decoder_rows(layer, features).shape == (20, HUGE_L - layer, HUGE_D)
        dictionary.encoder_rows(layer, features)
    assert len(dictionary.hash) == 16  # of sampled rows
    assert resident() - before[0] < 200e6
    assert resident("RssFile") - before[1] < 200e6


def test_the_hash_of_a_large_set_is_of_rows_spread_over_it(monkeypatch: pytest.MonkeyPatch):
    def hash_with(row: int | None) -> str:
        """Of a set of random rows, one of them changed."""
        draw = Draw(0)
        W_enc = draw(90, D)
        if row is not None:
            W_enc[row] += 1
        return Dictionary.from_tensors(W_enc=[W_enc], b_enc=[draw(90)], W_dec=[draw(90, D)], b_dec=[draw(D)]).hash

    in_full = hash_with(None)
    assert hash_with(1) != in_full
    monkeypatch.setattr("silverstain.bases.hashing.HASHED_WHOLE", 100)
    sampled = hash_with(None)
    assert sampled != in_full
    assert hash_with(1) == sampled  # not among the rows hashed
    assert hash_with(0) != sampled
    assert hash_with(89) != sampled
