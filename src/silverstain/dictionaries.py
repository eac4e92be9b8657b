"""The former name of `silverstain.bases`, which see."""

from silverstain.bases import ActiveUnits as ActiveFeatures  # noqa: F401
from silverstain.bases import Dictionary as Dictionary
from silverstain.bases import check_fidelity as check_fidelity
from silverstain.bases import check_fits as check_fits
from silverstain.bases import check_made_for as check_made_for
from silverstain.bases import fidelity as fidelity
from silverstain.bases import fitted as fitted
from silverstain.bases import open_dictionary as open_dictionary
from silverstain.bases import save_dictionary as save_dictionary
