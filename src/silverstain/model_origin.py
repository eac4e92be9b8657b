"""Where a model that was made from a GGUF file came from: kept beside its weights, and told in graphs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.known_models import ORIGIN, KnownModel, is_kept, kept_folder
from silverstain.storage import write_json_whole
from silverstain.validation import validated

FORMAT = "silverstain.model-origin/1"
UNQUANTISED = frozenset(("F32", "F16", "BF16", "F64"))


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """What the weights of a model were made from."""

    file: str
    """The GGUF file."""
    quantisation: str
    """Of its weights: Q4_1, say."""
    name: str | None = None
    """Of a known model."""
    package: str | None = None
    version: str | None = None
    sha256: str | None = None
    """Of the GGUF file."""
    licence: str | None = None
    papers: list[str] = field(default_factory=list)
    """Licences and notices beside the weights."""
    made_with: dict[str, str] = field(default_factory=dict)
    """Versions of what unpacked the weights."""

    @property
    def words(self) -> str:
        """How the weights came about, in a few words."""
        if self.quantisation in UNQUANTISED:
            return f"weights of a GGUF file in {self.quantisation}"
        return f"dequantised from {self.quantisation}"

    def facts(self) -> dict[str, Any]:
        """What files that come of the model say about it, as JSON."""
        keys = ("file", "quantisation", "package", "version", "sha256", "licence")
        said: Mapping[str, Any] = asdict(self)
        return {"weights": self.words} | {key: said[key] for key in keys if said[key] is not None}


def write_origin(folder: Path, origin: ModelOrigin) -> None:
    """Write it beside the weights."""
    write_json_whole(folder / ORIGIN, {"format": FORMAT, **asdict(origin)})


def read_origin(folder: Path) -> ModelOrigin | None:
    """What stands beside the weights of a folder, None where nothing does; UsageError where it is damaged."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    found = read_json(path, FORMAT)
    known = {key: value for key, value in found.items() if key in ModelOrigin.__dataclass_fields__}
    return validated(ModelOrigin, known, path, "remove the model and get it again (silverstain models)")


def kept_origin(model: KnownModel) -> ModelOrigin | None:
    """Of a known model; None where it is not there, or what it says of itself is damaged."""
    try:
        return read_origin(kept_folder(model.name)) if is_kept(model.name) else None
    except UsageError:
        return None


def is_current(model: KnownModel) -> bool:
    """Whether a known model is there, made from the file that is known now."""
    origin = kept_origin(model)
    return origin is not None and origin.sha256 == model.sha256
