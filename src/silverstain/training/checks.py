"""Settings that cannot work are refused when they are made, one line each: what was given, and what to do."""

from itertools import pairwise
from typing import TYPE_CHECKING

from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.training.config import TrainingConfig

KINDS = ("cross-layer", "per-layer", "molt")
ACTIVATIONS = ("batchtopk", "topk", "jumprelu", "relu")
SHAPES = ("tanh", "l0")
AIMS = ("kl", "ce", None)
CHOICES = {"kind": KINDS, "activation": ACTIVATIONS, "sparsity_shape": SHAPES, "end_to_end": AIMS}
POSITIVE = (
    "n_features", "l0", "rows", "nmse_rows", "pool_rows", "pool_epochs", "pool_parts", "threads", "reseed_every", "lr",
    "finetune_lr", "bandwidth", "jacobian_rows", "response_rows", "anneal_from",
)  # fmt: skip
NOT_NEGATIVE = (
    "steps", "finetune_steps", "warmup", "sparsity", "pre_activation", "aux_k", "aux_weight", "jacobian_weight",
    "nmse_weight", "determined_weight", "response_weight",
)  # fmt: skip
SHARES = ("l0_floor", "edited_share", "anneal", "reseed_until", "skip_from")


def check_settings(config: "TrainingConfig") -> None:
    """UsageError for a value out of range, or for settings that contradict each other."""
    for name, choices in CHOICES.items():
        if getattr(config, name) not in choices:
            words = [str(choice) for choice in choices]
            raise UsageError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, got {getattr(config, name)!r}")
    for name in POSITIVE:
        if not 0 < getattr(config, name) < float("inf"):
            raise UsageError(f"{name} must be positive, got {getattr(config, name)}")
    for name in NOT_NEGATIVE:
        if not 0 <= getattr(config, name) < float("inf"):
            raise UsageError(f"{name} must be 0 or more, got {getattr(config, name)}")
    for name in SHARES:
        if not 0 <= getattr(config, name) <= 1:
            raise UsageError(f"{name} is a share between 0 and 1, got {getattr(config, name)}")
    _check_sizes(config)
    _check_kind(config)
    _check_sparsity(config)


def _check_sizes(config: "TrainingConfig") -> None:
    if config.l0 > config.n_features:
        raise UsageError(f"l0 is {config.l0} but there are {config.n_features} features a layer; lower l0")
    if config.rows > config.pool_rows:
        raise UsageError(f"a step takes {config.rows} rows but the pool holds {config.pool_rows}; raise pool_rows")
    if config.aux_k > config.n_features:
        raise UsageError(f"aux_k is {config.aux_k} but there are {config.n_features} features a layer; lower aux_k")
    widths = config.widths
    if any(low >= high for low, high in pairwise(widths)) or any(width < 1 for width in widths):
        raise UsageError(f"widths must rise from 1 or more, got {list(widths)}; sort them and drop what is there twice")
    if widths and widths[-1] > config.n_features:
        raise UsageError(
            f"widths go up to {widths[-1]} but there are {config.n_features} features a layer; raise n_features"
        )


def _check_kind(config: "TrainingConfig") -> None:
    if config.reach is not None and config.reach < 1:
        raise UsageError(f"reach counts a feature's own layer and is 1 or more, got {config.reach}")
    if config.kind != "cross-layer" and config.reach not in (None, 1):
        raise UsageError(
            f"{config.kind} writes to its own layer alone, but reach is {config.reach}; "
            "leave reach out or take kind cross-layer"
        )
    if config.kind == "molt" and config.widths:
        raise UsageError("widths are prefixes of features, and molt has transforms of unlike ranks; leave widths out")
    if config.end_to_end == "ce" and config.edited_share:
        raise UsageError(
            f"edited_share is {config.edited_share}, but after an edit the text's next token is no longer what the "
            "model says; take end_to_end kl or leave edited_share out"
        )
    if config.kind == "molt" and config.response_weight:
        raise UsageError("response_weight moves features, and molt has none; leave it out or take another kind")
    if config.molt_rank is not None and config.kind != "molt":
        raise UsageError(f"molt_rank is {config.molt_rank} but kind is {config.kind}; only molt has transforms")
    if config.molt_rank is not None and config.molt_rank < 1:
        raise UsageError(f"molt_rank must be 1 or more, got {config.molt_rank}")


def _check_sparsity(config: "TrainingConfig") -> None:
    if config.activation in ("relu", "jumprelu") and not config.sparsity:
        raise UsageError(
            f"nothing makes {config.activation} sparse while sparsity is 0; give sparsity, such as 0.01, "
            "or take activation batchtopk"
        )
    if config.sparsity and config.sparsity_shape == "l0" and config.activation != "jumprelu":
        raise UsageError(
            f"the l0 shape of sparsity moves the learned thresholds of jumprelu, which {config.activation} has not; "
            "take sparsity_shape tanh or activation jumprelu"
        )
    if config.activation == "topk" and config.l0 < 1:
        raise UsageError(f"topk keeps l0 features of every token, at least 1, but l0 is {config.l0}; raise l0")
