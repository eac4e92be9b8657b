"""Out of memory: what would have fitted."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from silverstain.attribution import room, trace
from silverstain.errors import OutOfMemory, is_out_of_memory


@given(room_bytes=st.floats(0, 1e12), n_features=st.integers(0, 10**6), n_others=st.integers(0, 10**6))
def test_the_number_of_features_is_the_largest_that_fits(room_bytes: float, n_features: int, n_others: int):
    most = room.most_features(room_bytes, n_features=n_features, n_others=n_others, itemsize=4)
    assert 0 <= most <= n_features
    assert most == 0 or room.bytes_of_rows(most, most + n_others, 4) <= room_bytes
    assert most == n_features or room.bytes_of_rows(most + 1, most + 1 + n_others, 4) > room_bytes


def test_free_memory_is_a_number_of_bytes():
    assert 10**7 < room.free_bytes(torch.device("cpu")) < 10**14


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes."),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_running_out_names_a_smaller_setting(tiny, monkeypatch: pytest.MonkeyPatch, error: BaseException):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    assert is_out_of_memory(error)
    monkeypatch.setattr("silverstain.attribution.flow.FrozenFlow.sweep", fail)
    with pytest.raises(
        OutOfMemory, match=r"rows for \d+ features and 10 targets do not fit in the .* GB that were free"
    ):
        trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt)
    monkeypatch.setattr("silverstain.attribution.room.free_bytes", lambda _: 10_000)
    n = r"max_features=(\d+) \(--max-features \1\) should fit"
    with pytest.raises(OutOfMemory, match=n) as caught:
        trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt)
    found = re.search(n, str(caught.value))
    assert found
    assert 0 < int(found[1]) < 30


def test_a_real_allocation_that_is_too_large_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    assert is_out_of_memory(caught.value)


def test_other_errors_pass():
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        room.saying_what_fits(n_features=1, n_others=1, n_targets=1, itemsize=4, device=torch.device("cpu")),
    ):
        raise RuntimeError("shapes differ")
