"""The organism: a small world with known hidden variables, and language models grown on it."""

from typing import TYPE_CHECKING

from silverstain.fetching import fetched

if TYPE_CHECKING:
    from .files import dictionary_path, load_organism, load_organism_model, model_path, organism_path

__all__ = ["dictionary_path", "load_organism", "load_organism_model", "model_path", "organism_path"]

__getattr__ = fetched(__name__, dict.fromkeys(__all__, "silverstain.organism.files"))
