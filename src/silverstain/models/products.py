"""In which type the large products of a model's own run are made.

Processors with AMX multiply bfloat16 four to eight times as fast as float32; others emulate it, and take a hundred
times as long. So both are tried at the start of a run, on products of its own size. Sums are float32 in either case.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from silverstain.models.language_model import LanguageModel

Products = Literal["float32", "bfloat16"]
WORTH_IT = 1.5
"""How many times as fast bfloat16 must be."""
LEAST_WIDTH = 256
"""Of models that are narrower the products are small, and hold little of the time."""
TRIED_ROWS, TRIED_FEATURES, TRIES = 256, 512, 5


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


class ProductsInBfloat16:
    """The products of a model's blocks made in bfloat16, its stream and norms in its own type."""

    def __init__(self, model: LanguageModel) -> None:
        head = model.hf.get_output_embeddings()
        self._linears = [m for m in model.hf.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        self._weights = [_by_rows(linear).to(torch.bfloat16) for linear in self._linears]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """While it is open, the model runs so."""
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


def _by_rows(linear: Any) -> Tensor:
    """The weight [d_out, d_in]; GPT-2's are the other way round."""
    weight = linear.weight.detach()
    return weight.T.contiguous() if isinstance(linear, Conv1D) else weight


def _product(weight: Tensor, bias: Tensor | None) -> Any:
    def forward(x: Tensor) -> Tensor:
        product = F.linear(x.to(weight.dtype), weight).to(x.dtype)
        return product if bias is None else product + bias

    return forward
