"""Models of GGUF files, by transformers' own reader: weights are unpacked (dequantised) into plain numbers.

What that reader would leave out in silence makes another model, and is refused. What it gets wrong of a tokenizer is
put right: see `SPLIT_APART`.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.model_origin import ModelOrigin
from silverstain.models.gguf_header import GgufHeader
from silverstain.parts import shown_path
from silverstain.printable import printable

SPLIT_APART = frozenset(("smollm", "starcoder", "refact", "command-r", "codeshell"))
"""Vocabularies (`tokenizer.ggml.pre`) that were learned with every digit by itself, then as GPT-2's. transformers 5
cuts text for them as GPT-2 does, which gives other tokens where a digit follows several spaces."""
APART = frozenset(("output.weight",))
"""Tensors that the reader of some architectures takes without a name in its table."""


def gguf_config(path: Path) -> Any:
    """The configuration that transformers makes of a file."""
    return AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)


def gguf_model(path: Path, header: GgufHeader, config: Any, dtype: torch.dtype) -> tuple[PreTrainedModel, Any]:
    """The model with its weights unpacked, and what transformers says of the loading."""
    _check_all_is_read(path, header, config)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        config=config,
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
        trust_remote_code=False,
    )
    hf, info = loaded
    hf.config.__dict__.pop("quantization_config", None)  # nothing is packed any more
    hf.hf_quantizer, hf.is_quantized = None, False
    return hf, info


def gguf_tokenizer(path: Path, header: GgufHeader) -> PreTrainedTokenizerBase:
    """The tokenizer that transformers makes of a file, cutting text as its vocabulary was learned."""
    tokenizer: Any = AutoTokenizer.from_pretrained(
        str(path.parent), gguf_file=path.name, local_files_only=True, trust_remote_code=False
    )
    if header.values.get("tokenizer.ggml.pre") in SPLIT_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def origin_of(path: Path, header: GgufHeader) -> ModelOrigin:
    """What can be said of a file that anyone may have made."""
    licence = header.values.get("general.license")
    return ModelOrigin(
        file=path.name,
        quantisation=header.quantisation,
        licence=printable(licence, 100) if isinstance(licence, str) else None,
    )


def _check_all_is_read(path: Path, header: GgufHeader, config: Any) -> None:
    """UsageError where transformers would leave out tensors of a file, and go on."""
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
    )

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=config.to_dict())
    read = get_gguf_hf_weights_map(empty, processor)
    left_out = sorted(set(header.tensors) - set(read) - APART)
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise UsageError(
            f"{shown_path(path)} holds tensors that transformers' reader of GGUF files leaves out "
            f"({printable(left_out[0], 60)}{more}): it would be another model; give the model as a Hugging Face folder"
        )
