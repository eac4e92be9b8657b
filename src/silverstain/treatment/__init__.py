"""Treatments: edits that hold wherever a model runs, saved, applied, baked, measured and undone."""

from silverstain.treatment.applying import treated
from silverstain.treatment.baking import baked
from silverstain.treatment.controls import randomly_treated
from silverstain.treatment.measuring import Item, load_items, load_without, share_right
from silverstain.treatment.treatment import Condition, Rule, Treatment, from_graph, treatment_for

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
