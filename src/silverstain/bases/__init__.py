"""What a model is read in: dictionaries, their files of every format, and what else can stand in for MLPs."""

from silverstain.bases.active import ActiveUnits as ActiveUnits
from silverstain.bases.basis import Basis as Basis
from silverstain.bases.dictionary import Dictionary as Dictionary
from silverstain.bases.fidelity_check import check_fidelity as check_fidelity
from silverstain.bases.fidelity_check import fidelity as fidelity
from silverstain.bases.fitting import check_fits as check_fits
from silverstain.bases.fitting import check_made_for as check_made_for
from silverstain.bases.fitting import fitted as fitted
from silverstain.bases.reading import open_dictionary as open_dictionary
from silverstain.bases.replaced import edited_logits as edited_logits
from silverstain.bases.replaced import replaced_logits as replaced_logits
from silverstain.bases.substitutes import ConstantSubstitute as ConstantSubstitute
from silverstain.bases.substitutes import NeuronSubstitute as NeuronSubstitute
from silverstain.bases.substitutes import TokenSubstitute as TokenSubstitute
from silverstain.bases.writing import save_dictionary as save_dictionary

__all__ = [
    "ActiveUnits",
    "Basis",
    "ConstantSubstitute",
    "Dictionary",
    "NeuronSubstitute",
    "TokenSubstitute",
    "check_fidelity",
    "check_fits",
    "check_made_for",
    "edited_logits",
    "fidelity",
    "fitted",
    "open_dictionary",
    "replaced_logits",
    "save_dictionary",
]
