"""A model's folder looked at before anything is built of it: is it complete, and do its sizes hold what its files hold?

Only JSON and the headers of safetensors files are read here, so a damaged or hostile folder costs neither time nor
memory. Pickled weights (`pytorch_model.bin`) are never read: a pickle may run what it likes.
"""

import math
from pathlib import Path
from typing import Any, TypeGuard

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.sealing import read_header

CONFIG, GENERATION = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one of them holds the vocabulary

MOST_CONFIG_BYTES = 1 << 24
SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "num_local_experts", "n_embd", "n_layer", "n_head", "n_positions", "n_inner",
)  # fmt: skip
OPTIONAL = ("num_key_value_heads", "head_dim", "n_inner")  # null says that it follows from the others
MOST_LAYERS = 10_000  # transformers makes lists of this length before anything else is looked at
MOST_POSITIONS = 1 << 40  # takes no memory where positions are rotary, and must be a number that can be counted with


def check_folder(folder: Path) -> dict[str, Any]:
    """The configuration of a local model's folder; UsageError, in one line, for one that cannot be a model's."""
    if not (folder / CONFIG).is_file():
        seen = f"it has no {CONFIG}" if folder.is_dir() else "it is not a folder"
        raise UsageError(f"there is no model at {folder}: {seen}; give a Hugging Face model folder or a hub id")
    config = read_json(folder / CONFIG, most_bytes=MOST_CONFIG_BYTES)
    if not isinstance(config, dict):
        raise _broken(folder, f"{CONFIG} is a {type(config).__name__}, not an object")
    for key in ("num_hidden_layers", "n_layer"):
        for settings in (config, config.get("text_config")):
            n_layers = settings.get(key) if isinstance(settings, dict) else None
            if _is_count(n_layers) and n_layers > MOST_LAYERS:
                raise _broken(folder, f"{key} is {_short(n_layers)}; no model has more than {MOST_LAYERS:,}")
    if (folder / GENERATION).is_file() and not isinstance(
        read_json(folder / GENERATION, most_bytes=MOST_CONFIG_BYTES), dict
    ):
        raise _broken(folder, f"{GENERATION} is not an object")  # transformers would leave it out and go on
    return config


def check_weights(folder: Path, config: dict[str, Any]) -> int:
    """How many numbers the weight files hold; UsageError unless the configuration's sizes are numbers within that."""
    files = _weight_files(folder)
    held = sum(map(_numbers_in, files))
    inner = config.get("text_config")
    for settings in (config, inner if isinstance(inner, dict) else {}):
        for key in SIZES:
            _check_size(folder, key, settings.get(key, 1), held)
        positions = settings.get("max_position_embeddings", 1)
        if not _is_count(positions) or positions > MOST_POSITIONS:
            raise _broken(folder, f"max_position_embeddings is {_short(positions)}; it must be a number of tokens")
    return held


def check_fits_files(folder: Path, n_needed: int, n_held: int) -> None:
    """UsageError where a model wants far more numbers than its files hold: the rest would be made up, in memory."""
    # packed weights hold at least two values a byte
    if n_needed > 4 * n_held + 1_000_000:
        raise _broken(
            folder, f"{CONFIG} describes a model of {n_needed:,} numbers, and its weight files hold {n_held:,}"
        )


def check_tokenizer_files(folder: Path) -> None:
    """UsageError without a vocabulary: transformers makes an empty tokenizer of some types and goes on."""
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise UsageError(
            f"cannot load the tokenizer of {folder}: it has no {TOKENIZER_FILES[0]}; fetch the files again"
        )


def _check_size(folder: Path, key: str, value: Any, held: int) -> None:
    if value is None and key in OPTIONAL:
        return
    if not _is_count(value) or value < 1:
        raise _broken(folder, f"{key} is {_short(value)}; it must be a whole number from 1 on")
    if value > held:
        raise _broken(folder, f"{key} is {_short(value)}, and its weight files hold {held:,} numbers in all")


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**15:  # Python refuses to write numbers of thousands of digits
        return f"a number of about {int(math.log2(abs(value)) * 0.30103) + 1} digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers will read."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX, most_bytes=MOST_CONFIG_BYTES)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise _broken(folder, f"{INDEX} does not say in which file each weight is")
        found = [folder / name for name in sorted(set(names.values()))]
        outside = [file.name for file in found if file.parent != folder]
        if outside:
            raise _broken(folder, f"{INDEX} names a file outside the folder ({_short(outside[0])})")
        return found
    pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
    if pickled:
        raise UsageError(
            f"cannot load the model of {folder}: its weights are in {pickled[0]}, a pickle, which can run code and is "
            f"never read; fetch or save the model as safetensors ({WEIGHTS})"
        )
    raise _broken(folder, f"it has no weights ({WEIGHTS})")


def _numbers_in(file: Path) -> int:
    """How many numbers a safetensors file says it holds, checked against its size."""
    return sum(math.prod(entry.shape) for entry in read_header(file).entries.values())


def _broken(folder: Path, what: str) -> UsageError:
    return UsageError(f"cannot load the model of {folder}: {what}; check the reference, or fetch the files again")
