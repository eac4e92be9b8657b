"""Gradients in float64: of each loss by gradcheck, of the jumps by the ramps they stand for."""

import pytest
import torch
from torch.autograd import gradcheck

from silverstain.statistics import divergence
from silverstain.training import TrainingConfig
from silverstain.training.kernels import Active, decode
from silverstain.training.losses import (
    DIVERGENCE_ROWS,
    divergence_sum,
    jacobian_loss,
    l0_sparsity,
    pre_activation_loss,
    squared_error,
    tanh_sparsity,
)
from silverstain.training.molt import groups_of, mixture, product_norms, ranks, rows_of_active
from silverstain.training.planting import Planted, recovery, train_on_planted
from silverstain.training.reconstruction import stream_loss
from silverstain.training.selection import among_best_of_row, best_of_each_token
from silverstain.training.thresholding import jump_relu, step
from silverstain.training.weights import Scales, Weights


def draw(*size, seed=0, positive=False):
    tensor = torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (tensor.abs() + 0.1 if positive else tensor).requires_grad_()


def some_active(n_rows, n_features, share=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, features = (torch.rand(n_rows, n_features, generator=generator) < share).nonzero(as_tuple=True)
    return Active(rows=rows, features=features, n_rows=n_rows, n_features=n_features)


def test_losses_pass_gradcheck():
    active = some_active(5, 7)
    n = len(active)
    assert gradcheck(lambda v, w: tanh_sparsity(v, w, active, 4), (draw(n, positive=True), draw(7, positive=True)))
    targets = [draw(3, 4, seed=1).detach(), draw(3, 4, seed=2).detach()]
    assert gradcheck(lambda a, b: squared_error(targets, [a, b])[0], (draw(3, 4), draw(3, 4, seed=5)))


def test_a_divergence_in_blocks_and_its_gradient_are_those_of_all_rows_at_once():
    n = 2 * DIVERGENCE_ROWS + 7
    teacher, student = draw(n, 11).detach(), draw(n, 11, seed=1)
    importance = draw(n, seed=2, positive=True).detach()
    importance[::3] = 0.0
    teacher[::3] = torch.nan  # what does not count is not looked at
    counted = importance > 0
    wanted = (divergence(teacher[counted], student[counted]) * importance[counted]).sum()
    (gradient,) = torch.autograd.grad(3 * wanted, student)
    found = divergence_sum(teacher, student, importance)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(3 * found, student)[0], gradient)


@pytest.mark.parametrize("bandwidth", [0.3, 1.0])
def test_the_gradient_of_a_jump_is_that_of_a_ramp(bandwidth):
    z, cut = draw(200), draw(200, seed=1, positive=True)
    g = draw(200, seed=2).detach()

    def ramp(z, cut):
        return ((z - cut) / bandwidth + 0.5).clamp(0, 1)

    for jump, smooth in (
        (step, ramp),
        (lambda z, cut, _: jump_relu(z, cut, bandwidth), lambda z, cut: z * (z > cut) + cut.detach() * ramp(z, cut)),
    ):
        found = torch.autograd.grad((g * jump(z, cut, bandwidth)).sum(), (z, cut))
        expected = torch.autograd.grad((g * smooth(z, cut)).sum(), (z, cut))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
    assert torch.equal(jump_relu(z, cut, bandwidth), z * (z > cut))
    assert found[1].abs().sum() > 0
    assert float(l0_sparsity(z, cut, bandwidth, 4).detach()) == float((z > cut).sum() / 4)


