"""What training lowers besides reconstruction: each loss a function, added where its setting asks for it.

Losses are means over tokens and layers, in units of each output's variance, so that one weight suits all sizes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from silverstain.training.kernels import Active, sparse_encode
from silverstain.training.scanning import above
from silverstain.training.selection import among_best_of_row
from silverstain.training.team import ALONE, Team
from silverstain.training.thresholding import step
from silverstain.training.weights import Weights

SATURATION = 4.0
"""c of tanh(c · size): a feature that adds a quarter of an output's root mean square pays three quarters."""
PRE_ACTIVATION_ROWS = 256
"""Tokens of a step on which the pre-activation loss is taken: it needs all features, and rows are shuffled."""


def squared_error(
    targets: list[Float[Tensor, "row d_model"]],
    outputs: list[Float[Tensor, "row d_model"]],
    counts: Sequence[Float[Tensor, " row"] | None] | None = None,
) -> tuple[Float[Tensor, ""], list[Float[Tensor, "row d_model"]]]:
    """Mean squared error in units of each output's variance, mean over layers; and what each layer leaves over.

    `counts` are the weights of the rows of each layer (`massive`), None where all count 1.
    """
    triples = list(zip(targets, outputs, counts or [None] * len(targets), strict=True))
    loss = torch.stack([_mean_square(output, target, count) for target, output, count in triples]).mean()
    return loss, [target - output.detach() for target, output, _ in triples]


def _mean_square(output: Tensor, target: Tensor, count: Tensor | None) -> Float[Tensor, ""]:
    if count is None:
        return F.mse_loss(output, target)
    return ((output - target).square().mean(1) * count).mean()


def plain_nmse(
    errors: list[Float[Tensor, "row d_model"]], targets: list[Float[Tensor, "row d_model"]], team: Team = ALONE
) -> Float[Tensor, ""]:
    """The mean over layers of Σ‖error‖² ÷ Σ‖target‖² over a step's rows, every row counted as it is: how much massive
    rows hold differs from step to step."""
    sizes = torch.stack([target.square().mean() for target in targets])
    sizes = team.over_rows(team.share_of_mean(sizes, targets[0].shape[0]))
    missed = torch.stack([error.square().mean() for error in errors])
    return (missed / sizes.clamp_min(1e-30)).mean()


def tanh_sparsity(
    values: Float[Tensor, " active"], norms: Float[Tensor, " feature"], active: Active, d_model: int
) -> Float[Tensor, ""]:
    """Σ tanh(c · activation · ‖decoder row‖ / √d) a token: about the number of features that matter.

    ‖decoder row‖ counts all layers written to and has a gradient, so that nothing is gained by a small activation and a
    large decoder, or the other way round. Division by √d makes it a share of an output's root mean square.
    """
    return torch.tanh(SATURATION * values * norms[active.features] / d_model**0.5).sum() / active.n_rows


def l0_sparsity(
    z: Float[Tensor, " active"], cut: Float[Tensor, " active"], bandwidth: float, n_rows: int
) -> Float[Tensor, ""]:
    """The number of active features a token; its gradient moves pre-activations, thresholds and decoder norms."""
    return step(z, cut, bandwidth).sum() / n_rows


def sparsity_loss(weights: Weights, z: list[Tensor], values: list[Tensor], active: list[Active]) -> Float[Tensor, ""]:
    """The sparsity loss of this configuration's shape, a token and layer."""
    config, layers = weights.config, range(weights.n_layers)
    if config.sparsity_shape == "l0":
        parts = [l0_sparsity(z[i], weights.cuts(i, active[i]), config.bandwidth, active[i].n_rows) for i in layers]
    else:
        parts = [tanh_sparsity(values[i], weights.decoder.norms(i), active[i], weights.d_model) for i in layers]
    (total,) = weights.team.over_features([torch.stack(parts).mean()])
    return total


def pre_activation_loss(weights: Weights, inputs: list[Tensor]) -> Float[Tensor, ""]:
    """Σ max(0, −pre-activation) over all features, a token and layer."""
    parts = []
    for layer, x in enumerate(inputs):
        some = x[:PRE_ACTIVATION_ROWS]
        z = torch.addmm(weights.b_enc[layer], some, weights.W_enc[layer].T)
        parts.append(torch.relu(-z).sum() / some.shape[0])
    (total,) = weights.team.over_features([torch.stack(parts).mean()])
    return total


