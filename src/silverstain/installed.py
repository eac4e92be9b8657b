"""What came as a package of its own and goes by a name: a dictionary, an organism.

A package says so with an entry point: of which group says what it is, its name is the name of what it holds, its value
the module beside which the files lie. The module is found, and not imported.
"""

import importlib.util
from importlib.metadata import entry_points
from pathlib import Path


def installed_folder(group: str, name: str, folder: str) -> Path | None:
    """The folder of this name beside the module of an installed package, or None."""
    for point in entry_points(group=group, name=name):
        try:
            found = importlib.util.find_spec(point.value)
        except (ImportError, ValueError):
            continue
        if found is not None and found.origin is not None and (place := Path(found.origin).parent / folder).is_dir():
            return place
    return None


def names_installed(group: str, folder: str) -> list[str]:
    """The names of all of a group that are installed."""
    return sorted({p.name for p in entry_points(group=group) if installed_folder(group, p.name, folder)})
