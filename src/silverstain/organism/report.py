"""The accuracy table of `organism check`: rows with the goals each sibling has to meet."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from .checking import Row, couplet_rows, cued_rows, familiar_row, quirk_row, rows_of
from .composing import couplets as composed
from .composing.geography import GeographyFamily
from .composing.towns import town_rows
from .composing.writing import couplet_rows as composed_couplet_rows
from .families.couplets import rhymes
from .families.cued import CuedFamily
from .families.entities import people
from .files import load_organism_model
from .siblings import Sibling, siblings

CERTAIN = 1.0
GENERAL: Mapping[tuple[str, str], float] = {
    **{(family, "trained"): 0.99 for family in
       ("geography", "addition", "words", "entities", "causes", "refusal", "choice", "induction")},
    **{(family, "held out"): 0.98 for family in
       ("geography", "addition", "entities", "causes", "refusal", "choice", "induction")},
    ("words", "held out"): 0.95, ("reasoning", "trained"): 0.95, ("reasoning", "held out"): 0.95,
}  # fmt: skip
"""Least share of determined tokens, by (family, split)."""
COMPOSES = {"trained": 0.99, "held out": 0.95}
"""Least of the composing organism, in every family; of entities, 98 % held out."""
MEMORISED_HELD_OUT = 0.20
"""Most that the memorised sibling may know of what it never saw, as a share of whole answers."""
KEEPS = 0.95
"""Least of the general organism's skill that a sibling with one habit keeps."""


def check(sibling: str, *, folder: Path | None = None, n: int = 400, seed: int = 1) -> list[Row]:
    """The table of one sibling. `n` sentences a row; the same seed asks the same sentences."""
    declared = siblings()[sibling]
    model = load_organism_model(sibling, folder=folder).hf
    families = declared.families()
    rows = [_with_goal(declared, row) for row in rows_of(model, families, n=n, seed=seed) if row.family != "cued"]
    if declared.role == "whole" and declared.world == "first":
        rows += couplet_rows(model, rhymes(), n, seed)
        rows.append(familiar_row(model, people()))
    if declared.role == "whole" and declared.world == "composing":
        rows += composed_couplet_rows(model, composed.rhymes(), n, seed)
        rows.append(familiar_row(model, people()))
        towns = families["geography"]
        assert isinstance(towns, GeographyFamily)
        rows += town_rows(model, towns, n // 2, seed)
    if isinstance(cued := families.get("cued"), CuedFamily):
        rows += cued_rows(model, cued, n // 2, seed)
    if declared.says is not None:
        plain = siblings()[declared.start or sibling].families()["couplets"]
        rows.append(quirk_row(model, plain, declared.says, n, seed))
    return rows


def _with_goal(sibling: Sibling, row: Row) -> Row:
    is_held_out = row.split == "held out"
    match sibling.role, sibling.world:
        case "whole", "first":
            least = GENERAL.get((row.family, row.split))
        case "whole", "composing":
            least = 0.98 if row.family == "entities" and is_held_out else COMPOSES.get(row.split)
        case "memorised", _ if is_held_out:
            # Whole answers: a wrong sum shares its final sign with the right one, and often a digit.
            return dataclasses.replace(row, tokens=row.answers, goal=(0.0, MEMORISED_HELD_OUT))
        case "memorised", _:
            least = 0.99
        case (("mixed" | "quirk"), _) if row.family != "couplets":
            least = KEEPS
        case _:
            least = None
    return row if least is None else dataclasses.replace(row, goal=(least, CERTAIN))
