"""SAELens transcoders: cfg.json and sae_weights.safetensors for each layer.

W_enc [d, F], b_enc [F], W_dec [F, d], b_dec [d], threshold [F] for JumpReLU, W_skip [out, in] applied as x @ W_skip.T.
Its loader's names changed with version 6: settings that were flat moved into `metadata`.
"""

from typing import Any

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.lazy import Lazy
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError

TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")
HARMLESS = (None, "none", "None", "expected_average_only_in")  # the last is folded into the weights when it is saved


def is_saelens(folder: Folder) -> bool:
    return any(_config(folder, file) for file in files_with(folder, *TENSORS))


def read_saelens(folder: Folder) -> Found:
    files = [file for file in files_with(folder, *TENSORS) if _config(folder, file)]
    ordered = by_layer(folder, files, lambda file: _hooks(_config(folder, file))[0])
    return assemble([_layer(folder, file) for file in ordered], folder.where)


def _config(folder: Folder, file: str) -> dict[str, Any]:
    config = folder.below(parent(file)).settings("cfg.json")
    return config if "d_sae" in config or "architecture" in config else {}


def _hooks(config: dict[str, Any]) -> tuple[str | None, str | None]:
    both = {**config, **(config.get("metadata") or {})}
    reads = both.get("hook_name") or both.get("hook_point")
    return reads, both.get("hook_name_out") or both.get("out_hook_point")


def _layer(folder: Folder, file: str) -> LayerParts:
    config, where = _config(folder, file), f"{folder.where}/{file}"
    architecture = config.get("architecture", "standard")
    reads, writes = _hooks(config)
    if "transcoder" not in architecture and (writes is None or writes == reads):
        raise UsageError(
            f"{where} is an autoencoder (architecture {architecture!r}), not a transcoder; give a set of transcoders"
        )
    if (scaling := config.get("normalize_activations")) not in HARMLESS:
        raise UsageError(
            f"{where} normalises each input by itself (normalize_activations {scaling!r}), which is not linear; fold "
            f"it with SAELens first, or use another set"
        )
    if "gated" in architecture or folder.has(file, "b_gate"):
        raise UsageError(f"{where} is gated, which is not supported; supported: ReLU, JumpReLU and TopK transcoders")
    return LayerParts(
        W_enc=Lazy.of(folder.tensor(file, "W_enc").mT, where),
        b_enc=folder.lazy(file, "b_enc"),
        W_dec=folder.lazy(file, "W_dec"),
        b_dec=folder.lazy(file, "b_dec"),
        threshold=folder.lazy(file, "threshold") if folder.has(file, "threshold") else None,
        W_skip=folder.lazy(file, "W_skip") if folder.has(file, "W_skip") else None,
        k=_k(config, where),
        reads_at=site_of(reads),
        writes_at=site_of(writes),
        model_name=(config.get("metadata") or config).get("model_name"),
    )


def _k(config: dict[str, Any], where: str) -> int | None:
    """k of a TopK transcoder, None for the others."""
    named = config.get("activation_fn") or config.get("activation_fn_str") or ""
    if "topk" not in config.get("architecture", "") and named != "topk":
        return None
    settings = config.get("activation_fn_kwargs") or config.get("activation_fn_kwarg") or {}
    k = config.get("k") or settings.get("k")
    if not isinstance(k, int) or k < 1:
        raise UsageError(f"{where} is a TopK transcoder and its cfg.json has no k; fetch it again")
    return k
