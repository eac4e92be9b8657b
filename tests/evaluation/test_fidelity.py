"""Fidelity against what it must be for substitutes whose fidelity is known, and baselines against the model."""

import pytest
import torch
from tests.attribution.conftest import tiny_model
from tests.training.conftest import batches

from silverstain.bases import ConstantSubstitute, NeuronBasis, NeuronSubstitute, TokenSubstitute
from silverstain.errors import UsageError
from silverstain.evaluation import HeldOut, evaluate, evaluate_dictionary, fidelity_on, stand_in_on
from silverstain.evaluation.stream_patching import patched_layers
from silverstain.models import TokenBatch, harvest


def some_batches(n=3, seed=0):
    source = batches(seed)
    return [next(source) for _ in range(n)]


def outputs_of(model, kept):
    return torch.cat([harvest(model, batch.token_ids).mlp_outputs[:, batch.mask] for batch in kept], dim=1)


def test_all_neurons_are_the_model_itself(model):
    fidelity = evaluate_dictionary(model, NeuronSubstitute(model), some_batches())
    assert fidelity.nmse == pytest.approx(0, abs=1e-9)
    assert fidelity.kl == pytest.approx(0, abs=1e-6)
    assert fidelity.top1_match == fidelity.top1_match_determined == 1
    assert fidelity.families == {0: 1.0, 1: 1.0}
    assert fidelity.ce_recovered == pytest.approx(1, abs=1e-5)
    assert fidelity.l0 == 32


def test_fewer_neurons_keep_the_ones_that_write_most(model):
    few, more = (evaluate_dictionary(model, NeuronSubstitute(model, keep), some_batches()) for keep in (4, 16))
    assert few.l0 == 4
    assert more.l0 == 16
    assert 0 < more.nmse < few.nmse


def test_the_mean_explains_no_variance_over_the_set_though_its_batches_differ(model):
    kept = some_batches()
    mean = ConstantSubstitute(outputs_of(model, kept).mean(1))
    fidelity = evaluate_dictionary(model, mean, kept)
    assert fidelity.nmse == pytest.approx(1, rel=1e-4)
    assert fidelity.nmse_pooled == pytest.approx(1, rel=1e-4)
    assert fidelity.ce_recovered == pytest.approx(0, abs=1e-4)
    assert fidelity.l0 is None
    assert fidelity.dead is None


def test_the_affine_baseline_is_a_least_squares_fit(model):
    kept = some_batches(6)
    fidelity = evaluate_dictionary(model, NeuronSubstitute(model, 4), kept)
    y = outputs_of(model, kept).double()
    x = torch.cat([harvest(model, batch.token_ids).mlp_inputs[:, batch.mask] for batch in kept], dim=1).double()
    for layer, seen in enumerate(fidelity.affine_nmse_layers):
        design = torch.cat([x[layer], torch.ones(x.shape[1], 1, dtype=torch.float64)], dim=1)
        residual = y[layer] - design @ torch.linalg.lstsq(design, y[layer]).solution
        expected = residual.square().sum() / (y[layer] - y[layer].mean(0)).square().sum()
        assert seen == pytest.approx(float(expected), rel=1e-3)


def test_the_token_table_holds_each_tokens_mean_output(model):
    kept = some_batches()
    table = TokenSubstitute.fit(model, kept)
    outputs = outputs_of(model, kept)
    ids = torch.cat([batch.token_ids[batch.mask] for batch in kept])
    torch.testing.assert_close(table.outputs[:, 5], outputs[:, ids == 5].mean(1))
    torch.testing.assert_close(table.outputs[:, 0], outputs.mean(1))  # <bos> never counts: the mean stands in
    assert evaluate_dictionary(model, table, kept).nmse < 1


def test_figures_are_plain_json(model):
    import json

    json.dumps(evaluate_dictionary(model, NeuronSubstitute(model, 4), some_batches(1)).to_json())


def test_no_tokens_is_said(model):
    with pytest.raises(UsageError, match="no tokens to evaluate on"):
        evaluate_dictionary(model, NeuronSubstitute(model), [])


@pytest.fixture
def runs(model, monkeypatch):
    """A list that grows by one whenever the model is run."""
    found, forward = [], model.hf.forward

    def counted(*arguments, **named):
        found.append(named["input_ids"].shape)
        return forward(*arguments, **named)

    monkeypatch.setattr(model.hf, "forward", counted)
    return found


def test_the_model_itself_is_run_once_on_each_batch(model, runs):
    kept, neurons = some_batches(), NeuronSubstitute(model, 4)
    held_out = HeldOut(model, kept)
    first = fidelity_on(held_out, neurons)
    assert len(runs) == len(kept) * (1 + 1 + 1), "itself, with neurons, and with the mean output in place of its MLPs"
    runs.clear()
    assert fidelity_on(held_out, neurons) == first
    stand_in_on(held_out, held_out.affine_maps)
    assert len(runs) == len(kept) * 2, "with neurons, and with affine maps"


@pytest.mark.parametrize(("kept_bytes", "times"), [(2**30, 1), (0, 2)])
def test_a_whole_evaluation_runs_the_model_once_or_twice_where_it_cannot_be_kept(model, runs, kept_bytes, times):
    kept = some_batches()
    evaluate(model, NeuronSubstitute(model, 4), kept, kept_bytes=kept_bytes)
    n_replaced = 1 + model.n_layers + 3  # all MLPs, each alone, and three substitutes without features
    n_patched = 1 + 2 * len(patched_layers(model.n_layers))  # for the stream, then the model and the replaced one
    assert len(runs) == len(kept) * (times + n_replaced + n_patched)


def test_what_cannot_be_kept_changes_no_figure(model):
    kept, neurons = some_batches(), NeuronSubstitute(model, 4)
    size = sum(tensor.nbytes for tensor in harvest(model, kept[0].token_ids))
    found = [HeldOut(model, kept, kept_bytes=some) for some in (0, 2 * size, 2**30)]
    assert [len(held_out._kept) for held_out in found if fidelity_on(held_out, neurons)] == [0, 2, 3]
    assert len({str(fidelity_on(held_out, neurons)) for held_out in found}) == 1


@pytest.mark.parametrize("of", [NeuronSubstitute, NeuronBasis])
def test_what_writes_before_the_norm_behind_an_mlp_passes_it(of):
    model = tiny_model("gemma3")
    assert model.norm("mlp_output", 0) is not None
    ids = torch.randint(5, 40, (3, 12), generator=torch.Generator().manual_seed(0))
    batch = TokenBatch(token_ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
    found = evaluate(model, of(model), [batch])
    assert found.fidelity.nmse == pytest.approx(0, abs=1e-9)
    assert found.fidelity.kl == pytest.approx(0, abs=1e-6)
    assert found.stream_patching.agreement.value == 1
