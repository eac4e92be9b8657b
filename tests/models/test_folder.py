"""Damaged model folders: one line, at once, without memory, and nothing of them is run."""

import json
import os
import resource
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from silverstain.errors import UsageError
from silverstain.models import load_model
from silverstain.models.loading import load_outline
from silverstain.references import check_references

from ..zoo import build  # noqa: TID252 - tests are no package that could be named
from .conftest import SPECIAL, WORDS, word_tokenizer


def change(folder, file, **settings):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": "x"}, {"hidden_size": 10**12}, {"hidden_size": 10**400}, {"num_hidden_layers": 10**9},
        {"num_hidden_layers": -1}, {"num_attention_heads": 5}, {"num_attention_heads": 0}, {"vocab_size": 0},
        {"vocab_size": True}, {"intermediate_size": 1.5}, {"num_key_value_heads": []}, {"head_dim": 10**7},
        {"max_position_embeddings": "many"}, {"max_position_embeddings": 10**30}, {"rope_parameters": 7},
        {"rope_parameters": {"rope_type": "nothing"}}, {"layer_types": ["x"]}, {"hidden_act": "what"},
        {"rms_norm_eps": None}, {"model_type": ["llama"]}, {"quantization_config": 3},
        {"quantization_config": {"quant_method": "nothing"}}, {"_attn_implementation": "org/kernel"},
        {"attn_implementation": "org/kernel:attention"},
        {"auto_map": {"AutoModelForCausalLM": "x.Y"}, "model_type": "y"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_are_one_line(saved, settings, capfd):
    change(saved, "config.json", **settings)
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert time.process_time() - begun < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[" * 100_000), ("config.json", "[]"), ("config.json", "\x00"), ("config.json", '{"a": 1'),
        ("config.json", '{"model_type": "qwen3", "x": ' + '{"a":' * 900 + "1" + "}" * 901),
        ("tokenizer.json", "{}"), ("tokenizer.json", "[" * 100_000), ("tokenizer.json", ""),
        ("model.safetensors", "x"), ("model.safetensors", "\xff" * 100),
        ("generation_config.json", "{"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be_are_one_line(saved, file, content):
    (saved / file).write_text(content, encoding="latin-1")
    with pytest.raises(UsageError) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "normalizer",
    [{"type": "Precompiled", "precompiled_charsmap": "AAAA"}, {"type": "Replace"}, {"type": "what"}, 7],
)
def test_tokenizers_that_panic_are_one_line_and_nothing_else_is_written(saved, normalizer, capfd):
    change(saved, "tokenizer.json", normalizer=normalizer)
    with pytest.raises(UsageError, match="cannot load the tokenizer of"):
        load_model(saved)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_without_a_vocabulary_is_refused(saved):
    path = saved / "tokenizer.json"
    said = json.loads(path.read_text())
    said["model"]["vocab"] = {}
    path.write_text(json.dumps(said))
    with pytest.raises(UsageError, match="tokenizer"):
        load_model(saved)


class Evil:
    def __reduce__(self):
        return os.system, ("touch EXECUTED",)


def test_pickled_weights_are_never_read(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (saved / "model.safetensors").unlink()
    torch.save({"a": Evil()}, saved / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model.bin, a pickle, which can run code and is never read"):
        load_model(saved)
    assert not (tmp_path / "EXECUTED").exists()


def test_an_index_that_leads_out_of_the_folder_is_refused(saved):
    (saved / "model.safetensors").rename(saved.parent / "model.safetensors")
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(UsageError, match="outside the folder"):
        load_model(saved)


@pytest.fixture
def packed(tmp_path):
    """GPT-OSS as it is published, its experts in MXFP4, and what they are unpacked."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 8}
    hf = build("gpt_oss", vocab_size=len(SPECIAL + WORDS), **sizes)
    folder = tmp_path / "packed"
    hf.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    draw, found, plain = torch.Generator().manual_seed(3), {}, {}
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = torch.cat([values, -values])
    for name, tensor in load_file(folder / "model.safetensors").items():
        if "experts" not in name or not name.endswith("_proj"):
            found[name] = plain[name] = tensor.bfloat16()
            continue
        experts, n_in, n_out = tensor.shape
        blocks = torch.randint(0, 256, (experts, n_out, n_in // 32, 16), dtype=torch.uint8, generator=draw)
        scales = torch.randint(120, 126, (experts, n_out, n_in // 32), dtype=torch.uint8, generator=draw)
        found |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        # two values of four bits in a byte, the lower first; a power of two for 32 of them (OCP Microscaling, MXFP4)
        pair = torch.stack([values[(blocks & 15).long()], values[(blocks >> 4).long()]], dim=-1)
        scaled = pair.flatten(-2) * torch.exp2(scales.float() - 127)[..., None]
        plain[name] = scaled.flatten(-2).transpose(1, 2)
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, "config.json", quantization_config={"quant_method": "mxfp4"})
    return folder, plain


def test_mxfp4_is_unpacked_to_what_the_format_says(packed):
    folder, plain = packed
    model = load_model(folder)
    weights = dict(model.hf.named_parameters())
    for name in ("model.layers.0.mlp.experts.gate_up_proj", "model.layers.2.mlp.experts.down_proj"):
        assert weights[name].dtype == torch.float32
        assert torch.equal(weights[name], plain[name])
    assert model.logits(torch.tensor([1, 4, 5])).isfinite().all()


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "hqq", "compressed-tensors"])
def test_other_quantised_models_say_what_is_missing(saved, method):
    change(saved, "config.json", quantization_config={"quant_method": method, "bits": 4, "load_in_4bit": True})
    with pytest.raises(UsageError) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)
    assert "cannot" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "dictionary", "words"),
    [
        ("./nowhere", "d", "there is no model at ./nowhere"),
        ("a/b/c", "d", "neither a folder that is there nor a hub id"),
        ("x" * 5000, "d", "neither a folder that is there nor a hub id"),
        ("org/name", "./nowhere", r"there is no dictionary at ./nowhere.*train --model org/name.*--dictionary neurons"),
        ("organism", "~/nowhere", "there is no dictionary at ~/nowhere"),
    ],
)
def test_references_that_cannot_be_are_said_before_anything_is_loaded(model, dictionary, words):
    with pytest.raises(UsageError, match=words):
        check_references(model, dictionary)


def test_an_outline_is_refused_as_the_model_is_and_reads_no_weights(saved):
    (saved / "model.safetensors").unlink()
    assert load_outline(saved).n_layers > 0
    config = json.loads((saved / "config.json").read_text())
    for settings, words in (
        ({"model_type": "nothing"}, "nothing"),
        ({"hidden_size": "x"}, "cannot load"),
        ({"num_hidden_layers": 10**9, "layer_types": None}, "num_hidden_layers is 1000000000; no model has more"),
    ):
        (saved / "config.json").write_text(json.dumps({**config, **settings}))
        with pytest.raises(UsageError, match=words):
            load_outline(saved)
    with pytest.raises(UsageError, match="there is no model at"):
        load_outline(saved / "none")
