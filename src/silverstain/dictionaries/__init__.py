"""Sparse replacements of MLPs: encode, decode, and the files they live in."""

from silverstain.dictionaries.active import ActiveFeatures as ActiveFeatures
from silverstain.dictionaries.dictionary import Dictionary as Dictionary
from silverstain.dictionaries.dictionary import check_fits as check_fits
from silverstain.dictionaries.reading import open_dictionary as open_dictionary
from silverstain.dictionaries.writing import save_dictionary as save_dictionary

__all__ = ["ActiveFeatures", "Dictionary", "check_fits", "open_dictionary", "save_dictionary"]
