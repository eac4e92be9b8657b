"""Sparse replacements of MLPs: encode, decode, and the files of every format they live in."""

from silverstain.dictionaries.active import ActiveFeatures as ActiveFeatures
from silverstain.dictionaries.dictionary import Dictionary as Dictionary
from silverstain.dictionaries.fidelity import check_fidelity as check_fidelity
from silverstain.dictionaries.fidelity import fidelity as fidelity
from silverstain.dictionaries.fitting import check_fits as check_fits
from silverstain.dictionaries.fitting import check_made_for as check_made_for
from silverstain.dictionaries.fitting import fitted as fitted
from silverstain.dictionaries.reading import open_dictionary as open_dictionary
from silverstain.dictionaries.writing import save_dictionary as save_dictionary

__all__ = [
    "ActiveFeatures",
    "Dictionary",
    "check_fidelity",
    "check_fits",
    "check_made_for",
    "fidelity",
    "fitted",
    "open_dictionary",
    "save_dictionary",
]
