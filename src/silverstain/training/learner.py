"""What learns: weights, their optimiser, and which features have fired; one step of either phase at a time.

It reads activations or batches that it is given, and knows nothing of files, pools or progress.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from silverstain.models import LanguageModel, TokenBatch
from silverstain.models.products import ProductsInBfloat16
from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.finetuning import finetuning_step
from silverstain.training.initialising import initialise_, revive_
from silverstain.training.jacobians import Tangents, mlp_tangents
from silverstain.training.kernels import faster_kernel
from silverstain.training.reconstruction import StepReport, missed, reconstruction_step
from silverstain.training.selection import first_thresholds_
from silverstain.training.team import ALONE, Team, feature_axis
from silverstain.training.weights import Scales, Weights

BETAS = (0.9, 0.99)
DRAWS = ("initialise", "order", "revive", "finetune")
"""What randomness is needed for; each draw has a generator of its own, so that none needs a state."""


def generator_for(config: TrainingConfig, what: str, step: int = 0) -> torch.Generator:
    seed = (config.seed * len(DRAWS) + DRAWS.index(what)) * 10_000_019 + step
    return torch.Generator().manual_seed(seed)


class Learner:
    """The weights of a run and everything that changes with them."""

    def __init__(
        self,
        config: TrainingConfig,
        scales: Scales,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        team: Team = ALONE,
    ) -> None:
        n_layers, d_model = scales.input_mean.shape
        self.config, self.team = config, team
        self.weights = Weights(n_layers=n_layers, d_model=d_model, config=config, scales=scales, team=team)
        self.weights.to(device=device, dtype=dtype)
        n_features = self.weights.n_features
        self.fired = torch.zeros(n_layers, n_features, dtype=torch.int64, device=device)
        """How often each feature fired since the last look."""
        self.dead = torch.zeros(n_layers, n_features, dtype=torch.bool, device=device)
        """Which features had not fired at the last look, and were not revived then."""
        self.dead_share = 0.0
        self._in_bfloat16: ProductsInBfloat16 | None = None
        self.optimizer = self._new_optimizer()
        self._set_kernel()

    @classmethod
    def start(cls, pool: Activations, config: TrainingConfig, team: Team = ALONE) -> "Learner":
        """One that begins from the tokens of a pool."""
        learner = cls(config, Scales.of(pool), device=pool.device, dtype=pool.dtype, team=team)
        weights = learner.weights
        initialise_(weights, pool, config, generator_for(config, "initialise"))
        sample = pool.part(torch.arange(min(512, pool.n_rows)))
        inputs = [weights.scales.scale_inputs(layer, x) for layer, x in enumerate(sample.inputs)]
        first_thresholds_(weights, inputs, config.l0_at(0))
        team.align_(weights)
        return learner

    def _new_optimizer(self) -> Adam:
        skip = list(self.weights.W_skip or ())
        first = [parameter for parameter in self.weights.parameters() if all(parameter is not W for W in skip)]
        groups = [{"params": first}, {"params": skip}]  # the skip begins later
        return Adam(groups, lr=self.config.lr, betas=BETAS, fused=True)

    def _set_kernel(self) -> None:
        config, weights = self.config, self.weights
        if config.decoder_kernel != "measure":
            weights.kernel = config.decoder_kernel
            return
        weights.kernel = faster_kernel(
            n_rows=config.rows, n_features=weights.n_features, n_active=round(config.l0),
            d_out=weights.d_model * weights.n_targets(0), device=weights.b_dec.device,
        )  # fmt: skip

    # steps

    def reconstruct(self, rows: Activations, step: int, model: LanguageModel | None = None) -> StepReport:
        """A step of the first phase; only Jacobian matching needs the model."""
        config = self.config
        self._set_lr(config.lr_at(step), config.skip_lr_at(step))
        report = reconstruction_step(
            self.weights, self.optimizer, rows, self.fired, l0=config.l0_at(step), sparsity=config.sparsity_at(step),
            dead=self.dead, mlps=self._mlps(model),
        )  # fmt: skip
        if (step + 1) % config.reseed_every == 0:
            self._look_for_dead()
            if step + 1 in config.revivals():
                generator = generator_for(config, "revive", step)
                inputs, errors, counts = (self.team.all_rows(part, rows) for part in missed(self.weights, rows))
                self.dead &= ~revive_(self.weights, self.optimizer, self.dead, inputs, errors, generator, counts)
        return report

    def _look_for_dead(self) -> None:
        self.dead = self.team.over_rows(self.fired) == 0
        (n_dead,) = self.team.over_features([self.dead.sum()])
        self.dead_share = int(n_dead) / (self.weights.n_layers * self.config.n_features)
        self.fired.zero_()

    def finetune(self, model: LanguageModel, batch: TokenBatch, step: int) -> StepReport:
        """A step of the second phase, `step` of it."""
        config = self.config
        if step == 0:
            self.optimizer = self._new_optimizer()
        self._set_lr(config.finetune_lr_at(step), config.finetune_lr_at(step))
        return finetuning_step(
            model, self.weights, self.optimizer, batch.to(model.device), config,
            generator_for(config, "finetune", step),
            sparsity=config.sparsity_at(config.steps + step), dead=self.dead, mlps=self._mlps(model),
            in_bfloat16=self._blocks_in_bfloat16(model),
        )  # fmt: skip

    def _blocks_in_bfloat16(self, model: LanguageModel) -> ProductsInBfloat16 | None:
        """Made at the first step of the second phase: it holds the blocks' weights once more."""
        if self.weights.products == "bfloat16" and self._in_bfloat16 is None:
            self._in_bfloat16 = ProductsInBfloat16(model)
        return self._in_bfloat16

    def _mlps(self, model: LanguageModel | None) -> Tangents | None:
        return None if model is None or not self.config.jacobian_weight else mlp_tangents(model, self.weights.scales)

    def _set_lr(self, lr: float, of_skip: float) -> None:
        for group, value in zip(self.optimizer.param_groups, (lr, of_skip), strict=True):
            group["lr"] = value
        for W in self.weights.W_skip or ():  # while it does not learn it takes no time: half as much as the encoder
            W.requires_grad_(of_skip > 0)

    # state

    def is_finite(self) -> bool:
        broken = any(not bool(parameter.isfinite().all()) for parameter in self.weights.parameters())
        return not self.team.any(broken)

    def tensors(self) -> dict[str, Tensor]:
        """All of the state but `dead_share`, by name, of all processes; only the first one's is to be kept."""
        tensors = {f"weights.{name}": tensor for name, tensor in self.weights.state_dict().items()}
        tensors |= {f"scales.{name}": getattr(self.weights.scales, name) for name in Scales.__dataclass_fields__}
        tensors |= {"dead": self.dead}
        tensors["fired"] = self.team.over_rows(self.fired)
        for name, parameter in self.weights.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{moment}"] = value
        return self._whole(tensors)

    def whole_weights(self) -> Weights | None:
        """The weights of all features, to be kept; None in all processes but the first."""
        if self.team.holds_all_features:
            return self.weights if self.team.rank == 0 else None
        tensors = self._whole(self.weights.state_dict())
        if self.team.rank:
            return None
        ours = self.weights
        scales = Scales.from_tensors({name: getattr(ours.scales, name) for name in Scales.__dataclass_fields__})
        whole = Weights(n_layers=ours.n_layers, d_model=ours.d_model, config=self.config, scales=scales)
        if ours.score_share is not None:
            whole.make_score_shares()
        whole.to(dtype=ours.b_dec.dtype).load_state_dict(tensors)
        return whole

    def _whole(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        axes = {name: feature_axis(name) for name in tensors}
        first = self.team.features_on_first
        return {name: t if (axis := axes[name]) is None else first(t, axis) for name, t in tensors.items()}

    @classmethod
    def from_tensors(
        cls,
        config: TrainingConfig,
        tensors: dict[str, Tensor],
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        team: Team = ALONE,
    ) -> "Learner":
        """One that goes on from a state, or from what of it is this process's."""
        scales = Scales.from_tensors(_under(tensors, "scales."), device)
        learner = cls(config, scales, device=device, dtype=dtype, team=team)
        weights = _under(tensors, "weights.")
        if any(name.startswith("score_share.") for name in weights):  # it began from a dictionary
            learner.weights.make_score_shares()
        learner.weights.load_state_dict(weights)
        learner.dead = tensors["dead"].to(device)
        if team.holds_all_rows or team.rank == 0:  # counted once
            learner.fired = tensors["fired"].to(device)
        for name, parameter in learner.weights.named_parameters():
            moments: dict[str, Any] = _under(tensors, f"optimizer.{name}.")
            if moments:
                learner.optimizer.state[parameter] = {key: moment.to(device) for key, moment in moments.items()}
        return learner


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
