"""The model and the dictionary of a graph, where the flags leave them open."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.cli import output
from silverstain.cli.options import LoadingOptions
from silverstain.known_models import is_kept, is_known
from silverstain.printable import printable
from silverstain.references import GGUF, NEURONS, ORGANISM, ORGANISM_DICTIONARIES, is_organism

if TYPE_CHECKING:
    from silverstain.graphs import Graph


def as_graph_says(options: LoadingOptions, graph: "Graph") -> LoadingOptions:
    """What no flag names is taken from the graph, if it can be found by the name that the graph has for it.

    A folder is known by its last part alone, so it is found from where the trace was run beside it. Nothing is
    fetched from a hub because a file, which may be a stranger's, says so: then the options stay as they are, and the
    graph's own check says which flags to give.
    """
    if options.model != ORGANISM:  # a flag names it
        return options
    model = _named(graph, "model")
    dictionary = options.dictionary or _named(graph, "dictionary")
    if not _is_model(model) or not (options.dictionary or _is_dictionary(dictionary, model)):
        return options
    found = replace(options, model=model, dictionary=dictionary)
    if (model, dictionary) != (f"{ORGANISM}/general", options.dictionary or ORGANISM_DICTIONARIES[0]):
        output.talk(f"running on {printable(model, 100)} with {printable(str(dictionary), 100)}, as the graph says")
    return found


def _named(graph: "Graph", what: str) -> str:
    return (graph.meta.get(what) or {}).get("name") or ""


def _is_model(name: str) -> bool:
    if is_organism(name) or _is_here(name, "config.json"):
        return True
    return (is_known(name) and is_kept(name)) or (name.lower().endswith(GGUF) and _is_here(name))


def _is_dictionary(name: str, model: str) -> bool:
    return name == NEURONS or (is_organism(model) and name in ORGANISM_DICTIONARIES) or _is_here(name)


def _is_here(name: str, file: str = "") -> bool:
    try:
        return bool(name) and (Path(name) / file).exists()
    except (OSError, ValueError):  # a text that no path can be
        return False
