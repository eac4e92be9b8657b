"""Every study by its name."""

from .pretrained import families
from .pretrained.study import study_of
from .protocol import Study
from .two_hop import TWO_HOP

STUDIES: tuple[Study, ...] = (TWO_HOP,)
"""Of the organism."""


def studies() -> dict[str, Study]:
    """Those of the organism, then those of pretrained models."""
    of_families = families()
    found = {study.name: study for study in STUDIES}
    return found | {name: study_of(family, of_families) for name, family in of_families.items()}
