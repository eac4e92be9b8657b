"""Models from a local folder or the hub, without noise and with one-line errors."""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub.errors import HFValidationError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from silverstain.errors import UsageError, is_out_of_memory
from silverstain.known_models import check_kept, is_known
from silverstain.model_origin import ModelOrigin, read_origin
from silverstain.models.architecture import check_supported
from silverstain.models.beginning import remark
from silverstain.models.chat import head_length
from silverstain.models.folder import check_fits_files, check_folder, check_tokenizer_files, check_weights
from silverstain.models.gguf import gguf_config, gguf_model, gguf_tokenizer, origin_of
from silverstain.models.gguf_header import read_gguf_header
from silverstain.models.kept_hash import KeptHash
from silverstain.models.kept_tokenizer import kept_tokenizer
from silverstain.models.language_model import LanguageModel
from silverstain.models.quantised import check_plain, unpacked, ways_on_of, whole_config
from silverstain.references import gguf_file

COMPUTED_BY = ("_attn_implementation", "attn_implementation", "_experts_implementation", "experts_implementation")
"""Settings by which a configuration could name code of the hub to compute with."""
INSTALL = "install that, or give another model"


def load_model(
    reference: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    n_real: int | Literal["chat"] = 1,
) -> LanguageModel:
    """A model from a local folder, a GGUF file, a hub id or a known name, its weights cast to `dtype` whatever they
    are stored in.

    `n_real` leading positions keep their real MLP under a replacement; "chat": the head of its chat template.
    Weights are read from safetensors or GGUF only, no code of a folder or of the hub is run, and quantised weights are
    unpacked, or refused (`models.quantised`). UsageError, in one line, for a folder or id that is not there, a type
    that is not supported, and settings, weights or tokenizers that are missing, damaged or do not fit each other.
    """
    return _loaded(_source(reference), device, dtype, n_real)


def load_kept(folder: Path, name: str) -> LanguageModel:
    """A known model from the folder that it was written into."""
    check_folder(folder)
    return _loaded(_Source(place=str(folder), known=name), "cpu", torch.float32, 1)


def load_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, ModelOrigin]:
    """The parts of a model of a GGUF file; errors as of `load_model`."""
    with _quiet():
        return _of_gguf(path, dtype)


def _loaded(
    source: "_Source", device: str | torch.device, dtype: torch.dtype, n_real: int | Literal["chat"]
) -> LanguageModel:
    kept_hash = None if source.known is None else KeptHash.of(Path(source.place))  # before the weights are read
    origin = read_origin(Path(source.place)) if source.is_local else None
    with _quiet():
        if source.gguf is not None:
            hf, tokenizer, origin = _of_gguf(source.gguf, dtype)
        else:
            hf = _weights(source.place, dtype, source.is_local)
            tokenizer = _kept_tokenizer(source) if source.known else _tokenizer(source.place, source.is_local)
        nn.Module.to(hf, device=device)  # the typed method; the one of transformers is wrapped beyond recognition
    if source.gguf is not None and origin is not None:
        remark(f"{source.name} is read by transformers' reader of GGUF files: {origin.words}, as plain numbers")
    name = source.name
    try:
        n_real = head_length(tokenizer, name) if n_real == "chat" else n_real
        return LanguageModel(hf, tokenizer, name=name, n_real=n_real, origin=origin, kept_hash=kept_hash)
    except (AttributeError, KeyError, TypeError, ZeroDivisionError, RuntimeError, AssertionError) as error:
        raise _cannot_load("model", source.place, error) from error


def load_outline(reference: str | Path, *, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A model without its weights, which are neither fetched nor read: for what follows from its shapes alone. Errors
    as of `load_model`; nothing can be run with it, and it has no hash."""
    source = _source(reference)
    with _quiet():
        if source.gguf is not None:
            header = read_gguf_header(source.gguf)
            with _said("model", str(source.gguf)), _without_stderr():
                hf = _outline(gguf_config(source.gguf), dtype)
                tokenizer = gguf_tokenizer(source.gguf, header)
        else:
            with _said("model", source.place):
                hf = _outline(_config(source.place, source.is_local), dtype)
            tokenizer = _tokenizer(source.place, source.is_local)
    with _said("model", source.place):
        return LanguageModel(hf, tokenizer, name=source.name)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a model is."""

    place: str
    """What transformers is to be told."""
    is_local: bool = True
    """Whether it is a folder here, which is then looked at."""
    gguf: Path | None = None
    """The file it is, or the one that its folder holds."""
    known: str | None = None
    """The name by which it is known."""

    @property
    def name(self) -> str:
        if self.known is not None:
            return self.known
        if self.gguf is not None:
            return self.gguf.name
        return Path(self.place).resolve().name if self.is_local else self.place


def _source(reference: str | Path) -> _Source:
    if is_known(reference):
        folder = check_kept(str(reference))
        check_folder(folder)
        return _Source(place=str(folder), known=str(reference))
    local = Path(reference).expanduser()
    is_local = _is_there(local) or isinstance(reference, Path) or str(reference).startswith((".", "/", "~"))
    if not is_local:
        return _Source(place=str(reference), is_local=False)
    gguf = gguf_file(local)
    if gguf is None:
        check_folder(local)
    return _Source(place=str(local), gguf=gguf)


def _of_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, ModelOrigin]:
    """The model of a GGUF file, every parameter of it read from the file."""
    path = path.absolute()
    header = read_gguf_header(path)
    with _said("model", str(path)), redirect_stderr(StringIO()):  # transformers draws a bar
        config = gguf_config(path)
        check_supported(config.model_type, str(path))
        check_fits_files(path, _n_numbers(config), header.n_numbers)
        hf, info = gguf_model(path, header, config, dtype)
    _check_all_are_set(info, str(path))
    check_plain(hf, str(path))
    with _said("tokenizer", str(path)), _without_stderr():
        tokenizer = gguf_tokenizer(path, header)
        tokenizer("a b", verbose=False)
    return hf, tokenizer, origin_of(path, header)