def tiny(**settings):
    """Weights in float64 of two layers of width 4 with six features, and inputs for them."""
    config = TrainingConfig(n_features=6, l0=2, rows=8, pool_rows=8, **settings)
    one = torch.ones(2, dtype=torch.float64)
    scales = Scales(input_mean=0 * draw(2, 4).detach(), input_factor=one, output_mean=0 * one[:, None].expand(2, 4),
                    output_factor=one, output_cap=torch.inf * one)  # fmt: skip
    weights = Weights(n_layers=2, d_model=4, config=config, scales=scales).double()
    for seed, parameter in enumerate(weights.parameters()):
        with torch.no_grad():
            parameter.copy_(draw(*parameter.shape, seed=seed))
    return weights, [draw(8, 4, seed=100).detach(), draw(8, 4, seed=101).detach()]


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"skip": True}, {"kind": "per-layer"}, {"widths": (2, 4)}, {"kind": "molt", "molt_rank": 2},
        {"pre_activation": 0.1}, {"aux_k": 2}, {"jacobian_weight": 0.5, "skip": True, "jacobian_rows": 5},
        {"jacobian_weight": 0.5, "kind": "molt"}, {"activation": "relu", "sparsity": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_the_whole_loss_of_a_step_passes_gradcheck_in_every_parameter(settings):
    weights, inputs = tiny(**settings)
    targets = [draw(8, 4, seed=50).detach(), draw(8, 4, seed=51).detach()]
    active = [weights.active(i, x)[0] for i, x in enumerate(inputs)]
    dead = torch.zeros(2, 6, dtype=torch.bool)
    dead[:, :3] = bool(settings.get("aux_k"))
    names = [name for name, _ in weights.named_parameters()]

    def loss(*parameters):
        found = {}

        def run():
            found["loss"] = stream_loss(
                weights, inputs, targets, active, sparsity=weights.config.sparsity, dead=dead,
                mlps=lambda x, dx: [2 * d for d in dx],
            ).total  # fmt: skip

        run_with(weights, dict(zip(names, parameters, strict=True)), run)
        return found["loss"]

    # AuxK's aim is what is left over, held: its gradient in the living features is none of a derivative's
    given = tuple(parameter.detach().clone().requires_grad_() for parameter in weights.parameters())
    if settings.get("aux_k"):
        whole = torch.autograd.grad(loss(*given), given)
        assert all(gradient.isfinite().all() for gradient in whole)
    else:
        assert gradcheck(loss, given, eps=1e-6, atol=1e-6)


def run_with(weights, parameters, run):
    """Call `run` while the parameters of `weights` are other tensors."""

    class Call(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = weights

        def forward(self):
            run()

    torch.func.functional_call(Call(), {f"weights.{name}": p for name, p in parameters.items()}, ())


def test_a_learned_threshold_moves_by_its_sparsity_and_by_its_reconstruction():
    weights, inputs = tiny(activation="jumprelu", sparsity=1.0, sparsity_shape="l0")
    targets = [draw(8, 4, seed=50).detach(), draw(8, 4, seed=51).detach()]
    found = []
    for sparsity in (0.0, 1.0):
        active = [weights.near(i, x)[0] for i, x in enumerate(inputs)]
        weights.zero_grad()
        stream_loss(weights, inputs, targets, active, sparsity=sparsity).total.backward()
        found.append([weights.log_threshold[0].grad, weights.slab[0].grad, weights.W_enc[0].grad])
    for without, with_sparsity in zip(*found, strict=True):
        assert without.abs().sum() > 0
        assert not torch.equal(without, with_sparsity)
    assert (found[1][0] - found[0][0]).max() <= 0  # sparsity can only raise a threshold


def test_pre_activation_loss_is_the_sum_of_what_is_below_zero():
    weights, inputs = tiny(pre_activation=0.1)
    expected = sum(torch.relu(-(x @ weights.W_enc[i].T + weights.b_enc[i])).sum() / 8 for i, x in enumerate(inputs)) / 2
    torch.testing.assert_close(pre_activation_loss(weights, inputs), expected)


def test_the_jacobian_loss_is_zero_for_the_dictionarys_own_derivative():
    weights, inputs = tiny(skip=True)
    active = [weights.active(i, x)[0] for i, x in enumerate(inputs)]
    values = [weights.values(i, x, active[i]) for i, x in enumerate(inputs)]
    directions = [draw(8, 4, seed=70).detach(), draw(8, 4, seed=71).detach()]

    def outputs(h):
        moved = [x + h * dx for x, dx in zip(inputs, directions, strict=True)]
        return weights.outputs(moved, [weights.values(i, x, active[i]) for i, x in enumerate(moved)], active)

    with torch.no_grad():
        own = [(a - b) / 2e-6 for a, b in zip(outputs(1e-6), outputs(-1e-6), strict=True)]
        assert float(jacobian_loss(weights, inputs, values, active, directions, own)) < 1e-12
        assert float(jacobian_loss(weights, inputs, values, active, directions, [2 * t for t in own])) > 0.1


def test_a_mixture_is_the_sum_its_formula_says_and_its_kernels_agree():
    groups = groups_of(9, 8, 4)
    sizes = ranks(groups)
    active = some_active(5, 9)
    V, U, x = draw(int(sizes.sum()), 8), draw(int(sizes.sum()), 8, seed=1), draw(5, 8, seed=2)
    values = draw(len(active), seed=3)
    expected = torch.zeros(5, 8, dtype=torch.float64)
    starts = (sizes.cumsum(0) - sizes).tolist()
    norms = product_norms(V, U, groups)
    for value, row, t in zip(values, active.rows.tolist(), active.features.tolist(), strict=True):
        part = slice(starts[t], starts[t] + int(sizes[t]))
        expected[row] = expected[row] + value * (U[part].T @ (V[part] @ x[row]))
        torch.testing.assert_close(norms[t], torch.linalg.matrix_norm(U[part].T @ V[part]))
    for kernel in ("sparse", "dense"):
        torch.testing.assert_close(mixture(x, values, active, V, U, sizes, kernel), expected, rtol=1e-9, atol=1e-9)
    assert gradcheck(lambda x, v, V, U: mixture(x, v, active, V, U, sizes), (x, values, V, U))
    assert gradcheck(lambda V, U: product_norms(V, U, groups), (V, U))
    assert len(rows_of_active(active, sizes)[1]) == int(sizes[active.features].sum())


def test_ranks_are_mixed_and_add_up():
    assert groups_of(31, 128, 32) == ((1, 32), (2, 16), (4, 8), (8, 4), (16, 2))
    assert sum(group.n for group in groups_of(100, 16)) == 100
    assert groups_of(3, 4, 1) == ((3, 1),)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 1.0])
