"""Gemma Scope 1 (npz) and 2 (safetensors): encoders stored as columns, JumpReLU, an affine skip in some sets of 2.

1:       params.npz           W_enc [d, F], W_dec [F, d], b_enc, b_dec, threshold [F]
2:       params.safetensors   w_enc [d, F], w_dec [F, d], …, affine_skip_connection [in, out]
2, CLT:  params_layer_{l}.safetensors, the same but w_dec [F, layer, d], over all layers: writes to earlier ones are
         near zero in the published sets, circuit-tracer drops them, and so do we.
"""

from torch import Tensor

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.formats.settings import check_tensors, checked
from silverstain.bases.lazy import Lazy
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside

FIRST = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
SECOND = tuple(name.replace("W", "w") for name in FIRST)
SKIP = "affine_skip_connection"


class Config(FromOutside):
    """config.json of release 2."""

    architecture: str | None = None
    type: str | None = None
    model_name: str | None = None
    hf_hook_point_in: str | None = None
    hf_hook_point_out: str | None = None
    affine_connection: bool | None = None
    affine_skip_connection: bool | None = None


def is_first(folder: Folder) -> bool:
    return any(_is_npz_layer(folder, file) for file in files_with(folder, *FIRST))


def read_first(folder: Folder) -> Found:
    files = [file for file in files_with(folder, *FIRST) if _is_npz_layer(folder, file)]
    layers = [layer_of(folder.tensors(file), folder.shown(file)) for file in by_layer(folder, files)]
    return assemble(layers, folder.where)


def is_second(folder: Folder) -> bool:
    return any(folder.tensor(file, "w_dec").ndim == 2 for file in files_with(folder, *SECOND))


def read_second(folder: Folder) -> Found:
    files = list(files_with(folder, *SECOND))
    configs = {file: _config(folder.below(parent(file))) for file in files}
    layers = [
        layer_of(folder.tensors(file), folder.shown(file), configs[file], is_set_of_layers=True)
        for file in by_layer(folder, files, lambda file: configs[file].hf_hook_point_in)
    ]
    return assemble(layers, folder.where)


def is_cross_layer(folder: Folder) -> bool:
    return any(folder.tensor(file, "w_dec").ndim == 3 for file in files_with(folder, *SECOND))


def read_cross_layer(folder: Folder) -> Found:
    files = by_layer(folder, list(files_with(folder, *SECOND)))
    tensors = [(folder.tensors(file), folder.shown(file)) for file in files]
    return cross_layer_of(tensors, _config(folder), folder.where)


def _config(folder: Folder) -> Config:
    """The config.json of a folder; UsageError for another way to choose features than its thresholds."""
    where = folder.shown("config.json")
    config = checked(Config, folder.settings("config.json"), where)
    if config.architecture not in (None, "jump_relu", "jumprelu"):
        raise UsageError(
            f"{where} has the architecture {printable(config.architecture, 60)!r}, which is not supported; supported: "
            f"jump_relu"
        )
    return config


def cross_layer_of(files: list[tuple[dict[str, Tensor], str]], config: Config, where: str) -> Found:
    """A cross-layer set from its files, in order of layers."""
    n_layers = len(files)
    layers = []
    for layer, (tensors, file) in enumerate(files):
        n_targets = tensors["w_dec"].shape[1] if tensors["w_dec"].ndim == 3 else 0
        if n_targets not in (n_layers, n_layers - layer):
            raise UsageError(
                f"{file} writes to {n_targets} layers, {n_layers} files were found in {where}; fetch the missing files"
            )
        upward = tensors["w_dec"][:, layer:] if n_targets == n_layers else tensors["w_dec"]
        layers.append(layer_of({**tensors, "w_dec": upward}, file, config))
    return assemble(layers, where)


def layer_of(
    tensors: dict[str, Tensor], where: str, config: Config | None = None, *, is_set_of_layers: bool = False
) -> LayerParts:
    """One layer of either release, told apart by the names of its tensors."""
    config = config or Config()
    reads, writes = config.hf_hook_point_in, config.hf_hook_point_out
    if is_set_of_layers and (config.type == "sae" or (reads is not None and reads == writes)):
        raise UsageError(
            f"{where} is an autoencoder of one place ({printable(str(reads), 80)}), not a transcoder; give a set that "
            f"reads an MLP's input and writes its output, such as transcoder_all"
        )
    names = SECOND if "w_enc" in tensors else FIRST
    check_tensors(tensors, (*names, SKIP), where)
    has_skip = config.affine_connection if config.affine_skip_connection is None else config.affine_skip_connection
    if has_skip is not None and has_skip != (SKIP in tensors):
        raise UsageError(
            f"{where}: its config.json says affine_connection {str(has_skip).lower()}, and that is not what its "
            f"tensors say; fetch it again"
        )
    W_enc, W_dec, b_enc, b_dec, threshold = (tensors[name] for name in names)
    if W_enc.ndim != 2 or (SKIP in tensors and tensors[SKIP].ndim != 2):
        raise UsageError(f"{where}: {names[0]} has shape {list(W_enc.shape)}, 2 axes needed; fetch it again")
    return LayerParts(
        W_enc=Lazy.of(W_enc.mT, where),
        W_dec=Lazy.of(W_dec, where),
        b_enc=Lazy.of(b_enc, where),
        b_dec=Lazy.of(b_dec, where),
        threshold=Lazy.of(threshold, where),
        W_skip=Lazy.of(tensors[SKIP].mT, where) if SKIP in tensors else None,
        reads_at=site_of(reads),
        writes_at=site_of(writes),
        model_name=config.model_name,
    )


def _is_npz_layer(folder: Folder, file: str) -> bool:
    """Gemma Scope 1, not SAELens (a cfg.json beside) and not circuit-tracer's own orientation."""
    W_enc, W_dec = folder.tensor(file, "W_enc"), folder.tensor(file, "W_dec")
    return file.endswith(".npz") and W_dec.ndim == 2 and W_enc.shape == W_dec.mT.shape
