"""In which type the large products of training are made: the search for active features, and the model's own run.

Sums are float32 in either case; so are weights, moments, everything that is decoded and every value of an active
feature. See `silverstain.models.products`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.models import LanguageModel, TokenBatch
from silverstain.models.products import Products, ProductsInBfloat16, faster_products
from silverstain.training.batches import Activations, harvest_rows
from silverstain.training.config import TrainingConfig

__all__ = ["HarvestInBfloat16", "Products", "faster_products", "product_with", "products_for"]


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


def product_with(
    x: Float[Tensor, "row d_in"], W: Float[Tensor, "d_out d_in"], products: Products
) -> Float[Tensor, "row d_out"]:
    """x Wᵀ, and its gradients for x and W, with the products in this type and the results in that of x."""
    return x @ W.T if products == "float32" else _InBfloat16.apply(x, W)  # type: ignore[no-any-return]


class _InBfloat16(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W):  # type: ignore[no-untyped-def]
        x_half, W_half = x.bfloat16(), W.bfloat16()
        ctx.save_for_backward(x_half, W_half)
        ctx.dtype = x.dtype
        return torch.mm(x_half, W_half.T).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x_half, W_half = ctx.saved_tensors
        half = grad.bfloat16()
        grad_x = torch.mm(half, W_half).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        grad_W = torch.mm(half.T, x_half).to(ctx.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_W
