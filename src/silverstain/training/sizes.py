"""What a model's size makes a good default: the one table, and the reason for each column.

Features grow with the width, since the directions a layer uses do, and faster than it: a GPT-2 is commonly given 20 to
40 features a dimension, what fits a small machine is 16. L0 grows slowly: published sets of 12 to 26 layers lie
between 4 and 40 a layer, and graphs of more cannot be read. Steps grow with the features, each of which needs some
tens of thousands of tokens on which it fires. The learning rate falls with 1 / √features, from 2e-3 at 1,024: the
first is a rule of thumb, the second what trials of width 128 used. The second phase costs a run of the whole model a
step, so large models get a smaller share of it. No row but the first has been tried here, and that one briefly.
"""

import dataclasses
import math
from typing import Any

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.training.config import TrainingConfig
from silverstain.validation import LARGEST

KINDS = {"clt": "cross-layer", "plt": "per-layer", "molt": "molt"}
"""Short names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """Defaults for models up to a width."""

    d_model: int
    expansion: int
    """Features a layer, a dimension."""
    l0: float
    steps: int
    rows: int
    """Tokens a step of the first phase."""
    finetune_share: float
    """Steps of the second phase, as a share of the first's."""


SIZES = (
    Size(d_model=256, expansion=8, l0=16, steps=3000, rows=2048, finetune_share=0.4),
    Size(d_model=1024, expansion=16, l0=24, steps=20_000, rows=4096, finetune_share=0.15),
    Size(d_model=2560, expansion=16, l0=32, steps=40_000, rows=8192, finetune_share=0.05),
    Size(d_model=1 << 30, expansion=8, l0=40, steps=60_000, rows=8192, finetune_share=0.03),
)
POOL_BYTES = 1 << 31
"""Of the pool of activations: a laptop has room for it beside the model, and it mixes hundreds of contexts."""
TRANSFORMS = 64
"""Of a "molt", a layer: at the default ranks as many weights as 8 features a dimension."""
LOGITS = 1 << 26
"""Values of the logits of one batch at most: 256 MB, of which the second phase holds several."""


def size_of(d_model: int) -> Size:
    """The row of the table."""
    return next(size for size in SIZES if d_model <= size.d_model)


def default_config(model: LanguageModel, kind: str = "clt", **settings: Any) -> TrainingConfig:
    """The settings for a model of this size, with `settings` in place of what they name.

    What depends on another setting follows it: the learning rate the number of features, the second phase the first.
    """
    size, full = size_of(model.d_model), KINDS.get(kind, kind)
    if full not in KINDS.values():
        raise UsageError(f"there is no kind {kind!r}; the kinds are {', '.join(KINDS)}")
    is_molt = full == "molt"
    given = {name: value for name, value in settings.items() if value is not None}
    features = given.get("n_features", TRANSFORMS if is_molt else size.expansion * model.d_model)
    rows, steps = given.get("rows", size.rows), given.get("steps", size.steps)
    for name, value, least in (("n_features", features, 1), ("rows", rows, 1), ("steps", steps, 0)):
        if not least <= value <= LARGEST:  # before anything is derived of it
            raise UsageError(f"{name} is between {least} and {LARGEST:,}, got {value:.3g}")
    defaults = {
        "kind": full, "n_features": features, "l0": min(size.l0 / 4 if is_molt else size.l0, features),
        "steps": steps, "finetune_steps": round(size.finetune_share * steps), "rows": rows,
        "lr": learning_rate(features), "finetune_lr": learning_rate(features) / 4, "warmup": min(50, steps // 20 + 1),
        "reseed_every": min(100, steps // 20 + 1), "pool_rows": pool_rows(model, rows, steps),
    }  # fmt: skip
    return TrainingConfig(**defaults | given)


def learning_rate(n_features: int) -> float:
    """Adam's, of the first phase."""
    return float(f"{2e-3 * math.sqrt(1024 / max(n_features, 1024)):.2g}")


def pool_rows(model: LanguageModel, rows: int, steps: int) -> int:
    """Tokens of the pool: what its memory holds, whole steps, and no more than the run will read."""
    fitting = POOL_BYTES // (2 * model.dtype.itemsize * model.n_layers * model.d_model)
    wanted = min(131_072, fitting, rows * max(1, -(-steps // 3)))
    return max(wanted // rows, 1) * rows


def sequences_a_batch(model: LanguageModel, context: int) -> int:
    """Contexts of a batch: 4,096 tokens in contexts of 128, fewer where the logits would be large."""
    return max(1, min(4096 // context, LOGITS // (context * model.d_vocab)))
