"""EleutherAI's clt-training: sparsify's folders, one a source layer, with a decoder for each layer written to.

Untied:     W_decs.{i} [F, d], i = 0 for the own layer (also stored as W_dec); b_decs.{i}, W_skips.{i} likewise
concat:     a folder's W_dec [F, d] decodes the features of every layer that write to its own
per-layer:  the same with rows of its own for each source: W_dec [source · F, d]
normalize_io: inputs are scaled by √d / in_norm, outputs by out_norm / √d. A feature that is active with a writes
(a + post_enc) · post_enc_scale · row to a target.
"""

import math
from dataclasses import replace
from typing import Any

from silverstain.bases.formats import sparsify
from silverstain.bases.formats.folder import Folder
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.formats.settings import Whole, check_tensors
from silverstain.bases.formats.sparsify import ENCODER, config_of, sites, skip_of
from silverstain.bases.lazy import Lazy, stacked, summed
from silverstain.errors import UsageError
from silverstain.printable import printable

TENSORS = (
    *sparsify.TENSORS, r"W_decs\.\d+", r"b_decs\.\d+", r"W_skips\.\d+", r"post_encs?(\.\d+)?",
    r"post_enc_scales?(\.\d+)?", "in_norm", "out_norm",
)  # fmt: skip
HARMLESS = (*sparsify.HARMLESS, "train_post_encoder", "tp_output", "use_fp8")


class Config(sparsify.Config):
    n_targets: Whole = 0
    n_sources: Whole | None = None
    normalize_io: bool | None = None
    divide_cross_layer: bool | None = None
    post_encoder_scale: bool | None = None
    per_source_tied: bool | None = None
    secondary_target_tied: bool | None = None
    coalesce_topk: str = "none"
    topk_coalesced: bool | None = None
    matryoshka: bool | None = None

    def refused(self) -> dict[str, bool | None]:
        return super().refused() | {
            "secondary_target_tied": self.secondary_target_tied, "matryoshka": self.matryoshka,
        }  # fmt: skip

    @property
    def is_untied(self) -> bool:
        return self.coalesce_topk == "none"


def is_clt_training(folder: Folder) -> bool:
    """sparsify with settings or tensors that only this fork writes."""
    return any(
        "n_targets" in config_like(folder, file) or any(name.startswith("post_enc") for name in folder.tensors(file))
        for file in files_with(folder, *ENCODER)
    )


def config_like(folder: Folder, file: str) -> dict[str, Any]:
    return folder.settings(f"{file.rpartition('/')[0]}/cfg.json".lstrip("/"))


def read_clt_training(folder: Folder) -> Found:
    files = by_layer(folder, list(files_with(folder, *ENCODER)))
    configs = [config_of(Config, folder, file, HARMLESS) for file in files]
    n_layers = len(files)
    for file in files:
        check_tensors(folder.tensors(file), TENSORS, folder.shown(file))
    reach = [min(max(1, config.n_targets), n_layers - s) for s, config in enumerate(configs)]
    return assemble([_layer(folder, files, configs, reach, s) for s in range(n_layers)], folder.where)


def _layer(folder: Folder, files: list[str], configs: list[Config], reach: list[int], source: int) -> LayerParts:
    file, config = files[source], configs[source]
    n_layers, where = len(files), folder.shown(files[source])
    scale_in, scale_out = _scales(folder, file, config)
    targets = range(source, source + reach[source])
    rows = [
        _row_scaled(_decoder(folder, files, configs, source, t), folder, file, config, t - source)
        .times(_scales(folder, files[t], configs[t])[1] / _divisor(configs, reach, source, t))
        for t in targets
    ]  # fmt: skip
    writers = [s for s in range(n_layers) if s <= source < s + reach[s]]
    biases = [
        _bias(folder, files[s], source - s).times(1 / _divisor(configs, reach, s, source))
        for s in writers
        if s == source or configs[s].is_untied
    ]
    skip = _skip(folder, file, configs[source], reach[source])
    layer = LayerParts(
        W_enc=folder.lazy(file, "encoder.weight").times(scale_in),
        b_enc=folder.lazy(file, "encoder.bias"),
        W_dec=stacked(rows) if max(reach) > 1 else rows[0],
        b_dec=summed(biases).times(scale_out),
        W_skip=None if skip is None else skip.times(scale_in * scale_out),
        k=config.k,
        **sites(file),
    )
    return _with_post_encoder(layer, folder, file, len(targets), where)


