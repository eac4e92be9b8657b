"""dictionary_learning (saprmarks), `dictionary-learning` from PyPI: one TopK autoencoder a layer, its own `update`.

Its trainers take one activation, not a pair, so it reconstructs the inputs; it has no cross-layer transcoder.
"""

import os
import sys
from types import ModuleType

nnsight = ModuleType("nnsight")  # imported to read language models, which takes no part here
nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules.setdefault("nnsight", nnsight)

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.top_k import TopKTrainer  # noqa: E402
from torch import Tensor  # noqa: E402

from measuring import Case, Step, main  # noqa: E402

VARIANT = os.environ.get("DICTIONARY_LEARNING_VARIANT", "topk")


def make(case: Case) -> Step:
    assert case.kind == "per-layer"
    kind = BatchTopKTrainer if VARIANT == "batchtopk" else TopKTrainer
    trainers = [
        kind(
            steps=10**6,
            activation_dim=case.d_model,
            dict_size=case.n_features,
            k=case.k,
            layer=layer,
            lm_name="none",
            lr=1e-3,
            device="cpu",
            warmup_steps=1,
        )
        for layer in range(case.n_layers)
    ]
    n_steps = 0

    def step(inputs: Tensor, outputs: Tensor) -> float:
        nonlocal n_steps
        total = sum(one.update(n_steps, x) for one, x in zip(trainers, inputs, strict=True))
        n_steps += 1
        return total / case.n_layers

    return step


if __name__ == "__main__":
    main(make, {"variant": VARIANT})