def _config(source: str, is_local: bool) -> Any:
    """The configuration, of a type that is supported and without code of others."""
    config = AutoConfig.from_pretrained(source, local_files_only=is_local, trust_remote_code=False)
    check_supported(config.model_type, source)
    for part in (config, config.get_text_config()):
        _use_own_attention(part, source)
    return config


def _outline(config: Any, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The model without numbers: it takes no memory."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def _weights(source: str, dtype: torch.dtype, is_local: bool) -> PreTrainedModel:
    """The model of `source`, every parameter of it read from the file."""
    with _said("model", source):
        config = _config(source, is_local)
        if is_local:
            n_held = check_weights(Path(source), check_folder(Path(source)))
            check_fits_files(Path(source), _n_numbers(config), n_held)
    with _said("model", source, ways_on_of(config)):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            local_files_only=is_local,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            **whole_config(config),
        )
        hf, info = loaded
        hf = unpacked(hf, dtype)
    check_plain(hf, source)
    _check_all_are_set(info, source)
    return hf


def _check_all_are_set(info: dict[str, Any], source: str) -> None:
    """UsageError for parameters that are not in the file."""
    bad = {kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "mismatched_keys")}
    for kind, names in bad.items():  # transformers fills these with random numbers and goes on
        if names:
            what = "lack" if kind == "missing_keys" else "have other shapes than the configuration for"
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"the weights of {source} {what} {names[0]}{more}; fetch or grow the model again")


def _use_own_attention(config: Any, source: str) -> None:
    """Let transformers choose how attention is computed, whatever a configuration names: a name as org/kernel would
    fetch code from the hub and run it, so it is refused."""
    for key in COMPUTED_BY:
        named = getattr(config, key, None)
        if named is None:
            continue
        if "/" in str(named) or ":" in str(named):
            raise UsageError(
                f"cannot load the model of {source}: its configuration names code of the hub to compute with "
                f"({key}: {str(named)[:60]}), which is never run; take it out of config.json"
            )
        setattr(config, key, None)


def _n_numbers(config: Any) -> int:
    """Of how many numbers a model is, with its constants; it is built without memory."""
    hf = _outline(config)
    return sum(tensor.numel() for tensor in (*hf.parameters(), *hf.buffers()))


def _tokenizer(source: str, is_local: bool) -> PreTrainedTokenizerBase:
    if is_local:
        check_tokenizer_files(Path(source))
    with _said("tokenizer", source), _without_stderr():
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=is_local, trust_remote_code=False)
        tokenizer("a b", verbose=False)  # some break only when they are used
    if not tokenizer.get_vocab():
        raise UsageError(f"cannot load the tokenizer of {source}: its vocabulary is empty; fetch the files again")
    return tokenizer


def _kept_tokenizer(source: _Source) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that we keep: what its file holds, without what transformers makes of it by its class,
    which takes seconds for a vocabulary of 262,144 tokens."""
    folder = Path(source.place)
    check_tokenizer_files(folder)
    with _said("tokenizer", source.place), _without_stderr():
        return kept_tokenizer(folder)


@contextmanager
def _said(what: str, source: str, ways_on: str = INSTALL) -> Iterator[None]:
    """Whatever transformers, the hub client and the file readers raise, as one line. They raise anything: errors of
    Python for settings of a wrong type, of packages that are missing, panics of Rust that are no `Exception`."""
    try:
        yield
    except (UsageError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if is_out_of_memory(error):
            raise
        raise _cannot_load(what, source, error, ways_on) from error


def _cannot_load(what: str, source: str, error: BaseException, ways_on: str = INSTALL) -> UsageError:
    """One line for the many that transformers may have written."""
    if isinstance(error, HFValidationError):
        return UsageError(f"{source!r} is neither a folder nor a hub id; give one of them")
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, json.JSONDecodeError):
        said = f"its JSON is broken ({error})"
    elif isinstance(error, RecursionError):
        said = "its settings are nested too deeply"
    elif isinstance(error, KeyError | AttributeError | ZeroDivisionError | IndexError | AssertionError):
        said = f"its settings do not fit each other ({type(error).__name__}: {said})"
    if isinstance(error, ImportError):
        wanted = " and ".join(dict.fromkeys(re.findall(r"pip install [^`\s)]+(?: [\w.\[\]-]+)*", said)))
        hint = f" ({wanted})" if wanted and wanted not in said[:300] else ""
        return UsageError(f"cannot load the {what} of {source}: {said[:300].rstrip('. ')}{hint}; {ways_on}")
    return UsageError(
        f"cannot load the {what} of {source}: {said[:300]}; check the reference, or fetch the files again"
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that no path can be
        return False


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Rust writes its panics to the process's stderr before Python hears of them; they are said in our own words."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
