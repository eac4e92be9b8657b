"""Patches of a contrast against the Hugging Face model edited by hand, and what is made of them."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.attribution.conftest import tiny_dictionary, tiny_model
from torch import Tensor

from silverstain.attribution import DifferenceTarget
from silverstain.attribution.secant import Contrast, contrast_graph, find_contrast
from silverstain.bases import NeuronBasis
from silverstain.errors import UsageError
from silverstain.graphs import Group
from silverstain.models import attention_through
from silverstain.verification.contrast.curves import ALL_BELOW, Curve, Turned, curves, smallest
from silverstain.verification.contrast.patching import BASE, CONTRAST, Measured, Patch, Patching
from silverstain.verification.contrast.proof import prove, prove_contrast, scores_of
from silverstain.verification.contrast.rankings import (
    DRAWS,
    Region,
    account,
    changes,
    gradient_scores,
    half_rule_scores,
    order_by,
    random_orders,
    write_sizes,
)

METHODS = ("signed", "absolute", "random", "largest_change", "gradient", "ig", "half")

SHAPES = ["gpt2", "gpt_neox", "gemma2", "phi3", "llama-biased"]
PROMPTS = [0, 11, 5, 23, 5, 40, 17], [0, 11, 7, 23, 5, 40, 17]
DOWN = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h"}


@cache
def found(shape: str, kind: str = "neurons", dtype: torch.dtype = torch.float64, seed: int = 0) -> Contrast:
    model = tiny_model(shape, dtype, seed=seed)
    basis = NeuronBasis(model) if kind == "neurons" else tiny_dictionary(kind, dtype)
    target = DifferenceTarget(token=3, minus=4)
    return find_contrast(model, basis, *PROMPTS, targets=[target])


def logits_by_hand(contrast: Contrast, run: int, edit: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The model's logits at the end, what each last projection reads passing through `edit(layer, hidden)`."""
    model, shape = contrast.model, contrast.model.name.removeprefix("tiny-")
    with ExitStack() as stack, torch.no_grad():
        for layer in range(model.n_layers):
            down: Any = model.mlp(layer).get_submodule(DOWN.get(shape, "down_proj"))
            hook = lambda _, arguments, layer=layer: (edit(layer, arguments[0].clone()),)  # noqa: E731
            stack.callback(down.register_forward_pre_hook(hook).remove)
        return model.hf(input_ids=contrast.pair.token_ids[run][None]).logits[0, -1]


def hidden(contrast: Contrast, run: int) -> list[Tensor]:
    """What each last projection reads in a run as it is."""
    seen: list[Tensor] = []
    logits_by_hand(contrast, run, lambda _, h: seen.append(h) or h)
    return seen


def difference(logits: Tensor) -> float:
    return float(logits[3] - logits[4])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("run", [BASE, CONTRAST])
def test_patched_neurons_are_the_other_runs_in_the_model_itself(shape: str, run: int):
    contrast = found(shape)
    patching, theirs = Patching(contrast), hidden(contrast, 1 - run)
    draw = torch.Generator().manual_seed(run)
    n_units = patching.offsets[-1]
    for all_but in (False, True):
        listed = [torch.randperm(n_units, generator=draw)[:k] for k in (0, 1, 30, n_units)]
        got = patching.run([Patch(run=run, units=units, all_but=all_but) for units in listed])
        for units, value, first in zip(listed, got.value, got.first, strict=True):
            chosen = torch.zeros(n_units, dtype=torch.bool)
            chosen[units] = True
            chosen = ~chosen if all_but else chosen

            def edit(layer: int, h: Tensor, chosen: Tensor = chosen) -> Tensor:
                here = chosen[slice(*list(pairwise(patching.offsets))[layer])].view(h.shape)
                return torch.where(here, theirs[layer], h)

            real = logits_by_hand(contrast, run, edit)
            # transformers rounds patterns to float32 where scores are capped
            rel = 1e-6 if shape == "gemma2" else 1e-9
            assert float(value) == pytest.approx(difference(real), rel=rel, abs=1e-11)
            assert int(first) == int(real.argmax())


