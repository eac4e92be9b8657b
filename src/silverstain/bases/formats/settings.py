"""The settings that a library keeps beside its weights: each is honoured, refused by its name, or known to be harmless.

A reader declares the settings that it honours as a model, with their types. Of the others, many say how a set was
trained or where it came from, and every library adds some; refusing all of them would refuse most of what is
published. So a setting that no reader knows is refused where it is on and its name speaks of computing (a norm, a
scale, a bias, an activation, …) and not of training. The same is asked of tensors, more strictly: one that a reader
does not use is refused unless it counts something or holds only zeros.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator

from silverstain.bases.lazy import TYPES
from silverstain.errors import UsageError
from silverstain.printable import printable
from silverstain.validation import FromOutside, validated

ADVICE = "fetch it again"
COMPUTING = re.compile(
    r"act|activations?|activate[ds]?|\w*relu|gelu|silu|swish|tanh|sigmoid|softmax|softplus|softcap|top|\w*topk|groupmax"
    r"|norms?|\w*norm|normali[sz]\w*|standardi[sz]\w*|whiten\w*|cent(?:er|re)\w*|mean|std|variance|eps|epsilon"
    r"|\w*scal(?:e|es|ed|ing)|factors?|multipliers?|temperature|gain|bias\w*|offsets?|shift\w*|thresholds?|theta"
    r"|clip\w*|clamp\w*|gate[ds]?|gating|glu|skip\w*|residual\w*|rotat\w*|projections?|projected|transforms?|transformed"
    r"|fold(?:s|ed|ing)?|tied|tying|sign(?:ed)?|abs|quant\w*|subtract\w*|divide\w*|multipl(?:y|ied)|encoders?|decoders?"
    r"|reshape\w*|coalesce\w*|lora|adapters?"
)
TRAINING = re.compile(
    r"lr|loss\w*|train\w*|init\w*|warm\w*|wandb|eval\w*|dataset\w*|optimi[sz]er|adam\w*|penalt\w*|coeff?s?|coefficients?"
    r"|dead|bandwidth|autocast|device|dtype|noise|aux\w*|seed|checkpoints?|kernels?|cached?|finetun\w*|schedul\w*|ghost"
    r"|l0|l1|l2|lp|buffers?|windows?|resampl\w*|version\w*|path|heuristic|orthogonal|grads?|gradients?|stores?|expansion"
)
COUNTING = re.compile(
    r"counts?|counter|freqs?|frequency|frequencies|sparsity|density|steps?|tokens?|fired|dead|seen|num|last|sum|ema"
    r"|since|ignore|rotary|initiali[sz]ed|batch\w*"
)
"""Words in the names of tensors that keep how training went."""
NOTHING = (None, False, 0, "", "none", "None", "null", [], {})

Settings = TypeVar("Settings", bound=FromOutside)


def _whole(value: Any) -> Any:
    """A number without a fraction as the whole number it is: some libraries write 64.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _wholes(value: Any) -> int | list[int] | None:
    many = [_whole(one) for one in (value if isinstance(value, list) else [value])]
    if value is not None and not all(type(one) is int for one in many):
        raise ValueError("a whole number, or a list of one for each layer, is needed")
    return many if isinstance(value, list) else None if value is None else many[0]


Whole = Annotated[int, BeforeValidator(_whole)]
Wholes = Annotated[int | list[int] | None, PlainValidator(_wholes)]
"""One for all layers, or one for each."""


def checked(model: type[Settings], settings: Mapping[str, Any], where: str, harmless: Iterable[str] = ()) -> Settings:
    """The settings that a reader honours; UsageError for a value of another type and for a setting that is on, is not
    among them or the `harmless` ones, and may change what is computed."""
    known = validated(model, dict(settings), where, ADVICE)
    for name in unknown_settings(model, settings, harmless):
        if may_compute(name) and settings[name] not in NOTHING:
            raise UsageError(
                f"{printable(where)} has the setting {printable(name, 80)}: {printable(repr(settings[name]), 80)}, "
                f"which is not known here and may change what is computed; if it does not, take it out of the file"
            )
    return known


def unknown_settings(model: type[FromOutside], settings: Mapping[str, Any], harmless: Iterable[str] = ()) -> list[str]:
    """Names of settings that a reader neither honours nor knows."""
    return [name for name in settings if name not in model.model_fields and name not in set(harmless)]


def may_compute(name: str) -> bool:
    """Whether the words of a setting's name speak of computing and none of training."""
    words = _words(name)
    return any(COMPUTING.fullmatch(word) for word in words) and not any(TRAINING.fullmatch(word) for word in words)


def check_tensors(tensors: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """UsageError for a tensor that a reader does not use, and that neither counts something nor holds only zeros.

    `known` are regular expressions of whole names.
    """
    pattern = re.compile("|".join(known))
    for name in tensors:
        if pattern.fullmatch(name) or any(COUNTING.fullmatch(word) for word in _words(name)):
            continue
        if tensors[name].dtype not in TYPES or tensors[name].any():
            raise UsageError(
                f"{printable(where)} has a tensor {printable(name, 80)}, which is not known here and may change what "
                f"is computed; if it does not, take it out of the file"
            )


def check_size(setting: int | None, name: str, size: int, where: str) -> None:
    """UsageError where a setting gives another size than the weights have."""
    if setting is not None and setting != size:
        raise UsageError(f"{printable(where)}: its settings say {name} {setting}, its weights have {size}; {ADVICE}")


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) if word]
