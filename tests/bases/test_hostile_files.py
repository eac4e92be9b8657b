"""Files made to break a reader: each is one line, at once, and nothing of its asked-for size is made."""

import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.bases import published
from tests.bases.published import D, Draw, F, L
from tests.bases.test_bad_files import edit_tensors

from silverstain.bases import open_dictionary
from silverstain.errors import UsageError


def one_file(folder: Path) -> Path:
    return sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.pt"), *folder.rglob("*.npz")])[0]


def rewritten_zip(path: Path, change: Callable[[str, bytes], bytes], **how: Any) -> None:
    """The same archive with other content."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


def with_pickle(content: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        rewritten_zip(path, lambda name, old: content if name.endswith("data.pkl") else old)

    return change


class Sleeper:
    def __reduce__(self) -> Any:
        return bytearray, (1 << 33,)


def nested_tuples() -> bytes:
    """A mapping whose key is a tuple of a tuple twice, forty times over: its hash alone would take hours."""
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    return b"\x80\x02}" + b"K\x01\x85" + steps + b"K\x01s."


def repeated(path: Path) -> None:
    """Tensors of two gigabytes that are one number."""
    value = torch.load(path, weights_only=True)
    value["sae"]["W_E"] = torch.zeros(1).expand(D, 1 << 27)
    torch.save(value, path)


def header(path: Path, text: bytes, size: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text)


def npz_with(path: Path, head: bytes, packed: bool = False) -> None:
    stored = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    arrays = dict(np.load(path))
    with zipfile.ZipFile(path, "w", stored) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
        archive.writestr("more.npy", head)


def npy(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


NATIVE = ("W_enc", "W_dec", "b_enc", "b_dec")
PT, NPZ, SAFE = "openmoss jumprelu .pt", "gemma scope 1", "circuit-tracer relu"
DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "pt: one number, two gigabytes": (PT, repeated, "W_E has 536870912 entries where the file holds fewer"),
    "pt: a packed archive": (
        PT, lambda p: rewritten_zip(p, lambda _, old: old, compression=zipfile.ZIP_DEFLATED), "its parts are packed"),
    "pt: a bomb": (
        PT, lambda p: rewritten_zip(
            p, lambda n, old: bytes(1 << 27) if n.endswith("data.pkl") else old, compression=zipfile.ZIP_DEFLATED),
        "its parts are packed"),
    "pt: eight gigabytes of bytes": (PT, with_pickle(pickle.dumps(Sleeper(), 2)), "bytearray while it is read"),
    "pt: a command": (PT, with_pickle(b"cos\nsystem\n(S'true'\ntR."), "it would run os.system"),
    "pt: a name put together": (
        PT, with_pickle(b"\x80\x04\x8c\x02os\x8c\x06system\x93."), "torch does not write (STACK_GLOBAL)"),
    "pt: tuples of tuples": (PT, with_pickle(nested_tuples()), "it nests the same values"),
    "pt: a list of lists": (PT, with_pickle(b"\x80\x02]" + b"".join(b"2a" for _ in range(40)) + b"."), "cannot read"),
    "pt: no pickle": (PT, with_pickle(b"\xff\xff"), "cannot read"),
    "pt: an old one": (
        PT, lambda p: torch.save({"a": torch.ones(2)}, p, _use_new_zipfile_serialization=False), "layer 0 is missing"),
    "pt: cut short": (PT, lambda p: p.write_bytes(p.read_bytes()[:-300]), "cannot read"),
    "pt: empty": (PT, lambda p: p.write_bytes(b""), "cannot read"),
    "npz: a bomb": (NPZ, lambda p: npz_with(p, npy("(67108864,)") + bytes(1 << 28), packed=True), "it would unpack to"),
    "npz: more than is there": (NPZ, lambda p: npz_with(p, npy("(99999999999,)")), "which is more than is there"),
    "npz: more than is there, packed": (
        NPZ, lambda p: npz_with(p, npy("(9999999999,)"), packed=True), "more than is there"),
    "npz: sizes without end": (NPZ, lambda p: npz_with(p, npy("(" + "9" * 400 + ",)")), "cannot read"),
    "npz: less than nothing": (NPZ, lambda p: npz_with(p, npy("(-4,)")), "cannot read"),
    "npz: nested": (NPZ, lambda p: npz_with(p, npy("(" * 900 + ")" * 900)), "cannot read"),
    "npz: objects": (NPZ, lambda p: npz_with(p, npy("(1,)", "|O")), "holds Python objects"),
    "npz: texts": (NPZ, lambda p: npz_with(p, npy("(1,)", "<U4") + bytes(16)), "cannot read"),
    "safetensors: a header of exabytes": (SAFE, lambda p: header(p, b"{}", 1 << 60), "its header is said to be larger"),
    "safetensors: more than is there": (
        SAFE, lambda p: header(p, json.dumps(
            {"W_enc": {"dtype": "F32", "shape": [1 << 20, 1 << 12], "data_offsets": [0, 1 << 34]}}).encode()),
        "cannot read"),
    "safetensors: sizes that overflow": (
        SAFE, lambda p: header(p, json.dumps(
            {"W_enc": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 0]}}).encode()), "cannot read"),
    "safetensors: nothing, widely": (
        SAFE, lambda p: header(p, json.dumps(
            {n: {"dtype": "F32", "shape": [1 << 50, 0], "data_offsets": [0, 0]} for n in NATIVE}).encode()),
        "[features, d_model] needed"),
    "safetensors: eight bits": (
        SAFE, lambda p: edit_tensors(p, lambda t: t.update(W_enc=t["W_enc"].to(torch.float8_e4m3fn))),
        "stored as float8_e4m3fn; weights are read as float16"),
    "safetensors: whole numbers": (
        SAFE, lambda p: edit_tensors(p, lambda t: t.update(W_dec=t["W_dec"].long())), "stored as int64"),
    "safetensors: complex numbers": (
        SAFE, lambda p: edit_tensors(p, lambda t: t.update(b_dec=torch.ones(D) + 1j)), "stored as complex64"),
    "safetensors: a vector": (
        SAFE, lambda p: edit_tensors(p, lambda t: t.update(W_enc=torch.ones(F))), "[features, d_model]"),
    "safetensors: other sizes": (
        SAFE, lambda p: edit_tensors(p, lambda t: t.update(b_enc=torch.ones(F + 1))), f"has shape ({F + 1},)"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_hostile_file_is_one_line_at_once(name: str, tmp_path: Path):
    case, damage, words = DAMAGES[name]
    published.WRITERS[case](tmp_path, Draw(0))
    damage(one_file(tmp_path))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UsageError) as caught:
        open_dictionary(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def shorter(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[..., :-1]


def flatter(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten()


def deeper(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[None]


@pytest.mark.parametrize("change", [shorter, flatter, deeper], ids=lambda change: change.__name__)
@pytest.mark.parametrize("case", [name for name in published.WRITERS if not name.endswith((".pt", "compressed", "1"))])
def test_a_tensor_of_another_shape_is_named_or_means_the_same(case: str, change: Any, tmp_path: Path):
    """Each tensor of a set, one at a time: no shape is believed."""
    published.WRITERS[case](tmp_path, Draw(0))
    file = sorted(tmp_path.rglob("*.safetensors"))[-1]
    from safetensors.torch import load_file

    whole = load_file(file)
    for name, tensor in whole.items():
        changed = change(tensor) if tensor.ndim else tensor
        if changed.shape == tensor.shape:
            continue
        published.write(file, {**whole, name: changed})
        with suppress(UsageError):
            dictionary = open_dictionary(tmp_path)
            dictionary.reconstruct(dictionary.encode(torch.ones(L, 2, D)), torch.ones(L, 2, D))


INDEXES: dict[str, tuple[str, str]] = {
    "leads away": (
        '{"weight_map": {"a": "../../etc/passwd"}}',
        "names ../../etc/passwd, which is outside of its folder",
    ),
    "leads away, inside": ('{"weight_map": {"a": "b/../../c"}}', "which is outside of its folder"),
    "a list": ("[]", "holds no settings"),
    "a list for a name": ('{"weight_map": {"a": [1]}}', "weight_map.a: input should be a valid string"),
    "a list for names": ('{"weight_map": ["a"]}', "weight_map: input should be a valid dictionary"),
    "an escape": ('{"weight_map": {"a": "\\u001b[31m.safetensors"}}', r"\x1b[31m.safetensors is missing"),
    "deep": ("[" * 5000, "deep in each other"),
    "half of a character": ('{"weight_map": {"a": "\\ud800"}}', "half of a character"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_of_shards_is_not_believed(name: str, tmp_path: Path):
    text, words = INDEXES[name]
    published.circuit_tracer(tmp_path, Draw(0))
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        open_dictionary(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


CONFIGS: dict[str, tuple[str, str | None]] = {
    "a date": ("created: 2024-05-01\nthen: 2024-05-01 10:00:00\n", None),
    "sixties": ("x: " + "1:" * 3000 + "1\n", None),
    "itself": ("a: &a [*a]\n", "an alias stands inside of what it names"),
    "doubling": ("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)), "has more than"),
    "deep": ("a: " + "[" * 20000, "deep in each other"),
    "a tag": ("a: !!python/object/apply:os.system [true]\n", "cannot read"),
    "a set": ("a: !!set {x}\n", "cannot read"),
    "names that are no texts": ("1: a\nnull: b\n", None),
    "lists as names": ("? [a]\n: b\n", "cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_yaml_is_read_as_json_would_be(name: str, tmp_path: Path):
    more, words = CONFIGS[name]
    published.circuit_tracer(tmp_path, Draw(0))
    with (tmp_path / "config.yaml").open("a") as file:
        file.write(more)
    began = time.process_time()
    if words is None:
        json.dumps(open_dictionary(tmp_path).metadata)
    else:
        with pytest.raises(UsageError, match=words) as caught:
            open_dictionary(tmp_path)
        assert str(caught.value).isprintable()
    assert time.process_time() - began < 2


def test_a_name_of_a_layer_without_end(tmp_path: Path):
    published.saelens(tmp_path, Draw(0))
    config = next(tmp_path.rglob("cfg.json"))
    settings = json.loads(config.read_text())
    settings["metadata"]["hook_name"] = "blocks." + "9" * 5000 + ".hook"
    config.write_text(json.dumps(settings))
    with pytest.raises(UsageError):
        open_dictionary(tmp_path)


@pytest.mark.parametrize(
    "reference", ["~nouser/x", "a\0b", "x" * 5000, "hf://[", "hf://org/name?revision=[", "org/n\x1b[31m"]
)
def test_a_reference_that_leads_nowhere_is_one_line(reference: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError) as caught:
        open_dictionary(reference)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path):
    published.circuit_tracer(tmp_path / "d", Draw(0))
    (tmp_path / "d").chmod(0)
    try:
        with pytest.raises(UsageError):
            open_dictionary(tmp_path / "d")
    finally:
        (tmp_path / "d").chmod(0o755)
