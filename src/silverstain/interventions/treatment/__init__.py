"""The former name of `silverstain.treatment`, which see."""

from silverstain.treatment import Condition as Condition
from silverstain.treatment import Item as Item
from silverstain.treatment import Rule as Rule
from silverstain.treatment import Treatment as Treatment
from silverstain.treatment import baked as baked
from silverstain.treatment import from_graph as from_graph
from silverstain.treatment import load_items as load_items
from silverstain.treatment import load_without as load_without
from silverstain.treatment import randomly_treated as randomly_treated
from silverstain.treatment import share_right as share_right
from silverstain.treatment import treated as treated
from silverstain.treatment import treatment_for as treatment_for
