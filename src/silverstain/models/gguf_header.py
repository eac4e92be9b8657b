"""What a GGUF file says of itself in front, read within its bounds and held against its size.

A damaged or hostile file is refused here, before transformers, which trusts what it reads, is given the file.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.errors import UsageError
from silverstain.models.folder import MOST_LAYERS
from silverstain.parts import reason_of, shown_path
from silverstain.printable import printable
from silverstain.storage import check_is_file

MAGIC, VERSIONS = b"GGUF", (2, 3)
GGUF_TYPES = {
    "gpt2": "gpt2", "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3_text",
    "phi3": "phi3",
}  # fmt: skip
"""Architectures that GGUF names, and what transformers calls them: those that its reader knows and `ARCHITECTURES` has.
Files of Mistral are called llama."""
FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
MOST_ENTRIES = 1 << 16
"""Keys, or tensors, of a file."""
MOST_ITEMS = 1 << 24
"""Of an array: a vocabulary has less than a million."""
SIZES = (
    "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv", "vocab_size",
    "attention.key_length", "attention.value_length", "rope.dimension_count",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What of it is looked at."""

    architecture: str
    values: Mapping[str, Any]
    """Single values; of a list, how long it is."""
    tensors: Mapping[str, str]
    """The name of each tensor, and how its numbers are stored."""
    n_numbers: int
    quantisation: str
    """Of the file as a whole: Q4_K_M, say."""


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of a file that transformers can be given; UsageError, in one line, for one that is no GGUF file, cut
    short, of an architecture or quantisation that cannot be read, or that asks for more than it holds."""
    check_is_file(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            reader = _Reader(content)
            if reader.take(4) != MAGIC:
                raise _Broken("it does not begin as a GGUF file")
            version, n_tensors, n_values = reader.unpack("<I"), reader.unpack("<Q"), reader.unpack("<Q")
            if version not in VERSIONS:
                raise _Broken(f"it is of version {version} of the format, and versions 2 and 3 are read")
            if max(n_tensors, n_values) > MOST_ENTRIES:
                raise _Broken(f"it says that it has {n_values:,} keys and {n_tensors:,} tensors")
            values = dict(reader.entry() for _ in range(n_values))
            architecture = _checked_architecture(path, values)
            infos = [reader.tensor() for _ in range(n_tensors)]
            alignment = values.get("general.alignment", 32)
            if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
                raise _Broken(f"its alignment is {alignment!r:.40}")
            start = -(-reader.place // alignment) * alignment
            tensors = _checked_tensors(path, infos, len(content) - start)
    except (OSError, struct.error, ValueError) as error:  # an empty file cannot be mapped
        raise _broken(path, reason_of(error)) from error
    n_numbers = sum(math.prod(shape) for _, shape, _, _ in infos)
    _check_sizes(path, architecture, values, n_numbers)
    return GgufHeader(
        architecture=architecture,
        values=values,
        tensors=tensors,
        n_numbers=n_numbers,
        quantisation=_quantisation(values, tensors),
    )


class _Broken(ValueError):
    """What is wrong with a file."""


class _Reader:
    """Walks through the bytes of a file, and does not leave them."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.place = content, 0

    def take(self, length: int) -> bytes:
        if length > len(self.content) - self.place:
            raise _Broken("it is cut short")
        self.place += length
        return self.content[self.place - length : self.place]

    def unpack(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.take(self.unpack("<Q")).decode("utf-8", "replace")

    def skip_text(self) -> None:
        length = self.unpack("<Q")
        if length > len(self.content) - self.place:
            raise _Broken("it is cut short")
        self.place += length

    def entry(self) -> tuple[str, Any]:
        key, kind = self.text(), self.unpack("<I")
        return key, self.value(kind)

    def value(self, kind: int) -> Any:
        """A single value, or the length of a list."""
        if kind in FORMATS:
            return self.unpack(FORMATS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise _Broken(f"it has a value of the unknown type {kind}")
        inner, n_items = self.unpack("<I"), self.unpack("<Q")
        if n_items > MOST_ITEMS:
            raise _Broken(f"it has a list of {n_items:,} items")
        if inner == STRING:
            for _ in range(n_items):
                self.skip_text()
        elif inner in FORMATS:
            self.take(n_items * struct.calcsize(FORMATS[inner]))
        else:
            raise _Broken(f"it has a list of the unknown type {inner}")
        return n_items

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape, type and offset of a tensor."""
        name, n_dimensions = self.text(), self.unpack("<I")
        if n_dimensions > 4:
            raise _Broken(f"its tensor {name!r:.80} has {n_dimensions} dimensions")
        shape = tuple(self.unpack("<Q") for _ in range(n_dimensions))
        return name, shape, self.unpack("<I"), self.unpack("<Q")


def _checked_architecture(path: Path, values: Mapping[str, Any]) -> str:
    architecture = values.get("general.architecture")
    if architecture not in GGUF_TYPES:
        raise UsageError(
            f"{shown_path(path)} is a GGUF file of architecture {printable(str(architecture), 40)!r}, which is not "
            f"read (those that are: {', '.join(sorted(GGUF_TYPES))}); give a file of one of these, or the model as a "
            "Hugging Face folder (docs/architectures.md says of which types)"
        )
    if values.get("split.count", 1) not in (0, 1):
        raise UsageError(
            f"{shown_path(path)} is one of {values['split.count']!r:.20} parts of a model; join them with "
            "llama-gguf-split --merge, and give the whole file"
        )
    scaling = values.get(f"{architecture}.rope.scaling.type", "none")
    factor = values.get(f"{architecture}.rope.scaling.factor", 1.0)
    if scaling != "none" or factor not in (0, 1):
        raise UsageError(
            f"{shown_path(path)} has positions that are scaled (rope.scaling), which transformers' reader of GGUF "
            "files leaves out: it would be another model; give the model as a Hugging Face folder"
        )
    return architecture


def _checked_tensors(path: Path, infos: list[tuple[str, tuple[int, ...], int, int]], room: int) -> dict[str, str]:
    """How each tensor is stored; UsageError unless all of them are in the file and can be unpacked."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    readable: dict[int, tuple[str, int, int]] = {}
    tensors: dict[str, str] = {}
    for name, shape, kind, offset in infos:
        if kind not in readable:
            try:
                stored = GGMLQuantizationType(kind)
                block, size = GGML_QUANT_SIZES[stored]
                if stored.name not in ("F32", "F16"):
                    dequantize(np.zeros((1, size), dtype=np.uint8), stored)
            except (ValueError, KeyError, NotImplementedError) as error:
                known = GGMLQuantizationType(kind).name if kind in set(GGMLQuantizationType) else f"type {kind}"
                raise UsageError(
                    f"{shown_path(path)} holds tensors quantised as {known} ({printable(name, 60)}), which the reader "
                    "cannot unpack; give a file of another quantisation, such as Q8_0 or Q4_K_M"
                ) from error
            readable[kind] = stored.name, block, size
        stored_as, block, size = readable[kind]
        if math.prod(shape) % block or (shape and shape[0] % block):
            raise _Broken(f"its tensor {name!r:.80} is not made of whole blocks")
        if offset + math.prod(shape) // block * size > room:
            raise _Broken("it is cut short: its tensors reach beyond its end")
        if name in tensors:
            raise _Broken(f"it has two tensors {name!r:.80}")
        tensors[name] = stored_as
    return tensors


def _check_sizes(path: Path, architecture: str, values: Mapping[str, Any], n_numbers: int) -> None:
    layers = values.get(f"{architecture}.block_count")
    if not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
        raise _broken(path, f"it says that it has {layers!r:.40} layers")
    for key in SIZES:
        size = values.get(f"{architecture}.{key}", 1)
        if not isinstance(size, int) or not 1 <= size <= max(n_numbers, 1):
            raise _broken(path, f"its {key} is {size!r:.40}, and it holds {n_numbers:,} numbers in all")


def _quantisation(values: Mapping[str, Any], tensors: Mapping[str, str]) -> str:
    """What the file calls it; else how most of its matrices are stored."""
    from gguf import LlamaFileType

    kind = values.get("general.file_type")
    if kind in set(LlamaFileType):
        return LlamaFileType(kind).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    kinds = [stored for name, stored in tensors.items() if name.endswith(".weight") and "norm" not in name]
    return max(sorted(set(kinds)), key=kinds.count, default="F32")


def _broken(path: Path, what: str) -> UsageError:
    return UsageError(f"cannot read {shown_path(path)}: {what}; give a whole GGUF file, fetch it again")
