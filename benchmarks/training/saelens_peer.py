"""SAELens, `sae-lens` from PyPI: one TopK autoencoder a layer through its own `SAETrainer.step`.

It trains no transcoders, so it reconstructs the inputs; the arithmetic is that of a per-layer transcoder.
SAELENS_VARIANT chooses "topk" or "batchtopk". Its `use_sparse_activations` does not run on a processor: torch 2.13 has
no `view` for such tensors (NotImplementedError).
"""

import os

from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    LoggingConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from measuring import Case, Step, main

VARIANT = os.environ.get("SAELENS_VARIANT", "topk")


def make(case: Case) -> Step:
    assert case.kind == "per-layer"
    trainers = [trainer(case) for _ in range(case.n_layers)]

    def step(inputs: Tensor, outputs: Tensor) -> float:
        total = 0.0
        for one, x in zip(trainers, inputs, strict=True):
            total += float(one.step(x).loss.detach())
            one.n_training_steps += 1
        return total / case.n_layers

    return step


def trainer(case: Case) -> SAETrainer:
    size = {"d_in": case.d_model, "d_sae": case.n_features, "k": case.k, "device": "cpu", "dtype": "float32"}
    if VARIANT == "batchtopk":
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**size))
    else:
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(**size))
    config = SAETrainerConfig(
        n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, total_training_samples=10**9, device="cpu",
        autocast=False, lr=1e-3, lr_end=1e-3, lr_scheduler_name="constant", lr_warm_up_steps=0, lr_decay_steps=0,
        n_restart_cycles=1, adam_beta1=0.9, adam_beta2=0.99, train_batch_size_samples=case.rows,
        dead_feature_window=1000, feature_sampling_window=2000, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    return SAETrainer(cfg=config, sae=sae, data_provider=iter(()))


if __name__ == "__main__":
    main(make, {"variant": VARIANT})
