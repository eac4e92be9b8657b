"""What no dense search can do without: the products x W_encᵀ of all layers, in the tiles that `above` makes."""

import torch
from torch import Tensor

from measuring import Case, Step, main

ROWS, FEATURES = 512, 1024


def make(case: Case) -> Step:
    W_enc = torch.randn(case.n_layers, case.n_features, case.d_model)

    def step(inputs: Tensor, outputs: Tensor) -> float:
        for x, W in zip(inputs, W_enc, strict=True):
            for some in x.split(ROWS):
                for those in W.split(FEATURES):
                    some @ those.T
        return 0.0

    return step


if __name__ == "__main__":
    main(make)
