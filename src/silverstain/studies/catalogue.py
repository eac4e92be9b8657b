"""Every study by its name."""

from .protocol import Study
from .two_hop import TWO_HOP

STUDIES: tuple[Study, ...] = (TWO_HOP,)


def studies() -> dict[str, Study]:
    return {study.name: study for study in STUDIES}
