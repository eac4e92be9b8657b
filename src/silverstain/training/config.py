"""How a dictionary is trained: one frozen value, every field with its reason."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from silverstain.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides a run besides the model, the batches and their order."""

    kind: str = "cross-layer"
    """Whether a feature writes to its own layer's MLP output alone or to those of all later layers as well."""
    n_features: int = 1024
    """Features a layer."""
    l0: float = 11.5
    """Active features a token and layer, mean over layers. A little below what is promised: it varies with the text."""
    l0_floor: float = 0.5
    """No layer gets fewer than this share of `l0`: left alone, early layers write the outputs of the late ones."""

    steps: int = 2000
    """Steps of the first phase, reconstruction."""
    rows: int = 2048
    """Tokens a step of the first phase."""
    pool_rows: int = 131072
    """Tokens harvested at a time; steps draw from them shuffled. 4 layers of width 128: 4 kB a token."""
    pool_epochs: int = 3
    """How often each token of the pool is used before the next pool is harvested."""
    lr: float = 2e-3
    """Adam's step of the first phase; the last quarter of it falls to zero linearly."""
    warmup: int = 50
    """Steps over which the learning rate rises at first."""
    anneal: float = 0.2
    """Share of the first phase over which L0 falls to `l0`: while more is active, more features find work."""
    anneal_from: float = 3.0
    """L0 at the first step, in units of `l0`."""
    reseed_every: int = 100
    """Steps between revivals: features that did not fire since are pointed at tokens that are badly reconstructed."""
    reseed_until: float = 0.6
    """Share of the first phase after which no feature is revived any more."""

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
    swapped between sequences. Teaches the mechanism rather than the answer; costs one more run of the model."""

    decoder_kernel: Literal["sparse", "dense", "measure"] = "sparse"
    """How active features are decoded; "measure" times both on this machine first."""
    stored_dtype: Literal["float32", "float16"] = "float32"
    """Type of the weights on disk; arithmetic is in float32."""
    threads: int = 1
    """Threads of torch while training."""
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_features", "l0", "rows", "nmse_rows", "pool_rows", "pool_epochs", "threads", "reseed_every"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}")
        if self.l0 > self.n_features:
            raise UsageError(f"l0 is {self.l0} but there are {self.n_features} features a layer; lower l0")
        if self.rows > self.pool_rows:
            raise UsageError(f"a step takes {self.rows} rows but the pool holds {self.pool_rows}; raise pool_rows")
        for name in ("l0_floor", "edited_share", "anneal", "reseed_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share between 0 and 1, got {getattr(self, name)}")
        if self.kind not in ("cross-layer", "per-layer"):
            raise UsageError(f"kind must be cross-layer or per-layer, got {self.kind!r}")

    @property
    def steps_a_pool(self) -> int:
        """Steps between two harvests."""
        return self.pool_rows // self.rows * self.pool_epochs

    def l0_at(self, step: int) -> float:
        """The L0 aimed at in a step of the first phase."""
        end = self.anneal * self.steps
        if step >= end:
            return self.l0
        return min(self.l0 * self.anneal_from ** (1 - step / end), max(self.l0, self.n_features / 4))

    def lr_at(self, step: int) -> float:
        return self.lr * min(1.0, (step + 1) / max(self.warmup, 1)) * _falling(step, self.steps)

    def finetune_lr_at(self, step: int) -> float:
        return self.finetune_lr * min(1.0, (step + 1) / max(self.warmup, 1)) * _falling(step, self.finetune_steps)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _falling(step: int, n_steps: int) -> float:
    """1, falling linearly to 0 over the last quarter."""
    return min(1.0, (n_steps - step) / (0.25 * n_steps))
