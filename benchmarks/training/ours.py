"""Silverstain's first phase: one `reconstruction_step` on given activations, its products in the type that a run takes
here (`faster_products`)."""

import torch
from torch import Tensor
from torch.optim import Adam

from measuring import Case, Step, main
from silverstain.training.batches import Activations
from silverstain.training.config import TrainingConfig
from silverstain.training.initialising import initialise_
from silverstain.training.products import faster_products
from silverstain.training.reconstruction import reconstruction_step
from silverstain.training.selection import first_thresholds_
from silverstain.training.weights import Scales, Weights


def make(case: Case) -> Step:
    pool = Activations(inputs=case.inputs, outputs=case.outputs)
    config = TrainingConfig(
        kind=case.kind, n_features=case.n_features, l0=case.k, rows=case.rows, pool_rows=pool.n_rows
    )
    weights = Weights(n_layers=case.n_layers, d_model=case.d_model, config=config, scales=Scales.of(pool))
    weights.products = faster_products(case.d_model)
    initialise_(weights, pool, config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for b_enc in weights.b_enc:
            b_enc.zero_()  # features begin narrow: this way L0 is k from the first step on
    sample = pool.rows(torch.arange(512))
    inputs = [weights.scales.scale_inputs(layer, x) for layer, x in enumerate(sample.inputs)]
    first_thresholds_(weights, inputs, case.k)
    optimizer = Adam(weights.parameters(), lr=config.lr, betas=(0.9, 0.99), fused=True)
    fired = torch.zeros(case.n_layers, case.n_features, dtype=torch.int64)
    torch.set_flush_denormal(True)

    def step(inputs: Tensor, outputs: Tensor) -> float:
        rows = Activations(inputs=inputs, outputs=outputs)
        report = reconstruction_step(weights, optimizer, rows, fired, l0=case.k)
        assert abs(sum(report.l0) / len(report.l0) - case.k) < 0.01 * case.k, report.l0
        return report.loss

    return step


if __name__ == "__main__":
    main(make)
