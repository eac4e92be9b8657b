"""Quantised models: unpacked to plain weights where transformers can, refused by name where not.

Attribution reads single weights (value and output projections, embeddings), so a packed tensor would be misread, not
merely imprecise. GPT-OSS is published in MXFP4, and transformers unpacks it without further packages, on any device.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import FineGrainedFP8Config, Mxfp4Config, PreTrainedConfig, PreTrainedModel

from silverstain.errors import UsageError

UNPACKED = {"mxfp4": Mxfp4Config, "fp8": FineGrainedFP8Config}
"""Methods whose weights transformers unpacks while it reads them."""
UNPACKED_AFTERWARDS = ("bitsandbytes", "higgs")
"""Those it unpacks once they are loaded, with their own package."""


def method_of(config: PreTrainedConfig) -> str | None:
    """How a model is quantised, None where it is not."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    said = settings.get("quant_method") if isinstance(settings, Mapping) else getattr(settings, "quant_method", None)
    return str(getattr(said, "value", said) or "an unnamed method")


def whole_config(config: PreTrainedConfig) -> dict[str, Any]:
    """What `from_pretrained` is to be told, so that it unpacks."""
    kind = UNPACKED.get(method_of(config) or "")
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


def ways_on_of(config: PreTrainedConfig) -> str:
    """What to do where a package is missing that such a model needs."""
    method, whole = method_of(config), "the model it was made from, unquantised"
    if method is None or method in UNPACKED or method in UNPACKED_AFTERWARDS:
        return f"install that, or give {whole}"
    return f"with it, silverstain still could not read single weights packed by {method}: give {whole}"


def unpacked(hf: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The model with plain weights of a type."""
    method = method_of(hf.config)
    if method in UNPACKED_AFTERWARDS:
        hf = hf.dequantize()  # type: ignore[assignment]
    return hf if method is None else torch.nn.Module.to(hf, dtype=dtype)  # type: ignore[return-value]


def check_plain(hf: PreTrainedModel, source: str) -> None:
    """UsageError for a model that still holds packed weights."""
    method = method_of(hf.config)
    packed = [name for name, weight in hf.named_parameters() if weight.dtype not in PLAIN]
    is_unpacked = method is None or method in UNPACKED or method in UNPACKED_AFTERWARDS
    if not packed and is_unpacked:
        return
    what = f"its weights are packed by {method}" if method else f"its weight {packed[0]} is no plain number"
    raise UsageError(
        f"cannot read the weights of {source}: {what}, and single ones cannot be read; give the model it was made "
        "from, unquantised"
    )


PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