def test_units_get_the_values_that_are_named_and_no_others():
    contrast = found("gpt2")
    patching = Patching(contrast)
    n_units = patching.offsets[-1]
    draw = torch.Generator().manual_seed(3)
    units, plain = torch.randperm(n_units, generator=draw)[:20], torch.randperm(n_units, generator=draw)[:5]
    values = torch.randn(20, generator=draw, dtype=torch.float64)

    def edit(layer: int, h: Tensor) -> Tensor:
        start, stop = list(pairwise(patching.offsets))[layer]
        flat = h.flatten().clone()
        here = (units >= start) & (units < stop)
        flat[units[here] - start] = values[here]
        return flat.view(h.shape)

    got = patching.run([Patch(run=BASE, units=units, values=values), Patch(run=BASE, units=plain)])
    assert float(got.value[0]) == pytest.approx(difference(logits_by_hand(contrast, BASE, edit)), rel=1e-9)
    alone = patching.run([Patch(run=BASE, units=plain)])
    assert float(got.value[1]) == pytest.approx(float(alone.value[0]), rel=1e-12)
    broken = patching.run([Patch(run=BASE, units=units, values=torch.full_like(values, torch.nan))])
    assert bool(broken.value.isnan()), "a value that is named is taken, whatever it is"


@pytest.mark.parametrize("kind", ["neurons", "per-layer-skip", "cross-layer"])
def test_nothing_patched_is_the_run_itself(kind: str):
    contrast = found("llama", kind)
    got = Patching(contrast).run([Patch(run=run, units=torch.zeros(0, dtype=torch.long)) for run in (0, 1)])
    for run in (0, 1):
        assert float(got.value[run]) == pytest.approx(difference(contrast.pair.logits[run, -1]), rel=1e-10)
        assert int(got.first[run]) == int(contrast.pair.logits[run, -1].argmax())


@pytest.mark.parametrize("shape", ["llama", "gpt_neox"])
def test_all_units_and_all_patterns_after_the_changed_token_leave_only_its_embedding(shape: str):
    """With every MLP's output and every pattern the other run's, a target that reads at a later token differs by what
    values carry of the changed embedding alone; with no pattern of the changed token seen, by nothing but that."""
    contrast = found(shape)
    patching, model = Patching(contrast), contrast.model
    every = torch.arange(patching.offsets[-1])
    n, heads = contrast.pair.n_positions, model.n_heads
    grid = torch.cartesian_prod(*(torch.arange(k) for k in (model.n_layers, heads, n, n)))
    got = float(patching.run([Patch(run=BASE, units=every, pairs=grid)]).value[0])

    theirs = hidden(contrast, 1)
    patterns = [layer.patterns()[1] for layer in contrast.pair.layers]
    with attention_through(model.hf, lambda layer, _: patterns[layer][None]):
        real = logits_by_hand(contrast, BASE, lambda layer, _: theirs[layer])
    assert got == pytest.approx(difference(real), rel=1e-9)


