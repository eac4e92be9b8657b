"""Models from a local folder or the hub, without noise and with one-line errors."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.models.architecture import check_supported
from silverstain.models.chat import head_length
from silverstain.models.language_model import LanguageModel

# what transformers, the hub client and the file readers raise for something missing or broken
BROKEN = (OSError, ValueError, RuntimeError, KeyError, EOFError, TypeError, AttributeError, SafetensorError)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one of them holds the vocabulary


def load_model(
    reference: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    n_real: int | Literal["chat"] = 1,
) -> LanguageModel:
    """A model from a local folder or a hub id, its weights cast to `dtype` whatever they are stored in.

    `n_real` leading positions keep their real MLP under a replacement; "chat": the head of its chat template.
    UsageError, in one line, for a folder or id that is not there, a type that is not supported, and weights that are
    missing, truncated or do not fit the configuration.
    """
    local = Path(reference).expanduser()
    is_local = local.exists() or isinstance(reference, Path) or str(reference).startswith((".", "/", "~"))
    if is_local and not (local / "config.json").is_file():
        seen = "has no config.json" if local.is_dir() else "is not a folder"
        raise UsageError(f"there is no model at {local}: it {seen}; give a Hugging Face model folder or a hub id")
    source = str(local) if is_local else str(reference)
    with _quiet():
        hf = _weights(source, dtype, is_local)
        nn.Module.to(hf, device=device)  # the typed method; the one of transformers is wrapped beyond recognition
        tokenizer = _tokenizer(source, is_local)
    name = local.resolve().name if is_local else source
    return LanguageModel(hf, tokenizer, name=name, n_real=head_length(tokenizer, name) if n_real == "chat" else n_real)


def load_outline(reference: str | Path, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A model without its weights, which are neither fetched nor read: for what follows from its shapes alone. Errors
    as of `load_model`; nothing can be run with it, and it has no hash."""
    local = Path(reference).expanduser()
    is_local = local.exists() or isinstance(reference, Path) or str(reference).startswith((".", "/", "~"))
    if is_local and not (local / "config.json").is_file():
        seen = "has no config.json" if local.is_dir() else "is not a folder"
        raise UsageError(f"there is no model at {local}: it {seen}; give a Hugging Face model folder or a hub id")
    source = str(local) if is_local else str(reference)
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(source, local_files_only=is_local)
            check_supported(config.model_type, source)
            with torch.device("meta"):
                hf = AutoModelForCausalLM.from_config(config, dtype=dtype)
        except BROKEN as error:
            raise _cannot_load("model", source, error) from error
        tokenizer = _tokenizer(source, is_local)
    return LanguageModel(hf, tokenizer, name=local.resolve().name if is_local else source)


def _weights(source: str, dtype: torch.dtype, is_local: bool) -> PreTrainedModel:
    """The model of `source`, every parameter of it read from the file."""
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=is_local)
        check_supported(config.model_type, source)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=dtype, local_files_only=is_local, output_loading_info=True
        )
    except BROKEN as error:
        raise _cannot_load("model", source, error) from error
    hf, info = loaded
    bad = {kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "mismatched_keys")}
    for kind, names in bad.items():  # transformers fills these with random numbers and goes on
        if names:
            what = "lack" if kind == "missing_keys" else "have other shapes than the configuration for"
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"the weights of {source} {what} {names[0]}{more}; fetch or grow the model again")
    return hf


def _tokenizer(source: str, is_local: bool) -> PreTrainedTokenizerBase:
    if is_local and not any((Path(source) / file).is_file() for file in TOKENIZER_FILES):
        # transformers makes an empty tokenizer of some types and goes on
        raise UsageError(
            f"cannot load the tokenizer of {source}: it has no {TOKENIZER_FILES[0]}; fetch the files again"
        )
    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=is_local)
    except BROKEN as error:
        raise _cannot_load("tokenizer", source, error) from error


def _cannot_load(what: str, source: str, error: Exception) -> UsageError:
    """One line for the many that transformers may have written."""
    if isinstance(error, HFValidationError):
        return UsageError(f"{source!r} is neither a folder nor a hub id; give one of them")
    if isinstance(error, json.JSONDecodeError):
        reason = f"its JSON is broken ({error})"
    else:
        lines = str(error).strip().splitlines()
        reason = lines[0].strip() if lines else type(error).__name__
    return UsageError(
        f"cannot load the {what} of {source}: {reason[:300]}; check the reference, or fetch the files again"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars, warnings and log lines of transformers; the settings found are restored."""
    verbosity = transformers.logging.get_verbosity()
    has_bars = transformers.logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(logging.CRITICAL)
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.setLevel(hub_level)
        transformers.logging.set_verbosity(verbosity)
        if has_bars:
            transformers.logging.enable_progress_bar()
