"""EleutherAI's sparsify: a folder for each module, such as layers.5.mlp, with cfg.json and sae.safetensors.

encoder.weight [F, d], encoder.bias [F], W_dec [F, d], b_dec [d], W_skip [d, d] applied as x @ W_skip.T; the k largest
of relu(x @ encoder.weight.T + encoder.bias) are active. clt-training extends it: see clt_training.py.
"""

from typing import Any

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.sites import MLP_OUTPUT, READS_AT
from silverstain.errors import UsageError

ENCODER = ("encoder.weight", "encoder.bias")


def is_sparsify(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_dec"))


def read_sparsify(folder: Folder) -> Found:
    files = by_layer(folder, list(files_with(folder, *ENCODER, "W_dec")))
    return assemble([_layer(folder, file) for file in files], folder.where)


def _layer(folder: Folder, file: str) -> LayerParts:
    config = config_of(folder, file)
    return LayerParts(
        W_enc=folder.lazy(file, "encoder.weight"),
        b_enc=folder.lazy(file, "encoder.bias"),
        W_dec=folder.lazy(file, "W_dec"),
        b_dec=folder.lazy(file, "b_dec"),
        W_skip=folder.lazy(file, "W_skip") if folder.has(file, "W_skip") else None,
        k=config["k"],
        **sites(file),
    )


def config_of(folder: Folder, file: str) -> dict[str, Any]:
    """The cfg.json beside a file; UsageError for kinds that a dictionary cannot hold exactly."""
    where = f"{folder.where}/{parent(file) or '.'}"
    config = folder.below(parent(file)).settings("cfg.json")
    if not isinstance(config.get("k"), int) or config["k"] < 1:
        raise UsageError(f"{where} has no cfg.json with a k; fetch it again, the file is needed to encode")
    if not config.get("transcode"):
        raise UsageError(f"{where} is an autoencoder (transcode is false), not a transcoder; give a set of transcoders")
    activation = config.get("activation", "topk")
    if activation == "batchtopk":
        raise UsageError(
            f"{where} was trained with BatchTopK and carries no threshold, so what is active would depend on the other "
            f"tokens of a batch; convert it to JumpReLU with its own tools first"
        )
    if activation != "topk":
        raise UsageError(f"{where}: activation {activation!r} is not supported; supported: topk")
    return config


def sites(file: str) -> dict[str, Any]:
    """Where it reads and writes, by the module its folder is named for: a module's input and output."""
    module = parent(file).split("/")[-1]
    if not module or module.endswith("mlp"):
        return {"reads_at": READS_AT, "writes_at": MLP_OUTPUT}
    return {"reads_at": f"the input of {module.rstrip('0123456789.')}", "writes_at": MLP_OUTPUT}
