"""Whether a dictionary and a model belong together, and what can be folded so that they do."""

from typing import Protocol, runtime_checkable

from silverstain.bases.basis import Basis
from silverstain.bases.dictionary import Dictionary
from silverstain.bases.formats.found import NAMES
from silverstain.bases.lazy import Lazy, applied, summed
from silverstain.bases.neurons import NeuronBasis
from silverstain.bases.sites import BEFORE_NORM, MLP_OUTPUT, NORMALISED, READS_AT, WRITES_AT
from silverstain.bases.storage import FileSource, Key
from silverstain.bases.substitutes import Substitute
from silverstain.errors import UsageError
from silverstain.models import LanguageModel


@runtime_checkable  # so that tests can check arguments
class Model(Protocol):
    """What a dictionary needs to know of a model to tell whether it belongs to it."""

    name: str
    n_layers: int
    d_model: int

    @property
    def hash(self) -> str: ...


@runtime_checkable
class Made(Protocol):
    """What was trained on a model: a dictionary, or a mixture of transforms."""

    name: str
    n_layers: int
    d_model: int
    model_hash: str | None


def check_made_for(made: Made, model: Model | LanguageModel) -> None:
    """UsageError unless it has the shape of this model and, where it knows whose it is, was trained on it."""
    seen, wanted = (made.n_layers, made.d_model), (model.n_layers, model.d_model)
    if seen != wanted:
        raise UsageError(
            f"the dictionary {made.name} is for {seen[0]} layers of width {seen[1]}, {model.name} has "
            f"{wanted[0]} of width {wanted[1]}; give the dictionary of this model"
        )
    if made.model_hash is not None and made.model_hash != model.hash:
        raise UsageError(
            f"the dictionary {made.name} was trained on another model (hash {made.model_hash}) than "
            f"{model.name} (hash {model.hash}); give the dictionary of this model{_maybe_former(made, model)}"
        )


def _maybe_former(made: Made, model: Model | LanguageModel) -> str:
    """A word where the hash is the one that this model had before it covered all its settings."""
    if not isinstance(model, LanguageModel) or made.model_hash != model.former_hash:
        return ""
    return (
        "; the hash is as 0.1 found it, which left out this model's unusual settings: if they were the same in "
        "training, take model_hash out of its silverstain.json, and it is tried on a text instead"
    )


def check_fits(dictionary: object, model: Model | LanguageModel) -> None:
    """UsageError unless it is a dictionary made for this model that reads and writes where we record, or its own
    neurons."""
    if isinstance(dictionary, NeuronBasis):
        if dictionary.model is not model and dictionary.model.hash != model.hash:
            raise UsageError(
                f"these are the neurons of {dictionary.model.name} (hash {dictionary.model.hash}), not of {model.name} "
                f"(hash {model.hash}); take those of this model"
            )
        return
    if not isinstance(dictionary, Dictionary):
        raise UsageError(
            f"a {type(dictionary).__name__} has no features that could be traced; give a per-layer or cross-layer "
            "dictionary"
        )
    check_made_for(dictionary, model)
    reads, writes = dictionary.reads_at, dictionary.writes_at
    if reads not in (READS_AT, BEFORE_NORM) or writes not in (WRITES_AT, MLP_OUTPUT):
        raise UsageError(
            f"the dictionary {dictionary.name} reads at {reads} and writes at {writes}; supported are {READS_AT}, "
            f"{NORMALISED} or {BEFORE_NORM}, and {WRITES_AT} or {MLP_OUTPUT}"
        )
    if writes == MLP_OUTPUT and _has_norm_behind_mlp(model):
        raise UsageError(
            f"the dictionary {dictionary.name} writes at {MLP_OUTPUT}, before the norm that {model.name} has behind "
            f"its MLP; supported is {WRITES_AT}, behind it"
        )


def writes_before_norm(writer: Basis | Substitute, model: LanguageModel) -> bool:
    """Whether what units, or a substitute, write passes a norm before it is added to the stream."""
    return writer.writes_at == MLP_OUTPUT and _has_norm_behind_mlp(model)


def fitted(dictionary: Dictionary, model: LanguageModel) -> Dictionary:
    """The same dictionary reading what the model's MLP reads, where a fixed linear map leads there.

    One that reads at ln2.hook_normalized reads n where the MLP reads w n + b: W_enc n = (W_enc / w)(w n + b) −
    (W_enc / w) b, and so for the skip. Others are given back as they are.
    """
    if dictionary.reads_at != NORMALISED or dictionary.n_layers != model.n_layers:
        return dictionary
    parts: dict[Key, Lazy] = {}
    for layer in range(dictionary.n_layers):
        norm = model.norm("mlp", layer)
        if norm is None:
            raise UsageError(
                f"the dictionary {dictionary.name} reads at {NORMALISED}, and {model.name} has no norm before its MLP; "
                f"give the dictionary of this model"
            )
        weight, bias = norm.weight.cpu().double(), norm.bias
        if not weight.all():
            raise UsageError(
                f"the dictionary {dictionary.name} reads before the weight of the norm, and the norm of layer {layer} "
                f"of {model.name} has weights that are 0, so what it reads cannot be found from what the MLP reads"
            )
        for name in NAMES:
            if (part := dictionary.part(name, layer)) is not None:
                parts[name, layer] = part
        shift = None if bias is None else -(bias.cpu().double() / weight)
        for name, constant in (("W_enc", "b_enc"), ("W_skip", "b_dec")):
            if (name, layer) in parts:
                matrix = parts[name, layer]
                parts[name, layer] = matrix.map(lambda rows, w=weight: (rows.double() / w).to(rows.dtype))
                if shift is not None:
                    parts[constant, layer] = summed([parts[constant, layer], applied(matrix, shift)])
    metadata = {**dictionary.metadata, "feature_input_hook": READS_AT, "published_input_hook": NORMALISED}
    return dictionary.derived(FileSource(parts), metadata=metadata)


def _has_norm_behind_mlp(model: Model | LanguageModel) -> bool:
    return isinstance(model, LanguageModel) and model.norm("mlp_output", 0) is not None
