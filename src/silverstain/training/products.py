"""In which type the large products of training are made: the search for active features, and the model's own run.

Sums are float32 in either case; so are weights, moments, everything that is decoded and every value of an active
feature. See `silverstain.models.products`.
"""

from silverstain.models import LanguageModel, TokenBatch
from silverstain.models.products import Products, ProductsInBfloat16, faster_products
from silverstain.training.batches import Activations, harvest_rows
from silverstain.training.config import TrainingConfig

__all__ = ["HarvestInBfloat16", "Products", "faster_products", "products_for"]


def products_for(config: TrainingConfig, model: LanguageModel) -> Products:
    """What a run that begins now takes."""
    return faster_products(model.d_model, model.device) if config.products == "measure" else config.products


class HarvestInBfloat16:
    """`harvest_rows` with the products of the model's blocks made in bfloat16, its stream and norms in its own type."""

    def __init__(self, model: LanguageModel) -> None:
        self._model, self._in_bfloat16 = model, ProductsInBfloat16(model)

    def __call__(self, number: int, batch: TokenBatch) -> Activations:
        with self._in_bfloat16():
            return harvest_rows(self._model, batch)
