"""How a dictionary is trained: one frozen value, every field with its reason.

Settings that cannot work are refused when they are made, one line each: what was given, and what to do.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.validation import LARGEST

KINDS = ("cross-layer", "per-layer", "molt")
ACTIVATIONS = ("batchtopk", "topk", "jumprelu", "relu")
SHAPES = ("tanh", "l0")
AIMS = ("kl", "ce", None)
DECODERS = ("learned", "random")
CHOICES = {"kind": KINDS, "decoder": DECODERS, "activation": ACTIVATIONS, "sparsity_shape": SHAPES, "end_to_end": AIMS}
POSITIVE = (
    "n_features", "l0", "rows", "nmse_rows", "pool_rows", "pool_epochs", "pool_parts", "threads", "reseed_every", "lr",
    "finetune_lr", "bandwidth", "jacobian_rows", "response_rows", "anneal_from",
)  # fmt: skip
NOT_NEGATIVE = (
    "steps", "finetune_steps", "warmup", "sparsity", "pre_activation", "aux_k", "aux_weight", "jacobian_weight",
    "nmse_weight", "determined_weight", "response_weight",
)  # fmt: skip
COUNTS = (
    "n_features", "rows", "nmse_rows", "pool_rows", "pool_epochs", "pool_parts", "reseed_every", "jacobian_rows",
    "response_rows", "steps", "finetune_steps", "warmup", "aux_k",
)  # fmt: skip
MOST_THREADS = 1024
FASTEST_FALL = 0.02
"""How much L0 may fall in a step, as a share: the features that are left must grow by as much, or the error rises. It
rose by 64 % where L0 fell to a third in 20 steps."""
SHARES = ("l0_floor", "edited_share", "anneal", "reseed_until", "skip_from")


@brief
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides a run besides the model, the batches and their order."""

    kind: str = "cross-layer"
    """"per-layer": a feature writes to its own layer's MLP output alone; "cross-layer": to those of later layers as
    well; "molt": in place of features, linear transforms of low rank, each switched on by a gate."""
    reach: int | None = None
    """How many layers a feature writes to, its own counted; None: all that follow, or its own alone if per-layer."""
    skip: bool = False
    """A linear map beside the features of each layer: it takes what is linear in the MLP off their hands."""
    n_features: int = 1024
    """Features a layer; of "molt", transforms a layer."""
    widths: tuple[int, ...] = ()
    """Matryoshka: the first so many features of every layer must reconstruct alone as well; the loss is the mean over
    these prefixes and all features. General features gather in front, and are not split up when there are more."""
    molt_rank: int | None = None
    """Highest rank of a transform, a quarter of the model's width by default; each lower rank is half as high and held
    by twice as many transforms, down to a sixteenth."""
    decoder: str = "learned"
    """"random": what features write is drawn once and never learned, only when they fire is: a control. What such a
    dictionary reaches, in reconstruction or in labels, is no merit of decoders that are learned."""
    activation: str = "batchtopk"
    """Which features of a token are active: "batchtopk", the best of a batch in all layers; "topk", the best `l0` of
    each token and layer; "jumprelu", those above a learned threshold; "relu", those above 0. All are saved as
    JumpReLU."""
    l0: float = 11.5
    """Active features a token and layer, mean over layers. A little below what is promised: it varies with the text."""
    l0_floor: float = 0.5
    """No layer gets fewer than this share of `l0`: left alone, early layers write the outputs of the late ones."""

    sparsity: float = 0.0
    """Weight of the sparsity loss; it rises from 0 linearly over the whole run. What makes "relu" and "jumprelu"
    sparse: for them `l0` is only where thresholds begin."""
    sparsity_shape: str = "tanh"
    """"tanh" of what a feature adds to the outputs, which large features do not pay twice for; "l0", their number."""
    bandwidth: float = 1.0
    """How near to its threshold a pre-activation must be for "jumprelu" to pass the threshold a gradient."""
    pre_activation: float = 0.0
    """Weight of the sum of negative pre-activations, which pulls features that never fire towards firing. It can keep
    features alive that contribute nothing: look at more than the count of the dead."""
    aux_k: int = 0
    """AuxK: so many dead features a token and layer reconstruct what the living leave over; 0: none."""
    aux_weight: float = 1 / 32
    """Weight of what they leave over in turn, as a share of what there was."""
    jacobian_weight: float = 0.0
    """Weight of the difference between how MLP and dictionary change in one random direction a token."""
    jacobian_rows: int = 256
    """Tokens a step on which that is measured: it runs the MLPs."""

    steps: int = 2000
    """Steps of the first phase, reconstruction."""
    rows: int = 2048
    """Tokens a step of the first phase."""
    pool_rows: int = 131072
    """Tokens harvested at a time; steps draw from them shuffled. 4 layers of width 128: 4 kB a token."""
    pool_epochs: int = 3
    """How often each token of the pool is used before it is renewed."""
    pool_parts: int = 1
    """In how many parts the pool is renewed in turn: 1, all of it at a time; 2, half of it stays at every renewal."""
    lr: float = 2e-3
    """Adam's step of the first phase; the last quarter of it falls to zero linearly."""
    warmup: int = 50
    """Steps over which the learning rate rises at first."""
    anneal: float = 0.2
    """Share of the first phase over which L0 falls to `l0`: while more is active, more features find work."""
    anneal_from: float = 3.0
    """L0 at the first step, in units of `l0`; less in a short run, so that L0 falls by no more than 2 % a step."""
    reseed_every: int = 100
    """Steps between revivals: features that did not fire since are pointed at tokens that are badly reconstructed."""
    reseed_until: float = 0.6
    """Share of the first phase after which no feature is revived any more."""
    skip_from: float = 0.6
    """Share of the first phase after which a skip begins to learn. From the first step on it would take the linear part
    of what features do, and of known features fewer were found (benchmarks/planted.py)."""

    skip_starts: Literal["zero", "affine"] = "zero"
    """"affine": a skip begins as the best affine map of its layer, and features as what that leaves. Meant for
    short runs."""

    end_to_end: str | None = "kl"
    """What the second phase lowers: "kl", the divergence from what the model says; "ce", the surprise at the text's
    next token; None: there is no second phase."""
    finetune_steps: int = 1500
    """Steps of the second phase, one batch each: the replaced model learns to say what the model says."""
    finetune_lr: float = 5e-4
    nmse_weight: float = 1.0
    """Weight of the reconstruction loss beside the KL divergence in the second phase."""
    nmse_rows: int = 512
    """At most so many tokens of a batch are reconstructed beside it; the divergence is taken over all of them."""
    determined_weight: float = 1.0
    """How much more the divergence counts where only one token can follow; 1 is no more."""
    edited_share: float = 0.0
    """Share of second-phase steps on which model and replaced model run under a random edit: outputs of one MLP are
    swapped between sequences, or the features of response matching are moved. Teaches the mechanism rather than the
    answer; costs one more run of the model."""
    response_weight: float = 0.0
    """Weight, in the second phase, of the difference between how MLPs and dictionary change when a feature of an
    earlier layer is moved in the model: what a graph is tested by. Costs one more run of the model."""
    response_rows: int = 512
    """At most so many tokens of a batch on which that is measured."""

    decoder_kernel: Literal["sparse", "dense", "measure"] = "sparse"
    """How active features are decoded; "measure" times both on this machine first."""
    products: Literal["measure", "float32", "bfloat16"] = "measure"
    """Type of the large products, of the model's run and of the search for active features; "measure" tries both on
    this machine when the run begins, and takes bfloat16 where it is much faster."""
    stored_dtype: Literal["float32", "float16"] = "float32"
    """Type of the weights on disk; arithmetic is in float32."""
    threads: int = 1
    """Threads of torch while training."""
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON gives a list
        _check(self)

    @property
    def n_steps(self) -> int:
        """Steps of both phases."""
        return self.steps + (self.finetune_steps if self.end_to_end else 0)

    @property
    def is_cross_layer(self) -> bool:
        return self.kind == "cross-layer" and self.reach != 1

    @property
    def prefixes(self) -> tuple[int, ...]:
        """How many features of each layer reconstruct together: the widths, and all."""
        return (*(width for width in self.widths if width < self.n_features), self.n_features)

    def n_targets(self, layer: int, n_layers: int) -> int:
        """How many layers the features of `layer` write to."""
        following = n_layers - layer
        return min(self.reach or following, following) if self.is_cross_layer else 1

    def n_writers(self, layer: int) -> int:
        """How many layers' features write to the output of `layer`."""
        return min(self.reach or layer + 1, layer + 1) if self.is_cross_layer else 1

    @property
    def steps_a_harvest(self) -> int:
        """Steps between two harvests, each of one part of the pool."""
        return max(1, self.pool_rows // self.rows * self.pool_epochs // self.pool_parts)

    def harvests_at(self, step: int) -> int:
        """How many parts have been harvested before a step of the first phase."""
        return self.pool_parts + step // self.steps_a_harvest

    def l0_at(self, step: int) -> float:
        """The L0 aimed at in a step of the first phase."""
        end = self.anneal * self.steps
        if step >= end:
            return self.l0
        first = min(self.anneal_from, math.exp(min(FASTEST_FALL * end, 700.0)))
        return min(self.l0 * first ** (1 - step / end), max(self.l0, self.n_features / 4))

    def sparsity_at(self, step: int) -> float:
        """Weight of the sparsity loss at a step of the run."""
        return self.sparsity * (step + 1) / self.n_steps

    def revivals(self) -> range:
        """The numbers of the steps, counted from 1, after which dead features are revived."""
        return range(self.reseed_every, int(self.reseed_until * self.steps) + 1, self.reseed_every)

    def lr_at(self, step: int) -> float:
        return self.lr * min(1.0, (step + 1) / max(self.warmup, 1)) * _falling(step, self.steps)

    def finetune_lr_at(self, step: int) -> float:
        return self.finetune_lr * min(1.0, (step + 1) / max(self.warmup, 1)) * _falling(step, self.finetune_steps)

    def skip_lr_at(self, step: int) -> float:
        """The skip's learning rate in the first phase."""
        return self.lr_at(step) if step >= self.skip_from * self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _falling(step: int, n_steps: int) -> float:
    """1, falling linearly to 0 over the last quarter."""
    return min(1.0, (n_steps - step) / (0.25 * n_steps))


def _check(config: TrainingConfig) -> None:
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
    for name in COUNTS:
        if getattr(config, name) > LARGEST:
            raise UsageError(f"{name} is at most {LARGEST:,}, got {getattr(config, name):.3g}")
    if not 0 <= config.seed <= LARGEST:
        raise UsageError(f"seed is between 0 and {LARGEST:,}, got {config.seed:.3g}")
    if config.threads > MOST_THREADS:
        raise UsageError(f"threads is at most {MOST_THREADS}, got {config.threads:.3g}")
    for name in SHARES:
        if not 0 <= getattr(config, name) <= 1:
            raise UsageError(f"{name} is a share between 0 and 1, got {getattr(config, name)}")
    _check_sizes(config)
    _check_kind(config)
    _check_sparsity(config)


def _check_sizes(config: TrainingConfig) -> None:
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


def _check_kind(config: TrainingConfig) -> None:
    if config.skip_starts == "affine" and not config.skip:
        raise UsageError("skip_starts is affine, but there is no skip; give skip, or leave skip_starts out")
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
    if config.kind == "molt" and config.decoder == "random":
        raise UsageError(
            "decoder random draws what features write, and molt has none; leave it out or take another kind"
        )
    if config.molt_rank is not None and config.kind != "molt":
        raise UsageError(f"molt_rank is {config.molt_rank} but kind is {config.kind}; only molt has transforms")
    if config.molt_rank is not None and config.molt_rank < 1:
        raise UsageError(f"molt_rank must be 1 or more, got {config.molt_rank}")


def _check_sparsity(config: TrainingConfig) -> None:
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