def auxiliary_loss(
    weights: Weights,
    inputs: list[Tensor],
    errors: list[Tensor],
    dead: Bool[Tensor, "layer feature"],
    counts: Sequence[Float[Tensor, " row"] | None] | None = None,
) -> Float[Tensor, ""]:
    """What `aux_k` dead features a token and layer leave of what the living left, as a share of it.

    They reconstruct the errors of all layers they reach, together: the residual of the whole dictionary, not of one
    layer. Only features that would fire but for the threshold take part; `initialising.revive_` is for the others.
    """
    aims = [error.detach() for error in errors]
    active = [_best_dead(weights, layer, x, dead[layer]) for layer, x in enumerate(inputs)]
    values = [weights.pre_activations(layer, x, active[layer]) for layer, x in enumerate(inputs)]
    found: list[Tensor] = [torch.zeros_like(aim) for aim in aims]
    for layer, x in enumerate(inputs):
        written = weights.decoder.write(layer, x, values[layer], active[layer], weights.kernel)
        for target, part in enumerate(written.unbind(1), layer):
            found[target] = found[target] + part
    left, _ = squared_error(aims, weights.team.over_features(found), counts)
    whole, _ = squared_error(aims, [torch.zeros_like(aim) for aim in aims], counts)
    return left / weights.team.over_rows(weights.team.share_of_mean(whole, aims[0].shape[0])).clamp_min(1e-12)


@torch.no_grad()
def _best_dead(weights: Weights, layer: int, x: Tensor, dead: Bool[Tensor, " feature"]) -> Active:
    """The dead features of highest positive score of each token, at most `aux_k`."""
    features = dead.nonzero().view(-1)
    W_enc, b_enc = weights.W_enc[layer][features], weights.b_enc[layer][features]
    active, values = above(x, W_enc, b_enc, torch.zeros_like(b_enc))
    norms = weights.decoder_norms(layer)[features]
    best = active.keep(among_best_of_row(values * norms[active.features], active, weights.config.aux_k, weights.team))
    return Active(rows=best.rows, features=features[best.features], n_rows=x.shape[0], n_features=weights.n_features)


def _first_rows(active: Active, n: int) -> Active:
    """The entries of the first n rows, which come first."""
    stop = int(active.row_starts[n])
    return Active(rows=active.rows[:stop], features=active.features[:stop], n_rows=n, n_features=active.n_features)


def jacobian_loss(
    weights: Weights,
    inputs: list[Float[Tensor, "_ d_model"]],
    values: list[Float[Tensor, " _"]],
    active: list[Active],
    directions: list[Float[Tensor, "row d_model"]],
    tangents: list[Float[Tensor, "row d_model"]],
) -> Float[Tensor, ""]:
    """How far the dictionary's directional derivatives are from those of the MLPs, `tangents`, as a share of these.

    Everything is in scaled units and of the first rows alone, as many as `directions` have. Which features are active
    is held: that is the derivative of JumpReLU wherever it has one.
    """
    n = directions[0].shape[0]
    found: list[Tensor] = [torch.zeros_like(tangent) for tangent in tangents]
    for layer, dx in enumerate(directions):
        x, here = inputs[layer][:n], _first_rows(active[layer], n)
        on = values[layer][: len(here)]
        no_bias = torch.zeros_like(weights.b_enc[layer])
        change = sparse_encode(dx, weights.W_enc[layer], no_bias, here) * (on > 0)
        written = weights.decoder.write_tangent(layer, x, dx, on, change, here, weights.kernel)
        for target, part in enumerate(written.unbind(1), layer):
            found[target] = found[target] + part
        if weights.W_skip is not None:
            found[layer] = found[layer] + weights.team.counted_once(dx @ weights.W_skip[layer].T)
    found = weights.team.over_features(found)
    parts = [
        (tangent - seen).square().mean() / tangent.square().mean().clamp_min(1e-12)
        for tangent, seen in zip(tangents, found, strict=True)
    ]
    return torch.stack(parts).mean()


DIVERGENCE_ROWS = 64
"""Positions whose divergence is computed at once: their logits stay in the cache, where those of all would not."""


def divergence_sum(
    teacher: Float[Tensor, "row d_vocab"],
    student: Float[Tensor, "row d_vocab"],
    importance: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """Σ importance · KL(teacher ‖ student) in nats; differentiable in the student's logits alone.

    The gradient, importance · (softmax(student) − softmax(teacher)), is made along with the value, a block of rows at
    a time: no tensor of the logits' size is held beside it. Rows of no importance are not looked at.
    """
    return _DivergenceSum.apply(teacher, student, importance)  # type: ignore[no-any-return]


class _DivergenceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, teacher, student, importance):  # type: ignore[no-untyped-def]
        grad, total = torch.zeros_like(student), student.new_zeros(())
        for rows in importance.nonzero().view(-1).split(DIVERGENCE_ROWS):
            log_p, log_q = (logits[rows].log_softmax(-1) for logits in (teacher, student))
            p, weight = log_p.exp(), importance[rows]
            total += ((p * (log_p - log_q)).sum(-1) * weight).sum()
            grad[rows] = log_q.exp_().sub_(p).mul_(weight[:, None])
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx, grad_of_sum):  # type: ignore[no-untyped-def]
        (grad,) = ctx.saved_tensors
        return None, grad * grad_of_sum, None
