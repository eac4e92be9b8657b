"""config.yaml, which circuit-tracer reads, and silverstain.json, which says more of a dictionary of ours."""

from typing import Any

from pydantic import Field
from torch import Tensor

from silverstain.bases.formats.folder import Folder
from silverstain.bases.formats.settings import Whole, Wholes, checked
from silverstain.bases.layout import CONFIG, CROSS_LAYER, FACTS, FORMAT, FORMAT_INT8, PER_LAYER
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable
from silverstain.validation import FromOutside, ShortText, validated

ACTIVATIONS = {None: None, "relu": "relu", "jumprelu": "jumprelu", "jump_relu": "jumprelu", "topk": "topk"}


class Config(FromOutside):
    """config.yaml."""

    model_kind: str | None = None
    model_name: ShortText | None = None
    feature_input_hook: ShortText | None = None
    feature_output_hook: ShortText | None = None
    scan: ShortText | None = None
    activation: str | None = None
    k: Wholes = None
    transcoders: list[str] | None = None
    n_layers: Whole | None = None
    n_features: Whole | None = None
    d_model: Whole | None = None

    @property
    def chosen_by(self) -> str | None:
        """The activation by our names."""
        return ACTIVATIONS[self.activation]


class Facts(FromOutside):
    """silverstain.json."""

    format: str | None = None
    name: ShortText | None = None
    hash: ShortText | None = None
    model_hash: ShortText | None = None
    n_layers: Whole | None = None
    n_features: Whole | None = None
    d_model: Whole | None = None
    activation: str | None = None
    k: Wholes = None
    is_cross_layer: bool | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


def native_config(folder: Folder) -> Config:
    """The config.yaml of a folder; UsageError for kinds that are not known."""
    file = shown_path(folder.root / CONFIG)
    config = checked(Config, folder.settings(CONFIG), file)
    if config.model_kind not in (PER_LAYER, CROSS_LAYER):
        raise UsageError(
            f"{file}: model_kind is {_shown(config.model_kind)}; supported kinds: {PER_LAYER}, {CROSS_LAYER}"
        )
    if config.activation not in ACTIVATIONS:
        raise UsageError(
            f"{file}: activation {_shown(config.activation)} is not supported; supported: relu, jumprelu, topk"
        )
    return config


def native_facts(folder: Folder) -> Facts:
    """The silverstain.json of a folder, if there is one."""
    path = folder.root / FACTS
    return validated(Facts, read_json(path, (FORMAT, FORMAT_INT8)), path) if path.exists() else Facts()


def k_of(folder: Folder, layer: int, n_layers: int, config: Config, facts: Facts, stored: Tensor | None) -> int | None:
    """How many features of a layer are active at most; None unless the set is a TopK one.

    config.yaml, silverstain.json and the layer's file may each say it; UsageError where they disagree, and where there
    is a k and another activation.
    """
    file = shown_path(folder.root / CONFIG)
    said = {CONFIG: config.k, FACTS: facts.k, "its weights": None if stored is None else _number(stored, file)}
    for where, k in said.items():
        if isinstance(k, list) and len(k) != n_layers:
            raise UsageError(
                f"{file}: k in {where} is of {len(k)} layers, the set has {n_layers}; give one for each layer"
            )
    here = {where: k[layer] if isinstance(k, list) else k for where, k in said.items() if k is not None}
    of_both = {config.chosen_by, facts.activation} - {None}
    if of_both & {"relu", "jumprelu"} and "topk" in of_both:
        raise UsageError(
            f"{file} says activation {config.activation}, and {FACTS} {_shown(facts.activation)}; fetch it again"
        )
    is_topk = "topk" in of_both or (not of_both and stored is not None)
    if not is_topk:
        if here:
            raise UsageError(
                f"{file}: k is {next(iter(here.values()))} in {next(iter(here))}, and activation "
                f"{_shown(config.activation)}: they contradict each other; set activation: topk, or take k out"
            )
        return None
    if len(set(here.values())) > 1:
        seen = ", ".join(f"{k} in {where}" for where, k in here.items())
        raise UsageError(f"{file}: k of layer {layer} is {seen}: they contradict each other; fetch it again")
    k = next(iter(here.values()), None)
    if k is None or k < 1:
        raise UsageError(
            f"{file} says activation: topk and k is {k!r}; add the k that the set was trained with, as a line 'k: 128'"
        )
    return k


def _number(stored: Tensor, where: str) -> int:
    if stored.numel() != 1 or stored.is_complex():
        raise UsageError(f"{where}: the k in the weights has shape {list(stored.shape)}, one number needed")
    return int(stored.double().nan_to_num(0, 0, 0))


def _shown(value: str | None) -> str:
    return repr(value if value is None else printable(value, 60))