@pytest.mark.parametrize("kind", ["neurons", "cross-layer-skip"])
def test_patched_patterns_are_single_entries_of_the_other_run(kind: str):
    contrast = found("gemma2", kind)
    model = contrast.model
    pairs = torch.tensor([[0, 1, 6, 2], [1, 3, 6, 4], [1, 3, 4, 4], [2, 0, 6, 5]])
    for run in (BASE, CONTRAST):
        theirs = [layer.patterns()[1 - run] for layer in contrast.pair.layers]

        def edited(layer: int, pattern: Tensor, theirs: list[Tensor] = theirs) -> Tensor:
            pattern = pattern.clone()
            for at, head, query, key in pairs.tolist():
                if at == layer:
                    pattern[0, head, query, key] = theirs[layer][head, query, key]
            return pattern

        with attention_through(model.hf, edited), torch.no_grad():
            real = model.hf(input_ids=contrast.pair.token_ids[run][None]).logits[0, -1]
        none = torch.zeros(0, dtype=torch.long)
        patches = [Patch(run=run, units=none), Patch(run=run, units=none, pairs=pairs)]
        got = Patching(contrast).run(patches).value  # rows with and without pairs in one batch
        assert float(got[1]) == pytest.approx(difference(real), rel=1e-9)
        assert float(got[0]) == pytest.approx(difference(contrast.pair.logits[run, -1]), rel=1e-10)


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
def test_patched_features_write_their_change_live(kind: str):
    """By hand: what an MLP adds gets, for each patched feature, its decoder row times what it lacks."""
    contrast = found("llama", kind)
    patching, basis, model = Patching(contrast), contrast.basis, contrast.model
    units = account(contrast).abs().topk(6).indices
    added = [torch.zeros(7, model.d_model, dtype=torch.float64) for _ in range(model.n_layers)]

    def hook(layer: int) -> Any:
        def edit(_: Any, arguments: Any, out: Tensor) -> Tensor:
            part, start = contrast.flow.units[layer], patching.offsets[layer]
            for unit in (int(u) - start for u in units if start <= u < patching.offsets[layer + 1]):
                at, feature = int(part.position[unit]), part.feature[unit : unit + 1]
                lacks = part.values[1, unit] - basis.encode_layer(layer, arguments[0][0, at])[int(feature)]
                rows = basis.decoder_rows(layer, feature)[0]
                for target, row in zip(basis.targets(layer), rows, strict=True):
                    added[target][at] += lacks * row
            return out + added[layer]

        return edit

    with ExitStack() as stack, torch.no_grad():
        for layer in range(model.n_layers):
            stack.callback(model.mlp(layer).register_forward_hook(hook(layer)).remove)
        real = model.hf(input_ids=contrast.pair.token_ids[:1]).logits[0, -1]
    got = patching.run([Patch(run=BASE, units=units)]).value[0]
    assert float(got) == pytest.approx(difference(real), rel=1e-9)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    contrast = found("gpt2")
    patches = [Patch(run=k % 2, units=torch.arange(3 * k), all_but=k % 3 == 0) for k in range(9)]
    whole = Patching(contrast).run(patches)
    seen: list[int] = []
    monkeypatch.setattr("silverstain.verification.contrast.patching.TOKENS_AT_ONCE", 15)
    parts = Patching(contrast).run(patches, seen.append)
    torch.testing.assert_close(whole.value, parts.value, rtol=1e-9, atol=1e-12)
    assert seen == [2, 2, 2, 2, 1]


class Scripted(Patching):
    """A patching whose answer for K units is written down."""

    def __init__(self, contrast: Contrast, values: Sequence[float]) -> None:
        super().__init__(contrast)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "tried", [])

    def run(self, patches: Sequence[Patch], on_progress: Any = None) -> Measured:
        values: Any = self.__dict__["values"]
        self.__dict__["tried"].extend(len(p.units) for p in patches)
        return Measured(
            value=torch.tensor([values[len(p.units)] for p in patches], dtype=torch.float64),
            first=torch.tensor([3 if values[len(p.units)] > 0.5 else 9 for p in patches]),
        )


@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_number_is_that_of_trying_all(seed: int):
    """Also where a further unit turns the answer back; beyond `ALL_BELOW` where the values rise."""
    draw = torch.Generator().manual_seed(seed)
    n = (5, 30, 50, 130, 480, 500)[seed % 6]
    values = torch.randn(n + 1, generator=draw) - (2.0 if seed < 6 else 0.5)
    values[0] = -1.0
    values = values.sort().values if n > ALL_BELOW else values
    brute = next((k for k in range(n + 1) if values[k] > 0), None)
    patching = Scripted(found("gpt2"), values.tolist())
    got = smallest(patching, torch.arange(n))
    assert got == Turned(k=brute, is_first=brute is not None and bool(values[brute] > 0.5))
    assert len(set(patching.__dict__["tried"])) <= min(n + 1, 120)
    # back from the contrast run, signs are the other way
    back = smallest(Scripted(found("gpt2"), (-values).tolist()), torch.arange(n), run=CONTRAST)
    assert back.k == brute