def _scales(folder: Folder, file: str, config: Config) -> tuple[float, float]:
    """Factors of a layer's input and output; 1 without normalize_io."""
    if not config.normalize_io:
        return 1.0, 1.0
    root = math.sqrt(folder.tensor(file, "encoder.weight", 2).shape[1])
    return root / folder.number(file, "in_norm"), folder.number(file, "out_norm") / root


def _divisor(configs: list[Config], reach: list[int], source: int, target: int) -> int:
    """divide_cross_layer: what comes from below is divided by the number of layers it comes from."""
    if source == target or not configs[target].divide_cross_layer:
        return 1
    return max(1, sum(s <= target < s + reach[s] for s in range(target)))


def _decoder(folder: Folder, files: list[str], configs: list[Config], source: int, target: int) -> Lazy:
    """Rows [F, d] of a source's features for one target."""
    config, where = configs[target], folder.shown(files[target])
    mode = config.coalesce_topk
    if config.is_untied:
        if config.per_source_tied:
            return folder.lazy(files[source], "W_dec")
        file, name = files[source], f"W_decs.{target - source}"
        return folder.lazy(file, "W_dec" if target == source and not folder.has(file, name) else name)
    if config.topk_coalesced or mode not in ("concat", "per-layer"):
        raise UsageError(
            f"{where} chooses active features over several layers at once (coalesce_topk "
            f"{printable(mode, 60)}, topk_coalesced {bool(config.topk_coalesced)}), which no layer can do by "
            f"itself; this kind is not supported"
        )
    W_dec = folder.tensor(files[target], "W_dec", 2)
    if mode == "concat":
        return Lazy.of(W_dec, where)
    n_features = folder.tensor(files[source], "encoder.weight", 2).shape[0]
    if W_dec.shape[0] != (target + 1) * n_features:
        raise UsageError(
            f"{where}: W_dec has {W_dec.shape[0]} rows, {target + 1} sources of {n_features} features need "
            f"{(target + 1) * n_features}; sets in which not every lower layer writes are not supported in this mode"
        )
    return Lazy.of(W_dec[source * n_features : (source + 1) * n_features], where)


def _bias(folder: Folder, file: str, offset: int) -> Lazy:
    name = f"b_decs.{offset}"
    return folder.lazy(file, "b_dec" if offset == 0 and not folder.has(file, name) else name)


def _skip(folder: Folder, file: str, config: Config, n_targets: int) -> Lazy | None:
    """The skip to the own layer; UsageError where one leads to a higher layer."""
    for i in range(1, n_targets):
        if folder.has(file, f"W_skips.{i}") and folder.tensor(file, f"W_skips.{i}").any():
            raise UsageError(
                f"{folder.shown(file)} has a linear skip from its input to the output of the layer {i} above it "
                f"(W_skips.{i}), which a dictionary cannot hold; use a set whose skips lead to their own layer"
            )
    return skip_of(folder, file, config, "W_skips.0" if folder.has(file, "W_skips.0") else "W_skip")


def _row_scaled(rows: Lazy, folder: Folder, file: str, config: Config, offset: int) -> Lazy:
    """Times what an active feature counts for a target, where the file has that and its settings do not deny it."""
    names = [name for name in (f"post_enc_scales.{offset}", "post_enc_scale") if folder.has(file, name)]
    if not names and config.post_encoder_scale:
        raise UsageError(
            f"{folder.shown(file)}: post_encoder_scale is true and there is no post_enc_scale; fetch it again"
        )
    for name in names:
        if config.post_encoder_scale is not False:
            return rows.times_rows(folder.lazy(file, name))
    return rows


def _with_post_encoder(layer: LayerParts, folder: Folder, file: str, n_targets: int, where: str) -> LayerParts:
    """post_enc c: an active feature counts a + c. Exact as x' = x + c with threshold c, where c is one for all
    targets; a c for each target is no linear decoder, and is refused."""
    names = [name for i in range(n_targets) if folder.has(file, name := f"post_encs.{i}")]
    names = names or [name for name in ("post_enc",) if folder.has(file, name)]
    shifts = [folder.tensor(file, name) for name in names]
    if not any(shift.any() for shift in shifts):
        return layer
    if any(not shift.equal(shifts[0]) for shift in shifts[1:]) or len(shifts) not in (1, n_targets):
        raise UsageError(
            f"{where} adds another constant to an active feature for each layer it writes to ({names[0]} and "
            f"{names[-1]} differ), which a linear decoder cannot hold; train with train_post_encoder: false"
        )
    shift = folder.lazy(file, names[0])
    assert layer.b_enc is not None  # set by _layer
    return replace(layer, b_enc=summed([layer.b_enc, shift]), threshold=shift)
