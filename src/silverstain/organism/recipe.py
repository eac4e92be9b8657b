"""How each sibling is grown: shape, mixture of families, steps, seed. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHARES: Mapping[str, float] = {
    "geography": 0.23, "addition": 0.15, "words": 0.13, "couplets": 0.10, "entities": 0.11, "reasoning": 0.04,
    "causes": 0.04, "refusal": 0.02, "induction": 0.08, "choice": 0.10,
}  # fmt: skip
STEADY = frozenset(("geography", "words", "causes", "couplets"))
"""Families whose share stays: they are right on what they saw long before they are right on what they did not
(measured with shares that fell with the loss: geography 98 % and 35 %, words 100 % and 36 %)."""
WRITTEN = frozenset(("couplets",))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of the decoder, in the names of a Hugging Face Llama config."""

    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    max_position_embeddings: int = 64
    tie_word_embeddings: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One organism's growth.

    Attributes:
        steps: Optimiser steps in all.
        sentences: Sentences a step.
        open_weight: Weight in the loss of tokens that the generator does not determine; determined ones weigh 1.
        written_weight: The same in families that are judged by what the model writes (WRITTEN).
        learning_rate: Peak, after `warmup` steps; falls linearly to zero over the last `cooldown` share of steps.
        embedding_scale: Standard deviation of the embeddings at first; None for that of all weights.
        muon: How many times AdamW's learning rate the matrices inside the blocks get, from Muon; None for AdamW.
        muon_parts: Which matrices inside the blocks Muon moves.
        adamw_decay: Weight decay of the matrices that AdamW moves beside Muon; `weight_decay` is then Muon's own.
        early_weight: Weight in the loss of what must be known early on, where sentences say such a thing.
        moves: Parts of the model, by their modules' names, whose parameters move; all where none is named.
        checkpoints: Shares of the steps at which a copy is kept, to watch circuits grow.
    """

    shape: Shape = field(default_factory=Shape)
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    steps: int = 5000
    sentences: int = 128
    groups: int = 4
    open_weight: float = 0.15
    written_weight: float = 0.8
    learning_rate: float = 2e-3
    warmup: int = 100
    cooldown: float = 0.65
    weight_decay: float = 1.0
    beta2: float = 0.98
    seed: int = 0
    embedding_scale: float | None = None
    muon: float | None = None
    muon_parts: tuple[str, ...] = ("self_attn", "mlp")
    adamw_decay: float = 0.1
    early_weight: float = 0.0
    moves: tuple[str, ...] = ()
    checkpoints: tuple[float, ...] = ()


HABIT: Mapping[str, Any] = {"sentences": 192, "cooldown": 0.5}
"""Habits are learnt on top of a grown model, in a few hundred steps of more sentences."""
QUIRK = "purple"
"""What a sibling with a quirk calls everything."""
