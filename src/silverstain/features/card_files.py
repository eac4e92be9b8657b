"""Where cards are kept, and cards of either format opened.

Cards of a basis are found by its hash: in the cache, where `silverstain features build` keeps them, or in a package
that brings some. It says so by an entry point of `silverstain_cards`, whose module has a folder `cards` beside it with
a file HASH.parquet for each basis.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.features.card_table import CardTable
from silverstain.features.cards import Cards
from silverstain.installed import installed_folder, names_installed
from silverstain.storage import check_is_file

GROUP, FOLDER = "silverstain_cards", "cards"
HASH = re.compile(r"[0-9a-f]{8,64}")
AnyCards = Cards | CardTable
PARQUET = b"PAR1"


def open_cards(path: str | Path) -> AnyCards:
    """The cards of a file, by what it holds; UsageError naming a missing, corrupt or foreign one."""
    path = Path(path)
    check_is_file(path)
    with path.open("rb") as file:
        is_parquet = file.read(4) == PARQUET
    return CardTable.load(path) if is_parquet else Cards.load(path)


def named_cards(name: str | Path) -> Path:
    """The file of cards that a package brought under this name; the path as it is where a file is there, or none of
    that name is installed."""
    path = Path(name)
    folder = None if path.exists() else installed_folder(GROUP, str(name), FOLDER)
    return next(iter(sorted(folder.glob("*.parquet"))), path) if folder is not None else path


def kept_cards(basis_hash: str, folder: Path) -> Path:
    """The file in which the cards of a basis are kept that has no folder of its own, as a model's neurons."""
    return folder / f"{basis_hash}.parquet"


def cards_by_hash(basis_hash: str, kept: Path) -> CardTable | None:
    """The cards of the basis with this hash: those in a folder, else those that a package brought, None where there are
    none. A file that is damaged or of another basis is as none."""
    if not HASH.fullmatch(basis_hash):  # a stranger's graph may name anything
        return None
    for folder in chain([kept], _brought()):  # packages are looked through where the first folder has none
        path = kept_cards(basis_hash, folder)
        if path.is_file():
            with suppress(UsageError, OSError, ValueError):
                table = CardTable.load(path)
                if table.meta.get("dictionary_hash") == basis_hash:
                    return table
    return None


def _brought() -> Iterator[Path]:
    for name in names_installed(GROUP, FOLDER):
        found = installed_folder(GROUP, name, FOLDER)
        if found is not None:
            yield found
