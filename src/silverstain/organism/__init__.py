"""The organism: a small world with known hidden variables, and language models grown on it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import dictionary_path, load_organism, load_organism_model, model_path, organism_path

_HOME = {
    "dictionary_path": "files", "load_organism": "files", "load_organism_model": "files", "model_path": "files",
    "organism_path": "files",
}  # fmt: skip

__all__ = ["dictionary_path", "load_organism", "load_organism_model", "model_path", "organism_path"]


def __getattr__(name: str) -> Any:
    """Names of the package, imported when first asked for: torch only loads when something needs it."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
