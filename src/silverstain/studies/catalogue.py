"""Every study by its name."""

from .addition import ADDITION
from .attention import CHOICE, INDUCTION
from .causes import CAUSES
from .chain_of_thought import CHAIN_OF_THOUGHT
from .entities import ENTITIES
from .hidden_preference import HIDDEN_PREFERENCE
from .multilingual import MULTILINGUAL
from .planning import PLANNING
from .pretrained import families
from .pretrained.study import study_of
from .protocol import Study, Subject
from .refusals import REFUSALS
from .two_hop import TWO_HOP

STUDIES: tuple[Study, ...] = (
    TWO_HOP, ENTITIES, ADDITION, MULTILINGUAL, PLANNING, CHAIN_OF_THOUGHT, CAUSES, REFUSALS, HIDDEN_PREFERENCE,
    INDUCTION, CHOICE,
)  # fmt: skip
"""Of the organism."""


def studies() -> dict[str, Study]:
    """Those of the organism, then those of pretrained models."""
    of_families = families()
    found = {study.name: study for study in STUDIES}
    return found | {name: study_of(family, of_families) for name, family in of_families.items()}


def studies_for(subject: Subject) -> list[Study]:
    """Those that have prompts for a model: of the small world for an organism, of English text for others."""
    return (
        list(STUDIES)
        if subject.sibling is not None
        else [study for study in studies().values() if study not in STUDIES]
    )