def test_sparse_and_dense_decoding_agree_to_a_millionth(share):
    active = some_active(32, 40, share)
    values, slab = torch.rand(len(active)), torch.randn(40, 24)
    scale = float(decode(values, active, slab, "dense").abs().max()) + 1e-9
    difference = decode(values, active, slab, "sparse") - decode(values, active, slab, "dense")
    assert float(difference.abs().max()) <= 1e-6 * max(scale, 1)


@pytest.mark.parametrize("running", [0.0, 0.5, 100.0])
def test_topk_is_a_sort_of_every_row_whatever_the_running_threshold(running):
    weights, inputs = tiny(activation="topk")
    weights.score_threshold.fill_(running)
    x = inputs[0]
    active, threshold, values = best_of_each_token(weights, 0, x, 2)
    torch.testing.assert_close(values, weights.pre_activations(0, x, active).detach())
    scores = (x @ weights.W_enc[0].T + weights.b_enc[0]).detach() * weights.decoder_norms(0)
    best = scores.topk(2, dim=1)
    expected = torch.zeros(8, 6, dtype=torch.bool).scatter(1, best.indices, best.values > 0)
    found = torch.zeros(8, 6, dtype=torch.bool)
    found[active.rows, active.features] = True
    assert torch.equal(found, expected)
    assert (active.rows.diff() >= 0).all()
    assert threshold > 0


def test_the_best_of_a_row_are_as_many_as_there_are():
    active = some_active(6, 9)
    scores = torch.rand(len(active), generator=torch.Generator().manual_seed(1))
    kept = among_best_of_row(scores, active, 2)
    for row in range(6):
        here = active.rows == row
        assert set(scores[here & kept].tolist()) == set(scores[here].sort(descending=True).values[:2].tolist())


@pytest.mark.parametrize("settings", [{}, {"kind": "per-layer"}], ids=str)
def test_planted_features_are_found_again(settings):
    reach = 1 if settings.get("kind") == "per-layer" else 2
    planted = Planted.draw(d_model=32, n_features=40, n_active=2, n_layers=2, reach=reach)
    config = TrainingConfig(
        n_features=56,
        l0=2.0,
        steps=300,
        rows=512,
        pool_rows=4096,
        lr=5e-3,
        end_to_end=None,
        reseed_every=25,
        **settings,
    )
    *_, (_, learner) = train_on_planted(planted, config)
    found = recovery(planted, learner.weights)
    assert found.cosine > 0.9
    assert found.f1 > 0.8
