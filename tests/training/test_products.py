"""Products in bfloat16, where a processor has them, change a run by their rounding alone, and a run keeps its type."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from silverstain.models import LanguageModel
from silverstain.models import products as module
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.batches import harvest_rows
from silverstain.training.learner import Learner
from silverstain.training.products import HarvestInBfloat16, faster_products, product_with
from silverstain.training.scanning import above

from .conftest import D_MODEL, D_VOCAB, batches, tiny_model


def tiny_gpt2() -> LanguageModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=D_VOCAB, n_embd=D_MODEL, n_layer=2, n_head=2, n_positions=32, initializer_range=0.3)
    return LanguageModel(GPT2LMHeadModel(config), tiny_model().tokenizer, name="tiny-gpt2")


def test_a_search_in_bfloat16_finds_what_is_clear_of_the_threshold_with_exact_values():
    generator = torch.Generator().manual_seed(0)
    x, W = (torch.randn(n, 64, generator=generator) for n in (50, 300))
    b, threshold = torch.randn(300, generator=generator), torch.full((300,), 18.0)
    true = x @ W.T + b
    active, values = above(x, W, b, threshold, products=torch.bfloat16)
    torch.testing.assert_close(values, true[active.rows, active.features], rtol=1e-5, atol=1e-5)
    found = torch.zeros_like(true, dtype=torch.bool)
    found[active.rows, active.features] = True
    assert bool(found[true > 18.5].all())
    assert not bool(found[true < 17.5].any())
    assert 0 < int((true > 18.5).sum()) < len(true.view(-1)) // 20


def test_a_product_in_bfloat16_and_its_gradients_are_those_of_float32_to_rounding():
    generator = torch.Generator().manual_seed(0)
    x, W, g = (torch.randn(size, generator=generator) for size in ((40, 64), (32, 64), (40, 32)))
    found = []
    for products in ("float32", "bfloat16"):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, W)]
        y = product_with(*leaves, products)
        y.backward(g)
        found.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        assert 0 < float((exact - rounded).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize("make", [tiny_model, tiny_gpt2])
def test_a_harvest_in_bfloat16_is_the_harvest_to_rounding_and_leaves_the_model_as_it_was(make):
    tiny, batch = make(), next(batches())
    before = harvest_rows(tiny, batch)
    seen = HarvestInBfloat16(tiny)(0, batch)
    after = harvest_rows(tiny, batch)
    assert torch.equal(before.outputs, after.outputs)
    for one, other in ((seen.inputs, before.inputs), (seen.outputs, before.outputs)):
        assert not torch.equal(one, other)
        assert float((one - other).norm() / other.norm()) < 0.03


@pytest.mark.parametrize(("times", "wanted"), [((1.0, 0.3), "bfloat16"), ((1.0, 0.8), "float32")])
def test_the_faster_type_is_taken_only_where_it_is_much_faster(monkeypatch, times, wanted):
    seconds = iter(times)
    monkeypatch.setattr(module, "_seconds", lambda *_: next(seconds))
    assert faster_products(512) == wanted


def test_narrow_models_are_not_measured(monkeypatch):
    monkeypatch.setattr(module, "_seconds", None)
    assert faster_products(64) == "float32"


def test_a_resumed_run_keeps_the_type_of_its_products(model, tmp_path, monkeypatch):
    config = TrainingConfig(
        kind="per-layer", n_features=24, l0=3, steps=6, rows=40, pool_rows=80, finetune_steps=0, products="bfloat16",
        checkpoint_minutes=1e-9,
    )  # fmt: skip
    whole = train_dictionary(model, batches(), config, tmp_path / "whole")

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dictionary(model, batches(), config, tmp_path / "cut", on_progress=stop)
    again = train_dictionary(model, batches(), config, tmp_path / "cut")
    assert torch.equal(again.W_enc(1), whole.W_enc(1))
    plain = train_dictionary(
        model, batches(), TrainingConfig(**{**config.to_json(), "products": "float32"}), tmp_path / "f"
    )
    assert not torch.equal(plain.W_enc(1), whole.W_enc(1))


def test_a_second_phase_in_bfloat16_is_that_of_float32_to_rounding_and_leaves_the_model_as_it_was(model):
    config = TrainingConfig(kind="per-layer", n_features=24, l0=3, steps=1, rows=40, pool_rows=80, finetune_steps=1)
    batch = next(batches())
    before = [parameter.clone() for parameter in model.hf.parameters()]
    found = []
    for products in ("float32", "bfloat16"):
        learner = Learner.start(harvest_rows(model, batch), config)
        learner.weights.products = products
        report = learner.finetune(model, batch, 0)
        found.append((report.kl, learner.weights.W_enc[1].detach()))
    (exact, W), (rounded, W_rounded) = found
    assert 0 < abs(exact - rounded) < 0.02 * exact
    assert 0 < float((W - W_rounded).norm() / W.norm()) < 0.05
    assert all(torch.equal(a, b) for a, b in zip(before, model.hf.parameters(), strict=True))
    assert not any("forward" in module.__dict__ for module in model.hf.modules())
