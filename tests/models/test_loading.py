"""Loading is quiet, exact, and says in one line what is wrong."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, BloomForCausalLM

from silverstain.errors import UsageError
from silverstain.models import LanguageModel, load_model


def test_weights_stored_in_half_precision_are_computed_in_float32(saved, capfd):
    model = load_model(saved)
    assert {p.dtype for p in model.hf.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in model.hf.parameters())
    assert not model.hf.training
    assert model.name == "small"
    stored = load_file(saved / "model.safetensors")
    assert torch.equal(model.W_E, stored["model.embed_tokens.weight"].float())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_tied_embeddings_are_tied(saved):
    model = load_model(str(saved))
    assert model.W_E.data_ptr() == model.W_U.data_ptr()


def test_hash_is_of_the_weights_whatever_the_type_of_computing(saved, tmp_path):
    model = load_model(saved)
    assert load_model(saved, dtype=torch.float64).hash == model.hash
    model.hf.save_pretrained(tmp_path / "copy")
    model.tokenizer.save_pretrained(tmp_path / "copy")
    assert load_model(tmp_path / "copy").hash == model.hash
    changed = load_model(saved)
    next(changed.hf.parameters()).data[0, 0] += 1
    assert changed.hash != model.hash


def test_hash_tells_apart_equal_weights_under_other_rotary_frequencies(model):
    config = transformers.LlamaConfig(**{**model.hf.config.to_dict(), "rope_parameters": None, "rope_theta": 77.0})
    other = transformers.LlamaForCausalLM(config)
    other.load_state_dict(model.hf.state_dict())
    assert LanguageModel(other, model.tokenizer, name="other").hash != model.hash


def test_the_settings_of_transformers_are_restored(saved):
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    load_model(saved)
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no model at .*nowhere: it is not a folder") as caught:
        load_model(tmp_path / "nowhere")
    one_line(caught)
    with pytest.raises(UsageError, match=r"it has no config.json"):
        load_model(tmp_path)


def test_truncated_weights_are_refused(saved):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"cannot read .*small.*model.safetensors: .*fetch it again") as caught:
        load_model(saved)
    one_line(caught)


def test_corrupt_weights_are_refused(saved):
    (saved / "model.safetensors").write_bytes(b"not a safetensors file at all")
    with pytest.raises(UsageError, match=r"cannot read .*model.safetensors") as caught:
        load_model(saved)
    one_line(caught)


def test_missing_weights_file_is_refused(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"cannot load the model of .*small") as caught:
        load_model(saved)
    one_line(caught)


def test_weights_that_lack_a_tensor_are_refused_not_filled_with_noise(saved):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"the weights of .*small lack model.layers.1.mlp.up_proj.weight") as caught:
        load_model(saved)
    one_line(caught)


def test_weights_of_other_sizes_than_the_configuration_are_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "intermediate_size": 20}))
    with pytest.raises(UsageError, match="small") as caught:
        load_model(saved)
    one_line(caught)


def test_broken_configuration_is_refused(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"cannot read .*config.json") as caught:
        load_model(saved)
    one_line(caught)


def test_missing_tokenizer_is_refused(saved):
    for file in saved.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UsageError, match=r"cannot load the tokenizer of .*small") as caught:
        load_model(saved)
    one_line(caught)


def test_unsupported_architecture_is_refused_before_its_weights_are_read(tmp_path):
    shape = {"n_layer": 1, "hidden_size": 8, "n_head": 1, "vocab_size": 4}
    BloomForCausalLM(BloomConfig(**shape)).save_pretrained(tmp_path)
    words = r"is of type 'bloom', which is not supported yet .*write an entry Architecture\(model_type='bloom', …\)"
    with pytest.raises(UsageError, match=words) as caught:
        load_model(tmp_path)
    one_line(caught)


def test_a_reference_that_no_hub_id_can_be_is_refused():
    with pytest.raises(UsageError, match="cannot load the model of a b/c") as caught:
        load_model("a b/c")
    one_line(caught)
