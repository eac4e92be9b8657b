"""CLT-Forge: a whole set in one file, or its features spread over files rank0_…, rank1_…; clt_cfg.json beside it.

W_enc [layer, d, F], b_enc [layer, F], W_dec [pair, F, d], b_dec [pair, d], log_threshold [layer, F],
estimated_norm_scaling_factor_in and _out [layer]; pairs in upper-triangular order, the source outside.
"""

import re

import torch
from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import check_complete, files_with, only
from silverstain.bases.formats.settings import Whole, check_size, check_tensors, checked
from silverstain.bases.lazy import Lazy, joined, stacked, summed
from silverstain.bases.sites import NORMALISED, WRITES_AT
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside

SCALE = "estimated_norm_scaling_factor_"
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec", "log_threshold")
HARMLESS = ("normalize_decoder", "jumprelu_init_threshold", "sparse_threshold", "sparse_decode", "feature_sharding")
"""Settings of its training and its kernels."""


class Config(FromOutside):
    """clt_cfg.json of CLT-Forge."""

    d_latent: Whole | None = None
    d_in: Whole | None = None
    n_layers: Whole | None = None
    activation_fn: str = "jumprelu"
    cross_layer_decoders: bool | None = None
    model_name: str | None = None


def is_clt_forge(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *TENSORS))


def read_clt_forge(folder: Folder) -> Found:
    shards = _shards(folder, list(files_with(folder, *TENSORS)))
    config = checked(
        Config, folder.below(parent(shards[0])).settings("clt_cfg.json"), folder.shown("clt_cfg.json"), HARMLESS
    )
    where = folder.shown(shards[0])
    if config.activation_fn != "jumprelu":
        raise UsageError(
            f"{where}: activation_fn {printable(config.activation_fn, 60)!r} is not supported; supported: jumprelu"
        )
    for file in shards:
        check_tensors(folder.tensors(file), (*TENSORS, SCALE + "(in|out)"), folder.shown(file))
    n_layers, d_model, _ = folder.tensor(shards[0], "W_enc", 3).shape
    n_features = sum(folder.tensor(file, "b_enc", 2).shape[1] for file in shards)
    if (wanted := config.d_latent or n_features) != n_features:
        raise UsageError(
            f"{folder.where} has {n_features} of {wanted} features in {len(shards)} files; fetch the missing rank files"
        )
    check_size(config.n_layers, "n_layers", n_layers, where)
    check_size(config.d_in, "d_in", d_model, where)
    return assemble([_layer(folder, shards, config, layer, n_layers) for layer in range(n_layers)], folder.where)


def _shards(folder: Folder, files: list[str]) -> list[str]:
    """The files of one set in order of rank."""
    ranks = {int(found[1]): file for file in files if (found := re.search(r"(?:^|/)rank(\d+)_[^/]*$", file))}
    if not ranks:
        return [only(folder, files)]
    check_complete(set(ranks), folder.where, max(ranks) + 1, "rank")
    return [ranks[rank] for rank in sorted(ranks)]


def _layer(folder: Folder, shards: list[str], config: Config, layer: int, n_layers: int) -> LayerParts:
    where = folder.shown(shards[0])
    scale_in, scale_out = (_scales(folder, shards[0], way, n_layers) for way in ("in", "out"))
    n_pairs = folder.tensor(shards[0], "W_dec", 3).shape[0]
    if n_pairs not in (n_layers, n_layers * (n_layers + 1) // 2):
        raise UsageError(f"{where}: W_dec has {n_pairs} decoders for {n_layers} layers; fetch it again")
    is_cross_layer = n_pairs != n_layers or n_layers == 1
    if config.cross_layer_decoders not in (None, is_cross_layer) and n_layers > 1:
        raise UsageError(
            f"{where} has {n_pairs} decoders for {n_layers} layers, and clt_cfg.json says cross_layer_decoders "
            f"{str(config.cross_layer_decoders).lower()}; fetch it again"
        )

    def pair(source: int, target: int) -> int:
        """Where the decoder from source to target is, in upper-triangular order."""
        return source * n_layers - source * (source - 1) // 2 + target - source if is_cross_layer else source

    def shared(name: str, index: int, *, is_columns: bool = False) -> Lazy:
        parts = [_row(folder, file, name, index) for file in shards]
        return joined([Lazy.of(part.mT if is_columns else part, where) for part in parts])

    targets = range(layer, n_layers) if is_cross_layer else range(layer, layer + 1)
    sources = range(layer + 1) if is_cross_layer else range(layer, layer + 1)
    rows = [shared("W_dec", pair(layer, t)).times(1 / float(scale_out[t])) for t in targets]
    biases = [Lazy.of(_row(folder, shards[0], "b_dec", pair(s, layer)), where) for s in sources]
    return LayerParts(
        W_enc=shared("W_enc", layer, is_columns=True).times(float(scale_in[layer])),
        b_enc=shared("b_enc", layer),
        W_dec=stacked(rows) if is_cross_layer else rows[0],
        b_dec=summed(biases).times(1 / float(scale_out[layer])),
        threshold=shared("log_threshold", layer).map(torch.exp),
        reads_at=NORMALISED,  # where its own tracer puts it
        writes_at=WRITES_AT,
        model_name=config.model_name,
    )


def _row(folder: Folder, file: str, name: str, index: int) -> Tensor:
    """One layer or pair of a tensor; UsageError where it has fewer."""
    tensor = folder.tensor(file, name)
    if tensor.ndim < 2 or index >= len(tensor):
        raise UsageError(
            f"{folder.shown(file)}: {name} has shape {list(tensor.shape)}, at least {index + 1} layers or pairs "
            f"needed; fetch it again"
        )
    return tensor[index]


def _scales(folder: Folder, file: str, way: str, n_layers: int) -> Tensor:
    """A factor for each layer, 1 where none is kept."""
    if not folder.has(file, f"{SCALE}{way}"):
        return torch.ones(n_layers)
    factors = folder.tensor(file, f"{SCALE}{way}", 1).float()
    if len(factors) != n_layers or not factors.isfinite().all() or not factors.all():
        raise UsageError(f"{folder.shown(file)}: {SCALE}{way} needs {n_layers} numbers that are not 0; fetch it again")
    return factors
