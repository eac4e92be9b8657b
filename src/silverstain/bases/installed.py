"""Dictionaries that came as packages of their own and go by a name: entry points of `silverstain_dictionaries`, whose
modules have a folder `dictionary` beside them."""

from pathlib import Path

from silverstain.installed import installed_folder, names_installed

GROUP = "silverstain_dictionaries"
FOLDER = "dictionary"


def installed_dictionary(name: str) -> Path | None:
    """The folder of the installed dictionary of this name, or None."""
    return installed_folder(GROUP, name, FOLDER)


def installed_names() -> list[str]:
    """The names of all that are installed."""
    return names_installed(GROUP, FOLDER)
