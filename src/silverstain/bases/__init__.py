"""What a model is read in: dictionaries, their files of every format, and what else can stand in for MLPs."""

from silverstain.bases.active_units import ActiveUnits
from silverstain.bases.basis import Basis
from silverstain.bases.dictionary import Dictionary
from silverstain.bases.fidelity_check import check_fidelity, fidelity
from silverstain.bases.fitting import check_fits, check_made_for, fitted, writes_before_norm
from silverstain.bases.neuron_rules import NEURON_RULES, NeuronRule
from silverstain.bases.neurons import NeuronBasis, with_rule
from silverstain.bases.reading import open_dictionary
from silverstain.bases.replaced import edited_logits, replaced_logits
from silverstain.bases.substitutes import ConstantSubstitute, NeuronSubstitute, TokenSubstitute
from silverstain.bases.writing import save_dictionary

__all__ = [
    "NEURON_RULES",
    "ActiveUnits",
    "Basis",
    "ConstantSubstitute",
    "Dictionary",
    "NeuronBasis",
    "NeuronRule",
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
    "with_rule",
    "writes_before_norm",
]
