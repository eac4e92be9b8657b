"""Dictionaries and models that do not belong together are found out, by sizes and by what they compute."""

from pathlib import Path

import pytest
import torch
from tests.bases import published
from tests.golden.cases import LLAMA, cases
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import silverstain
from silverstain.bases import Dictionary, check_fidelity, check_fits, fidelity, fitted, save_dictionary
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Recording, record

D_MODEL, N_LAYERS, WIDE = 16, 2, 32


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Random weights, norms included: an RMS norm, and a layer norm with a bias. It knows no word of the probe."""
    torch.manual_seed(0)
    if request.param == "llama":
        config = LlamaConfig(vocab_size=40, hidden_size=D_MODEL, intermediate_size=WIDE, num_hidden_layers=N_LAYERS,
                             num_attention_heads=2, initializer_range=0.3, max_position_embeddings=64)  # fmt: skip
        hf = LlamaForCausalLM(config)
    else:
        hf = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=D_MODEL, n_inner=WIDE, n_layer=N_LAYERS, n_head=2,
                                        n_positions=64, initializer_range=0.3))  # fmt: skip
    for name, parameter in hf.named_parameters():
        if "norm" in name or "ln_" in name:
            parameter.data = torch.rand_like(parameter) + 0.5
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(40)}, unk_token="t1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return LanguageModel(hf, PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t1"), name="toy")


@pytest.fixture
def recording(model: LanguageModel) -> Recording:
    generator = torch.Generator().manual_seed(0)
    return record(model, torch.randint(model.d_vocab, (32,), generator=generator))


def best_skip(inputs: Tensor, outputs: Tensor, *, site: str) -> Dictionary:
    """A dictionary that does well without features: the linear map that fits best, as its skip."""
    ones = torch.ones(*inputs.shape[:2], 1)
    solution = torch.linalg.lstsq(torch.cat([inputs, ones], dim=2)[:, 1:], outputs[:, 1:]).solution
    quiet = torch.zeros(N_LAYERS, 5, D_MODEL)
    return Dictionary.from_tensors(
        W_enc=quiet, b_enc=torch.full((N_LAYERS, 5), -1.0), W_dec=quiet, W_skip=solution[:, :-1].mT.contiguous(),
        b_dec=solution[:, -1], metadata={"feature_input_hook": site, "feature_output_hook": "hook_mlp_out"},
    )  # fmt: skip


def at(site: str, recording: Recording, model: LanguageModel) -> Tensor:
    norms = [model.norm("mlp", layer) for layer in range(model.n_layers)]
    found = []
    for norm, x, scale in zip(norms, recording.mlp_inputs, recording.mlp_norm_scale, strict=True):
        assert norm is not None
        normalised = (x - (0 if norm.bias is None else norm.bias)) / norm.weight
        found.append({"mlp.hook_in": x, "ln2.hook_normalized": normalised}.get(site, normalised / scale[:, None]))
    return torch.stack(found)


def test_one_that_reads_before_the_norms_weight_is_folded_exactly(model: LanguageModel, recording: Recording):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(N_LAYERS, *shape, generator=generator)

    theirs = Dictionary.from_tensors(
        W_enc=draw(9, D_MODEL), b_enc=draw(9), W_dec=draw(9, D_MODEL), b_dec=draw(D_MODEL),
        W_skip=draw(D_MODEL, D_MODEL), threshold=draw(9).abs(), metadata={"feature_input_hook": "ln2.hook_normalized"},
    )  # fmt: skip
    normalised = at("ln2.hook_normalized", recording, model)
    wanted = theirs.encode(normalised, n_real=0)
    ours = fitted(theirs, model)
    check_fits(ours, model)
    assert ours.hash == theirs.hash
    found = ours.encode(recording.mlp_inputs, n_real=0)
    assert torch.equal(found.feature, wanted.feature)
    torch.testing.assert_close(found.activation, wanted.activation, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        ours.reconstruct(found, recording.mlp_inputs), theirs.reconstruct(wanted, normalised), atol=1e-4, rtol=1e-4
    )


def test_a_norm_with_a_weight_of_zero_cannot_be_folded(model: LanguageModel, recording: Recording):
    dictionary = best_skip(recording.mlp_inputs, recording.mlp_outputs, site="ln2.hook_normalized")
    norm = model.norm("mlp", 1)
    assert norm is not None
    next(norm.module.parameters()).data[3] = 0
    with pytest.raises(UsageError, match="the norm of layer 1 of toy has weights that are 0"):
        fitted(dictionary, model)


def test_a_dictionary_that_does_its_work_passes(model: LanguageModel, recording: Recording):
    dictionary = best_skip(recording.mlp_inputs, recording.mlp_outputs, site="mlp.hook_in")
    found = check_fidelity(dictionary, model)
    assert 0 < found.median < 0.9
    by_hand = dictionary.reconstruct(dictionary.encode(recording.mlp_inputs), recording.mlp_inputs)[:, 1:]
    wanted = recording.mlp_outputs[:, 1:]
    share = (wanted - by_hand).square().sum((1, 2)) / (wanted - wanted.mean(1, keepdim=True)).square().sum((1, 2))
    torch.testing.assert_close(fidelity(dictionary, recording).unexplained.float(), share)


@pytest.mark.parametrize("site", ["ln2.hook_normalized", "hook_resid_mid"])
def test_a_wrong_hook_point_is_found_by_what_it_computes_and_the_right_one_named(
    model: LanguageModel, recording: Recording, site: str
):
    """The settings say mlp.hook_in, the weights were trained elsewhere; the norm's weights make it plain."""
    for layer in range(N_LAYERS):
        norm = model.norm("mlp", layer)
        assert norm is not None
        next(norm.module.parameters()).data = torch.linspace(-9, 9, D_MODEL)
    recording = record(model, recording.token_ids)
    inputs = at(site, recording, model)
    wrong = best_skip(inputs, recording.mlp_outputs, site="mlp.hook_in")
    assert fidelity(wrong, recording, inputs).median < 0.9
    check_fits(wrong, model)  # by its words there is nothing wrong with it
    with pytest.raises(UsageError, match=f"when it reads at {site}: set feature_input_hook to that") as caught:
        check_fidelity(wrong, model)
    assert "\n" not in str(caught.value)


