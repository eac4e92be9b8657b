"""In which type the large products of training are made: the search for active features, and the model's own run.

Processors with AMX multiply bfloat16 four to eight times as fast as float32; others emulate it, and take a hundred
times as long. So both are tried at the start of a run, on products of its own size. Sums are float32 in either case; so
are weights, moments, everything that is decoded and every value of an active feature.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from silverstain.models import LanguageModel, TokenBatch
from silverstain.training.batches import Activations, harvest_rows
from silverstain.training.config import TrainingConfig

Products = Literal["float32", "bfloat16"]
WORTH_IT = 1.5
"""How many times as fast bfloat16 must be."""
LEAST_WIDTH = 256
"""Of models that are narrower the products are small, and hold little of the time."""
TRIED_ROWS, TRIED_FEATURES, TRIES = 256, 512, 5


def products_for(config: TrainingConfig, model: LanguageModel) -> Products:
    """What a run that begins now takes."""
    return faster_products(model.d_model, model.device) if config.products == "measure" else config.products


def faster_products(d_model: int, device: torch.device | str = "cpu") -> Products:
    """ "bfloat16" where products of this width are `WORTH_IT` times as fast in it here and now, else "float32"."""
    if d_model < LEAST_WIDTH or torch.device(device).type != "cpu":
        return "float32"
    generator = torch.Generator().manual_seed(0)
    x, W = (torch.randn(n, d_model, generator=generator) for n in (TRIED_ROWS, TRIED_FEATURES))
    whole, half = _seconds(x, W), _seconds(x.bfloat16(), W.bfloat16())
    return "bfloat16" if half * WORTH_IT <= whole else "float32"


def _seconds(x: Tensor, W: Tensor) -> float:
    """The best of a few; the first, which is not counted, prepares the weights."""
    torch.mm(x, W.T)
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        torch.mm(x, W.T)
        best = min(best, time.perf_counter() - start)
        if best > 0.1:  # emulated: once is enough
            break
    return best


class HarvestInBfloat16:
    """`harvest_rows` with the products of the model's blocks made in bfloat16, its stream and norms in its own type."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        head = model.hf.get_output_embeddings()
        self._linears = [m for m in model.hf.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        self._weights = [_by_rows(linear).to(torch.bfloat16) for linear in self._linears]

    def __call__(self, number: int, batch: TokenBatch) -> Activations:
        with self._in_bfloat16():
            return harvest_rows(self._model, batch)

    @contextmanager
    def _in_bfloat16(self) -> Iterator[None]:
        before = [linear.__dict__.get("forward") for linear in self._linears]
        try:
            for linear, weight in zip(self._linears, self._weights, strict=True):
                linear.forward = _product(weight, linear.bias)
            yield
        finally:
            for linear, old in zip(self._linears, before, strict=True):
                if old is None:
                    linear.__dict__.pop("forward", None)
                else:
                    linear.forward = old


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


def _by_rows(linear: Any) -> Tensor:
    """The weight [d_out, d_in]; GPT-2's are the other way round."""
    weight = linear.weight.detach()
    return weight.T.contiguous() if isinstance(linear, Conv1D) else weight


def _product(weight: Tensor, bias: Tensor | None) -> Any:
    def forward(x: Tensor) -> Tensor:
        product = F.linear(x.to(weight.dtype), weight).to(x.dtype)
        return product if bias is None else product + bias

    return forward
