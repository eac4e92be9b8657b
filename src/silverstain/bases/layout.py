"""circuit-tracer's native folder layout: which tensor is in which file, under which name.

Per-layer: layer_{i}.safetensors. Cross-layer: W_enc_{i}.safetensors (with all biases) and W_dec_{i}.safetensors.
config.yaml names the kind; silverstain.json beside it holds what we know more.
"""

import re

CONFIG = "config.yaml"
FACTS = "silverstain.json"
MOLT_FACTS = "molt.json"  # of a mixture of linear transforms, which is no dictionary: see training.mixtures
FORMAT = "silverstain.dictionary/1"
FORMAT_INT8 = "silverstain.dictionary/2"
"""Of sets whose weights are int8 rows with scales, which a reader of the first must not take for weights."""
STORED_AS = "stored_as"
"""In the config.yaml of such a set, for whoever opens it with another program."""
PER_LAYER, CROSS_LAYER = "transcoder_set", "cross_layer_transcoder"  # `model_kind` in config.yaml

CARDS = "cards.safetensors"
"""What each feature means; the cards are `features`' own, and go with the dictionary they were made of."""

OPTIONAL = frozenset({"threshold", "W_skip"})


def place_of(key: str, layer: int, *, is_cross_layer: bool) -> tuple[str, str]:
    """(file, name in it) of a tensor; a cross-layer W_skip is ours: circuit-tracer neither writes nor reads it."""
    if is_cross_layer:
        file = f"W_dec_{layer}" if key == "W_dec" else f"W_enc_{layer}"
        return f"{file}.safetensors", f"{key}_{layer}"
    return f"layer_{layer}.safetensors", "activation_function.threshold" if key == "threshold" else key


def first_file(layer: int, *, is_cross_layer: bool) -> str:
    """The file whose presence says that there is such a layer."""
    return place_of("W_enc", layer, is_cross_layer=is_cross_layer)[0]


def layer_in(file: str, key: str, *, is_cross_layer: bool) -> int | None:
    """The layer whose `key` a file holds, by its name; None for other files."""
    stem = key if is_cross_layer else "layer"
    found = re.fullmatch(rf"{stem}_(\d{{1,9}})\.safetensors", file)
    return int(found[1]) if found else None