def test_a_random_dictionary_and_one_that_writes_means_are_refused(model: LanguageModel, recording: Recording):
    silent = torch.zeros(N_LAYERS, 3, D_MODEL)
    means = Dictionary.from_tensors(
        W_enc=silent, b_enc=silent[..., 0] - 1, W_dec=silent, b_dec=recording.mlp_outputs.mean(1)
    )
    with pytest.raises(UsageError, match="does not stand in for the MLPs of toy: it leaves 100%"):
        check_fidelity(means, model)
    loud = torch.randn(N_LAYERS, 50, D_MODEL, generator=torch.Generator().manual_seed(0))
    noise = Dictionary.from_tensors(W_enc=loud, b_enc=loud[..., 0], W_dec=loud, b_dec=loud[:, 0])
    with pytest.raises(UsageError, match="check these, and that it was trained on these very weights"):
        check_fidelity(noise, model)


@pytest.mark.parametrize("case", cases(*LLAMA))
def test_the_command_line_refuses_it_and_python_can_be_told_otherwise(case: Path, capsys: pytest.CaptureFixture[str]):
    words = ["trace", "t1 t2 t3", "--model", str(case / "model"), "--dictionary", str(case / "transcoder"), "--json"]
    assert main(words) == 2
    assert "does not stand in for the MLPs of model" in capsys.readouterr().err
    loaded = silverstain.load(case / "model", dictionary=case / "transcoder", check_dictionary=False)
    assert loaded.dictionary.n_layers == loaded.model.n_layers


@pytest.mark.parametrize(("width", "depth"), [(8, N_LAYERS), (D_MODEL, 3)])
def test_another_width_or_depth_is_named(model: LanguageModel, tmp_path: Path, width: int, depth: int):
    layers = torch.ones(depth, 4, width)
    save_dictionary(
        Dictionary.from_tensors(W_enc=layers, b_enc=layers[..., 0], W_dec=layers, b_dec=layers[:, 0], name="other"),
        tmp_path,
    )
    from silverstain.bases import open_dictionary

    with pytest.raises(UsageError, match=f"the dictionary other is for {depth} layers of width {width}, toy has 2 of"):
        check_fits(open_dictionary(tmp_path), model)


def test_sites_of_published_names_are_ours():
    from silverstain.bases.sites import block_of, site_of

    assert site_of("model.layers.5.pre_feedforward_layernorm.output") == "mlp.hook_in"
    assert site_of("transformer.h.{}.mlp.input") == "mlp.hook_in"
    assert site_of("blocks.11.hook_mlp_out") == site_of("hook_mlp_out") == "hook_mlp_out"
    assert site_of("blocks.3.hook_resid_mid") == "hook_resid_mid"
    assert site_of("model.layers.5.output") == "output"
    assert site_of(None) is None
    assert [block_of(name) for name in ("blocks.12.x", "layers.7.mlp/sae", "a/layer_3_width_16k_l0_9", "sae")] == [
        12, 7, 3, None,
    ]  # fmt: skip
    assert published.L == 3
