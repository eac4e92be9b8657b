"""EleutherAI's sparsify: a folder for each module, such as layers.5.mlp, with cfg.json and sae.safetensors.

encoder.weight [F, d], encoder.bias [F], W_dec [F, d], b_dec [d], W_skip [d, d] applied as x @ W_skip.T; the k largest
of relu(x @ encoder.weight.T + encoder.bias) are active. clt-training extends it: see clt_training.py.
"""

from typing import Any, TypeVar

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.formats.found import Found, LayerParts, assemble
from silverstain.bases.formats.layers import by_layer, files_with
from silverstain.bases.formats.settings import Whole, check_size, check_tensors, checked
from silverstain.bases.lazy import Lazy
from silverstain.bases.sites import MLP_OUTPUT, READS_AT
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside

ENCODER = ("encoder.weight", "encoder.bias")
TENSORS = (r"encoder\.(weight|bias)", "W_dec", "b_dec", "W_skip")
HARMLESS = ("normalize_decoder", "multi_topk", "expansion_factor")
"""Settings of its training: the rows of a decoder are kept as they were normalised."""


class Config(FromOutside):
    k: Whole | None = None
    transcode: bool | None = None
    activation: str = "topk"
    d_in: Whole | None = None
    num_latents: Whole | None = None
    skip_connection: bool | None = None
    signed: bool | None = None
    embed_skip: bool | None = None
    gram_lookup: bool | None = None

    def refused(self) -> dict[str, bool | None]:
        """Settings that no dictionary can hold, where they are on."""
        return {"signed": self.signed, "embed_skip": self.embed_skip, "gram_lookup": self.gram_lookup}


AnyConfig = TypeVar("AnyConfig", bound=Config)


def is_sparsify(folder: Folder) -> bool:
    return any(True for _ in files_with(folder, *ENCODER, "W_dec"))


def read_sparsify(folder: Folder) -> Found:
    files = by_layer(folder, list(files_with(folder, *ENCODER, "W_dec")))
    return assemble([_layer(folder, file) for file in files], folder.where)


def _layer(folder: Folder, file: str) -> LayerParts:
    config = config_of(Config, folder, file, HARMLESS)
    check_tensors(folder.tensors(file), TENSORS, folder.shown(file))
    return LayerParts(
        W_enc=folder.lazy(file, "encoder.weight"),
        b_enc=folder.lazy(file, "encoder.bias"),
        W_dec=folder.lazy(file, "W_dec"),
        b_dec=folder.lazy(file, "b_dec"),
        W_skip=skip_of(folder, file, config, "W_skip"),
        k=config.k,
        **sites(file),
    )


def config_of(model: type[AnyConfig], folder: Folder, file: str, harmless: tuple[str, ...]) -> AnyConfig:
    """The cfg.json beside a file; UsageError for kinds that a dictionary cannot hold exactly."""
    where = folder.shown(parent(file) or ".")
    config = checked(model, folder.below(parent(file)).settings("cfg.json"), f"{where}/cfg.json", harmless)
    if config.k is None or config.k < 1:
        raise UsageError(f"{where} has no cfg.json with a k; fetch it again, the file is needed to encode")
    if not config.transcode:
        raise UsageError(f"{where} is an autoencoder (transcode is false), not a transcoder; give a set of transcoders")
    if config.activation == "batchtopk":
        raise UsageError(
            f"{where} was trained with BatchTopK and carries no threshold, so what is active would depend on the other "
            f"tokens of a batch; convert it to JumpReLU with its own tools first"
        )
    if config.activation != "topk":
        raise UsageError(f"{where}: activation {printable(config.activation, 60)!r} is not supported; supported: topk")
    for name, value in config.refused().items():
        if value:
            raise UsageError(f"{where} was trained with {name}, which a dictionary cannot hold; use another set")
    encoder = folder.tensor(file, "encoder.weight", 2)
    check_size(config.d_in, "d_in", encoder.shape[1], where)
    check_size(config.num_latents or None, "num_latents", encoder.shape[0], where)
    return config


def skip_of(folder: Folder, file: str, config: Config, name: str) -> Lazy | None:
    """The skip; UsageError where settings and weights disagree about there being one."""
    if folder.has(file, name) and config.skip_connection is False and folder.tensor(file, name).any():
        raise UsageError(f"{folder.shown(file)} has a skip ({name}), and its cfg.json says skip_connection: false")
    if config.skip_connection and not folder.has(file, name):
        raise UsageError(f"{folder.shown(file)} has no tensor {name}, and its cfg.json says skip_connection: true")
    return folder.lazy(file, name) if folder.has(file, name) and config.skip_connection is not False else None


def sites(file: str) -> dict[str, Any]:
    """Where it reads and writes, by the module its folder is named for: a module's input and output."""
    module = parent(file).split("/")[-1]
    if not module or module.endswith("mlp"):
        return {"reads_at": READS_AT, "writes_at": MLP_OUTPUT}
    return {"reads_at": f"the input of {module.rstrip('0123456789.')}", "writes_at": MLP_OUTPUT}
