"""How files are damaged: hypothesis strategies that take what is valid and give what strangers bring."""

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

HOSTILE: list[Any] = [
    None, True, 0, -1, 1, 7, 2**31, -(2**31), 10**20, 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"),
    "", " ", "x", "\x1b]0;owned\x07", "\x9b5n", "\n\n", "\u202eabc", "a\x00b", "9" * 5000, "x" * 100_000,
    "../../etc/passwd", "~nouser/x", "/dev/zero", "日本", "L0.F0@1", "0_1_2", [], {}, [[]], [None], [1], ["a"],
    {"a": 1}, [[[[[[]]]]]], {"": {"": {}}}, [0] * 1000, "\ud83d", b"nested",
]  # fmt: skip
"""Values that stand where another was expected. The last stands for 900 lists in each other."""

NESTED = "[" * 900 + "]" * 900


def written(value: Any) -> str:
    """As JSON, with what Python's own writer refuses."""
    text = json.dumps(value, default=lambda _: "@nested@")
    return text.replace('"@nested@"', NESTED)


@st.composite
def damaged_json(draw: st.DrawFn, value: Any) -> str:
    """The JSON of a value in which one to three places are something else, gone, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        value = _hurt(draw, value)
    return written(value)


def _hurt(draw: st.DrawFn, value: Any) -> Any:
    """One place of `value` changed, every depth being as likely as another."""
    holder, key = None, None
    here = value
    while isinstance(here, dict | list) and here and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(min(len(here), 50))))
        holder, here = here, here[key]
    if holder is None:
        return copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "rename"]))
    if how == "remove":
        del holder[key]
    elif how == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(here))
    elif how == "rename" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["", "x", "\x1b[2J", "9" * 50]))] = holder.pop(key)
    else:
        holder[key] = copy.deepcopy(draw(st.sampled_from(HOSTILE)))
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut short, with bytes flipped, doubled or put in, or other content altogether."""
    how = draw(st.sampled_from(["cut", "flip", "flip", "insert", "zero", "other", "double"]))
    at = draw(st.integers(0, max(len(content) - 1, 0)) | st.integers(0, min(len(content), 300)))
    if how == "cut":
        return content[:at]
    if how == "flip":
        changed = bytearray(content or b"x")
        for _ in range(draw(st.integers(1, 8))):
            changed[draw(st.integers(0, len(changed) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if how == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=40)) + content[at:]
    if how == "zero":
        return content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]
    if how == "double":
        return content + content
    return draw(
        st.sampled_from(
            [b"", b"\x00" * 100, b"\xff\xfe", b"{", b"[]", b"null", b"PK\x03\x04", b"\x80\x04.", b"\x1b]0;x\x07"]
        )
    )


@st.composite
def damaged_tensors(draw: st.DrawFn, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """One to three arrays of another shape, type or content, gone or renamed."""
    tensors = dict(tensors)
    for _ in range(draw(st.integers(1, 3))):
        if not tensors:
            break
        name = draw(st.sampled_from(sorted(tensors)))
        how = draw(st.sampled_from([*sorted(TENSOR_DAMAGE), "remove", "rename"]))
        tensor = tensors.pop(name)
        if how == "rename":
            tensors[draw(st.sampled_from(["x", "\x1b[2J", name + "_0", name[:-1]]))] = tensor
        elif how != "remove":
            tensors[name] = TENSOR_DAMAGE[how](tensor).contiguous()
    return tensors


def _with(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool or not tensor.numel():
            return tensor
        if not tensor.is_floating_point():
            info = torch.iinfo(tensor.dtype)
            number = int(min(max(value, info.min), info.max)) if abs(value) < 1e300 else info.max
        else:
            number = value
        changed = tensor.clone().reshape(-1)
        changed[len(changed) // 2] = number
        return changed.reshape(tensor.shape)

    return change


TENSOR_DAMAGE: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda t: torch.full_like(t, float("nan")) if t.is_floating_point() else t,
    "one nan": lambda t: _with(float("nan"))(t) if t.is_floating_point() else t,
    "infinite": lambda t: _with(float("inf"))(t) if t.is_floating_point() else t,
    "huge": _with(1e38),
    "minus one": _with(-1),
    "minus seven": lambda t: torch.full_like(t, -7) if t.dtype not in (torch.bool, torch.uint8) else t,
    "millions": _with(5e7),
    "billions": _with(2**31 - 1),
    "empty": lambda t: t[:0] if t.ndim else t,
    "scalar": lambda t: t.reshape(-1)[:1].reshape(()) if t.numel() else torch.zeros(()),
    "shorter": lambda t: t[:-1] if t.ndim and len(t) else t,
    "doubled": lambda t: torch.cat([t, t]) if t.ndim else t,
    "flat": lambda t: t.reshape(-1),
    "deeper": lambda t: t[None],
    "bytes": lambda t: t.to(torch.uint8) if t.dtype != torch.bool else t,
    "double precision": lambda t: t.double(),
    "float8": lambda t: t.float().clamp(-400, 400).to(torch.float8_e4m3fn) if t.is_floating_point() else t,
    "reversed": lambda t: t.flip(0) if t.ndim else t,
    "zeros": torch.zeros_like,
}
