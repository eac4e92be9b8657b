"""Treatments: edits that hold wherever a model runs, saved, applied, baked, measured and undone."""

from silverstain.treatment.applying import treated as treated
from silverstain.treatment.baking import baked as baked
from silverstain.treatment.controls import randomly_treated as randomly_treated
from silverstain.treatment.measuring import Item as Item
from silverstain.treatment.measuring import load_items as load_items
from silverstain.treatment.measuring import load_without as load_without
from silverstain.treatment.measuring import share_right as share_right
from silverstain.treatment.treatment import Condition as Condition
from silverstain.treatment.treatment import Rule as Rule
from silverstain.treatment.treatment import Treatment as Treatment
from silverstain.treatment.treatment import from_graph as from_graph
from silverstain.treatment.treatment import treatment_for as treatment_for

__all__ = [
    "Condition",
    "Item",
    "Rule",
    "Treatment",
    "baked",
    "from_graph",
    "load_items",
    "load_without",
    "randomly_treated",
    "share_right",
    "treated",
    "treatment_for",
]
