"""crosslayer-coding (Curt Tigges), `decode-clt` 0.0.1 from PyPI: its cross-layer transcoder, BatchTopK over all layers.

The step is that of its trainer without logging: activations, `LossManager.compute_total_loss`, counting of what fired,
backward pass, Adam. One dense decoder a pair of layers. One budget for all layers is its default; the published package
refuses the other ("per_layer"). Its sparsity penalty, of no use beside BatchTopK, is left out.
"""

import torch
from clt.config import CLTConfig, TrainingConfig
from clt.models.clt import CrossLayerTranscoder
from clt.training.losses import LossManager
from torch import Tensor

from measuring import Case, Step, main


def make(case: Case) -> Step:
    assert case.kind == "cross-layer"
    layers = range(case.n_layers)
    config = CLTConfig(
        num_features=case.n_features, num_layers=case.n_layers, d_model=case.d_model, activation_fn="batchtopk",
        batchtopk_k=case.k * case.n_layers, topk_mode="global", clt_dtype="float32",
    )  # fmt: skip
    training = TrainingConfig(
        learning_rate=1e-3, training_steps=10**6, activation_path="none", sparsity_lambda=0.0, preactivation_coef=0.0,
        apply_sparsity_penalty_to_batchtopk=False, aux_loss_factor=None, optimizer="adam",
    )  # fmt: skip
    model = CrossLayerTranscoder(config, process_group=None, device=torch.device("cpu"))
    losses = LossManager(training, clt_config=config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    since_fired = torch.zeros(case.n_layers, case.n_features)

    def step(inputs: Tensor, outputs: Tensor) -> float:
        at_inputs, at_outputs = ({layer: x[layer] for layer in layers} for x in (inputs, outputs))
        optimizer.zero_grad(set_to_none=True)
        active = model.get_feature_activations(at_inputs)
        loss, _ = losses.compute_total_loss(
            model, at_inputs, at_outputs, 0, 10**6, precomputed_activations=active, dead_neuron_mask=None
        )
        with torch.no_grad():
            for layer in layers:
                since_fired[layer] += 1
                since_fired[layer][(active[layer].detach() > 1e-6).any(dim=0)] = 0
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main(make)