def test_a_run_that_gives_the_other_answer_already_needs_no_unit():
    assert smallest(Scripted(found("gpt2"), [1.0] * 9), torch.arange(8)).k == 0
    assert smallest(Scripted(found("gpt2"), [-1.0]), torch.arange(0)).k is None


def test_the_smallest_number_of_a_real_contrast_is_that_of_trying_all():
    contrast = found("llama")
    patching, order = Patching(contrast), order_by(account(contrast), Region().units(contrast), 60)
    sign = 1 if difference(contrast.pair.logits[1, -1]) > difference(contrast.pair.logits[0, -1]) else -1
    assert sign == 1 or len(order)  # the order helps the change, whatever its sign
    values = patching.run([Patch(run=BASE, units=order[:k]) for k in range(len(order) + 1)]).value
    brute = next((k for k in range(len(order) + 1) if values[k] > 0), None)
    if brute is None or brute <= ALL_BELOW:
        assert smallest(patching, order).k == brute


def test_the_area_under_a_curve_is_a_mean_over_k_on_a_logarithmic_scale():
    def area(values: dict[int, float], start: float = 0.0, end: float = 1.0) -> float:
        return Curve(method="signed", run=BASE, values=values).area(start, end)

    assert area({10: 1.0}) == pytest.approx(0.5)
    assert area({10: 0.0, 100: 1.0}) == pytest.approx(0.25)
    assert area({10: 1.0, 100: 1.0}) == pytest.approx(0.75)
    assert area({10: 3.0, 100: 9.0}) == area({10: 1.0, 100: 1.0})  # what overshoots gains nothing
    assert area({10: -3.0, 100: -1.0}) == 0.0
    assert area({10: -2.0, 100: -4.0}, 0.0, -4.0) == pytest.approx(0.25 * 0.5 + 0.5 * 0.75)
    assert area({100: 1.0, 10: 0.0}) == area({10: 0.0, 100: 1.0})
    assert area({1: 0.4}) == pytest.approx(0.4)
    assert area({5: 1.0}, 2.0, 2.0) == 0.0


def test_a_region_is_layers_and_tokens_behind_the_change():
    contrast = found("gpt2")
    layers = torch.cat([torch.full((len(u),), i) for i, u in enumerate(contrast.flow.units)])
    positions = torch.cat([u.position for u in contrast.flow.units])
    assert bool(Region().units(contrast).all())
    assert Region().is_everywhere
    late = Region(from_layer=1, after_change=True)
    assert not late.is_everywhere
    assert torch.equal(late.units(contrast), (layers >= 1) & (positions > 2))
    assert torch.equal(Region(after_change=True).units(contrast), positions > 2)


def test_orders_are_of_one_size_and_only_of_what_changes():
    contrast = found("gpt2")
    within = Region(from_layer=1, after_change=True).units(contrast)
    drawn = random_orders(contrast, within, 20, torch.Generator().manual_seed(0))
    again = random_orders(contrast, within, 20, torch.Generator().manual_seed(0))
    assert len(drawn) == DRAWS
    assert all(len(order) == 20 and len(order.unique()) == 20 for order in drawn)
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not torch.equal(drawn[0], drawn[1])
    for order in (*drawn, order_by(account(contrast), within, 20), order_by(write_sizes(contrast), within, 20)):
        assert bool(within[order].all())
        assert bool((changes(contrast)[order] != 0).all())
    signed = order_by(account(contrast), within, 20)
    values = account(contrast)[signed]
    assert bool((values > 0).all() and (values.diff() <= 0).all())


def test_write_sizes_are_norms_of_what_units_write():
    for kind in ("neurons", "cross-layer"):
        contrast = found("llama", kind)
        sizes, at = write_sizes(contrast), 0
        for units in contrast.flow.units:
            rows = torch.cat([row for _, row in units.writes(torch.arange(len(units)))], dim=1)
            torch.testing.assert_close(sizes[at : at + len(units)], rows.norm(dim=1))
            at += len(units)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shares", [[0.0], [1.0], [0.1, 0.3, 0.5, 0.7, 0.9]], ids=["base", "contrast", "ig"])
