"""State dicts in `.pt` files, looked at before torch reads them: nothing in one may be run, or ask for more than it is.

Such a file is a zip archive: a pickle that says which tensors there are, and their bytes, stored as they are. A pickle
of a few hundred bytes can name a function, unpack to gigabytes, or nest what doubles; so its instructions are read
first, without following one. What a state dict needs is little: mappings, texts, numbers, and tensors.
"""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

MOST_PICKLE_BYTES = 1 << 20
"""A state dict of a thousand tensors takes 200 kB."""
NEEDED = re.compile(
    r"collections OrderedDict|torch (?:\w+Storage|Size|float\d+|bfloat16|u?int\d+|bool)|torch\.storage UntypedStorage"
    r"|torch\._utils _rebuild_(?:tensor_v2|parameter)"
)
"""What a state dict names."""
NAMES = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})
"""Instructions that name something to be called."""
UNUSUAL = frozenset(
    {"DUP", "BUILD", "NEWOBJ", "NEWOBJ_EX", "FROZENSET", "BYTEARRAY8", "READONLY_BUFFER", "NEXT_BUFFER"}
)
TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})


def open_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of {"sae": state dict, …}, as views of the mapped file.

    ValueError (or what torch and zipfile raise) for a file that is something else, or would not stay within its size.
    """
    _check_archive(path)
    value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(value, Mapping) and isinstance(value.get("sae"), Mapping):
        value = value["sae"]
    if not isinstance(value, Mapping) or not all(isinstance(tensor, Tensor) for tensor in value.values()):
        raise ValueError("it does not hold tensors by name")
    for name, tensor in value.items():
        if not isinstance(name, str):
            raise ValueError("it holds a tensor without a name")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"its tensor {name} repeats a few numbers to be {list(tensor.shape)}")
    return dict(value)


def _check_archive(path: Path) -> None:
    """ValueError unless it is an archive as torch writes it: entries stored as they are, and a pickle of tensors."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise ValueError("its entries are packed, which torch never does")
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is no archive that torch wrote")
        if pickles[0].file_size > MOST_PICKLE_BYTES:
            raise ValueError(f"its list of tensors is larger than {MOST_PICKLE_BYTES >> 20} MB")
        _check_instructions(archive.read(pickles[0]))


def _check_instructions(pickled: bytes) -> None:
    """ValueError for a pickle that names or builds what no state dict needs."""
    last, kept_tuples, n_kept = "", set(), 0
    for instruction, argument, _ in pickletools.genops(pickled):
        name = instruction.name
        if name in NAMES and (name != "GLOBAL" or not NEEDED.fullmatch(str(argument))):
            raise ValueError(f"it would run {argument or name} while it is read, which no weights need")
        if name in UNUSUAL:
            raise ValueError(f"it is built in a way that no weights need ({name})")
        if name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            n_kept += 1
            if last in TUPLES:
                kept_tuples.add(n_kept - 1 if name == "MEMOIZE" else int(argument))
        elif name in ("BINGET", "LONG_BINGET", "GET") and int(argument) in kept_tuples:
            raise ValueError("it nests the same values in each other")  # tuples in tuples, which double
        last = name
