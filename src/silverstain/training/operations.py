"""Floating-point operations of training, a product and a sum counted as two; and how many this machine can do."""

import time

import torch
from torch import nn

from silverstain.models import LanguageModel
from silverstain.training.config import TrainingConfig
from silverstain.training.products import Products

MOST_WIDTH, TRIES = 512, 3


def search_operations(config: TrainingConfig, *, n_layers: int, d_model: int) -> int:
    """Of the dense search for a token's active features."""
    return 2 * n_layers * d_model * config.n_features


def skip_operations(config: TrainingConfig, step: int, *, n_layers: int, d_model: int) -> int:
    """Of a token's skips in a step of the first phase: none before they begin to learn, unless they begin as a map."""
    if not config.skip:
        return 0
    learns = config.skip_lr_at(step) > 0
    passes = 2 if learns else int(config.skip_starts == "affine")
    return 2 * passes * n_layers * d_model**2


def sparse_operations(config: TrainingConfig, l0: float, *, n_layers: int, d_model: int) -> int:
    """Of everything done on a token's active features, gradients included."""
    reach = sum(config.n_targets(layer, n_layers) for layer in range(n_layers))
    return round(l0 * 6 * d_model * (reach + n_layers))


def step_operations(config: TrainingConfig, step: int, *, n_layers: int, d_model: int) -> int:
    """Of a step of the first phase, without the harvest of its tokens."""
    sizes = {"n_layers": n_layers, "d_model": d_model}
    a_token = search_operations(config, **sizes) + skip_operations(config, step, **sizes)
    return config.rows * (a_token + sparse_operations(config, config.l0_at(step), **sizes))


def model_operations(model: LanguageModel, *, head: bool) -> int:
    """Of a token in the products of the model's blocks, and of its unembedding if `head`."""
    tables = [module.weight for module in model.hf.modules() if isinstance(module, nn.Embedding)]
    unembedding = model.hf.get_submodule(model.architecture.unembedding)
    apart = {id(weight) for weight in (*tables, unembedding.weight)}
    inner = sum(parameter.numel() for parameter in model.hf.parameters() if id(parameter) not in apart)
    return 2 * (inner + (model.W_U.numel() if head else 0))


def matrix_rate(width: int, products: Products = "float32", device: torch.device | str = "cpu") -> float:
    """Operations a second of a square product as wide as a model, up to 512, here and now: the best of a few."""
    width = min(width, MOST_WIDTH)
    x = torch.ones(width, width, device=device, dtype=getattr(torch, products))
    torch.mm(x, x)
    best = float("inf")
    for _ in range(TRIES):
        start = time.perf_counter()
        torch.mm(x, x)
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * width**3 / best
