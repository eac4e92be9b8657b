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
from silverstain.bases.lazy import Lazy
from silverstain.bases.sites import site_of
from silverstain.errors import UsageError

FIRST = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
SECOND = tuple(name.replace("W", "w") for name in FIRST)
SKIP = "affine_skip_connection"


def is_first(folder: Folder) -> bool:
    return any(_is_npz_layer(folder, file) for file in files_with(folder, *FIRST))


def read_first(folder: Folder) -> Found:
    files = [file for file in files_with(folder, *FIRST) if _is_npz_layer(folder, file)]
    layers = [layer_of(folder.tensors(file), f"{folder.where}/{file}") for file in by_layer(folder, files)]
    return assemble(layers, folder.where)


def is_second(folder: Folder) -> bool:
    return any(folder.tensor(file, "w_dec").ndim == 2 for file in files_with(folder, *SECOND))


def read_second(folder: Folder) -> Found:
    def config(file: str) -> dict:
        return folder.below(parent(file)).settings("config.json")

    files = by_layer(folder, list(files_with(folder, *SECOND)), lambda file: config(file).get("hf_hook_point_in"))
    layers = [
        layer_of(folder.tensors(file), f"{folder.where}/{file}", config(file), is_set_of_layers=True) for file in files
    ]
    return assemble(layers, folder.where)


def is_cross_layer(folder: Folder) -> bool:
    return any(folder.tensor(file, "w_dec").ndim == 3 for file in files_with(folder, *SECOND))


def read_cross_layer(folder: Folder) -> Found:
    files = by_layer(folder, list(files_with(folder, *SECOND)))
    config = folder.settings("config.json")
    return cross_layer_of([(folder.tensors(file), f"{folder.where}/{file}") for file in files], config, folder.where)


def cross_layer_of(files: list[tuple[dict[str, Tensor], str]], config: dict, where: str) -> Found:
    """A cross-layer set from its files, in order of layers."""
    n_layers = len(files)
    layers = []
    for layer, (tensors, file) in enumerate(files):
        n_targets = tensors["w_dec"].shape[1]
        if n_targets not in (n_layers, n_layers - layer):
            raise UsageError(
                f"{file} writes to {n_targets} layers, {n_layers} files were found in {where}; fetch the missing files"
            )
        upward = tensors["w_dec"][:, layer:] if n_targets == n_layers else tensors["w_dec"]
        layers.append(layer_of({**tensors, "w_dec": upward}, file, config))
    return assemble(layers, where)


def layer_of(
    tensors: dict[str, Tensor], where: str, config: dict | None = None, *, is_set_of_layers: bool = False
) -> LayerParts:
    """One layer of either release, told apart by the names of its tensors."""
    config = config or {}
    reads, writes = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if is_set_of_layers and (config.get("type") == "sae" or (reads is not None and reads == writes)):
        raise UsageError(
            f"{where} is an autoencoder of one place ({reads}), not a transcoder; give a set that reads an MLP's input "
            f"and writes its output, such as transcoder_all"
        )
    names = SECOND if "w_enc" in tensors else FIRST
    W_enc, W_dec, b_enc, b_dec, threshold = (tensors[name] for name in names)
    return LayerParts(
        W_enc=Lazy.of(W_enc.mT, where),
        W_dec=Lazy.of(W_dec, where),
        b_enc=Lazy.of(b_enc, where),
        b_dec=Lazy.of(b_dec, where),
        threshold=Lazy.of(threshold, where),
        W_skip=Lazy.of(tensors[SKIP].mT, where) if SKIP in tensors else None,
        reads_at=site_of(reads),
        writes_at=site_of(writes),
        model_name=config.get("model_name"),
    )


def _is_npz_layer(folder: Folder, file: str) -> bool:
    """Gemma Scope 1, not SAELens (a cfg.json beside) and not circuit-tracer's own orientation."""
    W_enc, W_dec = folder.tensor(file, "W_enc"), folder.tensor(file, "W_dec")
    return file.endswith(".npz") and W_dec.ndim == 2 and W_enc.shape == W_dec.mT.shape