def test_gradients_of_neurons_are_those_of_autograd(shape: str, shares: list[float]):
    """Plainly: the last projections' inputs as leaves of one run for each share."""
    contrast = found(shape)
    model, total = contrast.model, None
    base, other = contrast.pair.layers[0].stream
    for share in shares:
        seen: list[Tensor] = []
        entering = base + share * (other - base)
        with ExitStack() as stack:
            for layer in range(model.n_layers):
                down: Any = model.mlp(layer).get_submodule(DOWN.get(shape, "down_proj"))
                zero = torch.zeros(1, 7, 24, dtype=torch.float64, requires_grad=True)
                seen.append(zero)
                hook = lambda _, arguments, zero=zero: (arguments[0] + zero,)  # noqa: E731
                stack.callback(down.register_forward_pre_hook(hook).remove)
            block: Any = model.block(0)
            stack.callback(block.register_forward_pre_hook(lambda _, a, x=entering: (x[None], *a[1:])).remove)
            logits = model.hf(input_ids=contrast.pair.token_ids[:1]).logits[0, -1]
            gradients = torch.autograd.grad(logits[3] - logits[4], seen)
        part = torch.cat([gradient.flatten() for gradient in gradients])
        total = part if total is None else total + part
    assert total is not None
    expected = total / len(shares) * changes(contrast)
    torch.testing.assert_close(gradient_scores(contrast, shares), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer-skip"])
def test_gradients_of_features_are_those_of_what_they_write(kind: str):
    contrast = found("llama", kind)
    scores, patching, small = gradient_scores(contrast, [0.0]), Patching(contrast), 1e-6
    for unit in scores.abs().topk(4).indices.tolist():
        layer = next(i for i, stop in enumerate(patching.offsets[1:]) if unit < stop)
        units = contrast.flow.units[layer]
        one = units.writes(torch.tensor([unit - patching.offsets[layer]]))
        at = int(units.position[unit - patching.offsets[layer]])
        with ExitStack() as stack, torch.no_grad():
            for target, row in one:

                def add(_: Any, _arguments: Any, out: Tensor, row: Tensor = row, at: int = at) -> Tensor:
                    out = out.clone()
                    out[0, at] += small * row[0]
                    return out

                stack.callback(contrast.model.mlp_writer(target).register_forward_hook(add).remove)
            moved = contrast.model.hf(input_ids=contrast.pair.token_ids[:1]).logits[0, -1]
        slope = (difference(moved) - difference(contrast.pair.logits[0, -1])) / small
        assert float(scores[unit]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_the_half_rule_is_of_neurons_only():
    assert half_rule_scores(found("llama", "per-layer")) is None
    scores = half_rule_scores(found("llama"))
    assert scores is not None
    assert scores.shape == account(found("llama")).shape


def test_every_score_beats_chance_on_the_sum():
    """All are estimates of one thing, so they point the same way."""
    contrast = found("gpt2")
    scores = scores_of(contrast)
    assert set(scores) == set(METHODS) - {"random"}
    for name in ("gradient", "ig", "half"):
        assert float(torch.corrcoef(torch.stack([scores[name], scores["signed"]]))[0, 1]) > 0.3


@pytest.mark.parametrize("kind", ["neurons", "cross-layer"])
def test_a_proof_says_what_was_patched_and_what_came_of_it(kind: str):
    contrast = found("llama", kind)
    graph = contrast_graph(contrast)
    members = tuple(graph.nodes.is_unit.nonzero().flatten().tolist()[:4])
    said: list[tuple[int, int]] = []
    proof = prove(
        contrast, graph, groups=[Group(label="some", members=members)], max_sources=8, ks=(1, 4, 10),
        on_progress=lambda done, total: said.append((done, total)),
    )  # fmt: skip
    out = json.loads(json.dumps(proof.to_json()))
    assert out["kind"] == "proof of a contrast"
    assert out["base"] == pytest.approx(difference(contrast.pair.logits[0, -1]), rel=1e-9)
    assert out["contrast"] == pytest.approx(difference(contrast.pair.logits[1, -1]), rel=1e-9)
    assert {"smallest_k", "necessity", "answers", "areas", "spearman", "claims", "region", "curve_back"} <= set(out)
    assert out["smallest_k"] == out["smallest"]["signed"]["k"]
    methods = set(METHODS) - ({"half"} if kind != "neurons" else set())
    for rows in (out["curve"], out["curve_back"]):
        assert [row["k"] for row in rows] == [1, 4, 10]
        assert all(set(row) == {"k"} | methods for row in rows)
    assert [row["k"] for row in out["necessity"]] == [1, 4, 10]
    assert all(set(row) == {"k", "signed", "absolute", "random"} for row in out["necessity"])
    assert set(out["areas"]) == methods
    assert said[-1] == (6, 6)
    # what a curve says is what patching gives
    order = order_by(account(contrast), Region().units(contrast), 10)
    value = Patching(contrast).run([Patch(run=BASE, units=order[:4])]).value[0]
    assert out["curve"][1]["signed"] == pytest.approx(float(value), rel=1e-9)
    kinds = [claim["kind"] for claim in out["claims"]]
    assert kinds.count("feature") == 8
    assert kinds.count("group") == 1
    single = out["claims"][0]
    unit = order_by(account(contrast).abs(), Region().units(contrast), 1)
    there = Patching(contrast).run([Patch(run=BASE, units=unit), Patch(run=CONTRAST, units=unit)]).value.tolist()
    assert single["base"] == pytest.approx(there[0] - out["base"], rel=1e-8, abs=1e-10)
    assert single["contrast"] == pytest.approx(out["contrast"] - there[1], rel=1e-8, abs=1e-10)
    assert single["measured"] == pytest.approx((single["base"] + single["contrast"]) / 2)
    assert single["predicted"] == pytest.approx(float(account(contrast)[unit]), rel=1e-9)
    # a saved graph makes the same runs again
    again = prove_contrast(contrast.model, contrast.basis, graph, max_sources=8, ks=(1, 4, 10))
    assert again.to_json()["curve"] == proof.to_json()["curve"]


def test_curves_average_several_orders_of_a_method():
    contrast = found("gpt2")
    patching, orders = Patching(contrast), [torch.arange(5), torch.arange(50, 55)]
    (curve,) = curves(patching, {"random": orders}, ks=(2, 5))
    for k in (2, 5):
        values = patching.run([Patch(run=BASE, units=order[:k]) for order in orders]).value
        assert curve.values[k] == pytest.approx(float(values.mean()), rel=1e-9)


def test_a_region_without_units_is_refused():
    model = tiny_model("gpt2", torch.float64)
    contrast = find_contrast(
        model, NeuronBasis(model), [1, 2, 3], [1, 2, 4], targets=[DifferenceTarget(token=3, minus=4)]
    )
    with pytest.raises(UsageError, match="no unit from layer 0 on behind the changed tokens; the last token that diff"):
        prove(contrast, region=Region(after_change=True))


def test_a_graph_of_another_model_or_dictionary_is_refused():
    contrast = found("llama", "per-layer")
    graph = contrast_graph(contrast)
    with pytest.raises(UsageError, match=r"the graph is of the model tiny-llama \(.*\), and tiny-gpt2 has the hash"):
        prove_contrast(tiny_model("gpt2", torch.float64), contrast.basis, graph)
    with pytest.raises(UsageError, match=r"the graph is of the dictionary tiny-per-layer .* give --dictionary"):
        prove_contrast(contrast.model, tiny_dictionary("cross-layer"), graph)


def test_a_graph_whose_target_is_no_difference_is_refused():
    contrast = found("llama")
    alone = find_contrast(contrast.model, contrast.basis, *PROMPTS, targets=[3])
    with pytest.raises(UsageError, match="a contrast is proved by a difference of two tokens, and this graph explains"):
        prove_contrast(contrast.model, contrast.basis, contrast_graph(alone))
