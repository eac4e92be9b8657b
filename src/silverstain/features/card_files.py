"""Where cards are kept, and cards of either format opened."""

from pathlib import Path

from silverstain.bases import Basis
from silverstain.features.card_table import CardTable
from silverstain.features.cards import Cards
from silverstain.storage import check_is_file

AnyCards = Cards | CardTable
PARQUET = b"PAR1"


def open_cards(path: str | Path) -> AnyCards:
    """The cards of a file, by what it holds; UsageError naming a missing, corrupt or foreign one."""
    path = Path(path)
    check_is_file(path)
    with path.open("rb") as file:
        is_parquet = file.read(4) == PARQUET
    return CardTable.load(path) if is_parquet else Cards.load(path)


def kept_cards(basis: Basis, folder: Path) -> Path:
    """The file in which the cards of a basis are kept that has no folder of its own, as a model's neurons."""
    return folder / f"{basis.hash}.parquet"
