"""Dictionaries that came as packages of their own and go by a name.

A package says so with an entry point of the group `silverstain_dictionaries`: its name is the dictionary's, its value
the module whose folder `dictionary` holds the files. The module is found, and not imported.
"""

import importlib.util
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "silverstain_dictionaries"
FOLDER = "dictionary"


def installed_dictionary(name: str) -> Path | None:
    """The folder of the installed dictionary of this name, or None."""
    for point in entry_points(group=GROUP, name=name):
        try:
            found = importlib.util.find_spec(point.value)
        except (ImportError, ValueError):
            continue
        if found is not None and found.origin is not None and (place := Path(found.origin).parent / FOLDER).is_dir():
            return place
    return None


def installed_names() -> list[str]:
    """The names of all that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP) if installed_dictionary(point.name)})
