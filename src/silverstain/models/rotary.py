"""Rotary positions whose factors depend on how long the text is.

Most models turn queries and keys by factors that are fixed. Under LongRoPE (Phi-3) there are two sets of factors, one
for texts up to a length and one for longer ones; under "dynamic" scaling they grow with every token beyond that length.
What such a model computes at a position then depends on how long the whole text is, also through tokens behind it: a
prompt may run beside others, or go on from cached keys, only where the factors are the same.
"""

from collections.abc import Hashable, Mapping
from typing import Any

from transformers import PreTrainedConfig

FIXED = ("default", "linear", "llama3", "proportional")
"""Types that are told by their frequencies alone."""


def rotary_settings(config: PreTrainedConfig) -> dict[str, Mapping[str, Any]]:
    """The rotary settings of each type of layer, by its name ("" where all layers share them); none where positions are
    learned."""
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, Mapping):
        return {}
    if found and all(isinstance(one, Mapping) for one in found.values()):
        return {str(name): one for name, one in found.items()}
    return {"": found}


def factors_at(config: PreTrainedConfig, n_tokens: int) -> Hashable:
    """What tells apart the rotary factors of texts of different lengths: equal where the factors are. () where the
    length does not matter."""
    found = []
    for settings in rotary_settings(config).values():
        kind = str(settings.get("rope_type", "default"))
        if kind == "longrope":
            found.append(n_tokens > settings["original_max_position_embeddings"])
        elif "dynamic" in kind:
            found.append(max(n_tokens, config.max_position_embeddings))
    return tuple(found)
