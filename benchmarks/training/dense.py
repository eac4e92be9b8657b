"""Our own dense reference: the loss and selection of Silverstain's first phase in plain autograd.

Encode densely, keep what is above a running threshold by a mask, decode densely, one product a layer: no sparse kernel,
and no order statistic either (the threshold follows a controller), so it is as fast as a dense trainer gets.
"""

import torch
from torch import Tensor
from torch.optim import Adam

from measuring import Case, Step, main


def make(case: Case) -> Step:
    n_layers, d_model = case.n_layers, case.d_model
    targets = [n_layers - layer if case.kind == "cross-layer" else 1 for layer in range(n_layers)]
    W_enc = [torch.randn(case.n_features, d_model).div_(d_model**0.5).requires_grad_() for _ in range(n_layers)]
    b_enc = [torch.zeros(case.n_features, requires_grad=True) for _ in range(n_layers)]
    slab = [torch.randn(case.n_features, n * d_model).mul_(0.05).requires_grad_() for n in targets]
    b_dec = torch.zeros(n_layers, d_model, requires_grad=True)
    optimizer = Adam([*W_enc, *b_enc, *slab, b_dec], lr=1e-3, betas=(0.9, 0.99), fused=True)
    threshold = first_threshold(case, W_enc[0], slab[0])

    def step(inputs: Tensor, outputs: Tensor) -> float:
        nonlocal threshold
        optimizer.zero_grad(set_to_none=True)
        made = [b_dec[layer].expand_as(outputs[layer]) for layer in range(n_layers)]
        active = 0
        for layer in range(n_layers):
            pre = torch.addmm(b_enc[layer], inputs[layer], W_enc[layer].T)
            mask = pre.detach() > threshold / slab[layer].detach().norm(dim=1).clamp_min(1e-12)
            active += int(mask.count_nonzero())
            written = (pre * mask) @ slab[layer]
            for target, part in enumerate(written.view(case.rows, targets[layer], d_model).unbind(1), layer):
                made[target] = made[target] + part
        loss = torch.stack([(y - z).square().mean() for y, z in zip(outputs, made, strict=True)]).mean()
        loss.backward()
        optimizer.step()
        threshold *= 1 + 0.1 * max(-1.0, min(1.0, active / (case.k * case.rows * n_layers) - 1))
        return loss.item()

    return step


def first_threshold(case: Case, W_enc: Tensor, slab: Tensor) -> float:
    """The score that k features of a token exceed, found on a sample of one layer."""
    with torch.no_grad():
        scores = (case.inputs[0, :256] @ W_enc.T) * slab.norm(dim=1)
        return float(scores.flatten().topk(case.k * 256).values[-1])


if __name__ == "__main__":
    main(make)
