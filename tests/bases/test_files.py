"""What is written reads back the same, lazily, and broken folders are named."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tests.golden.cases import GEMMA2, GPT2, LLAMA, cases
from transformers import Gemma2ForCausalLM

from silverstain.bases import Dictionary, open_dictionary, save_dictionary
from silverstain.bases import storage as lazy
from silverstain.documents import read_json
from silverstain.errors import UsageError
from silverstain.models import load_model, record
from silverstain.storage import read_tensors


def same(one: Dictionary, other: Dictionary) -> None:
    """Equal in every tensor, in what they compute, and in what is known of them."""
    x = torch.randn(one.n_layers, 5, one.d_model, generator=torch.Generator().manual_seed(3))
    a, b = one.encode(x), other.encode(x)
    for left, right in zip(vars(a).values(), vars(b).values(), strict=True):
        assert torch.equal(torch.as_tensor(left), torch.as_tensor(right))
    assert torch.equal(one.reconstruct(a, x), other.reconstruct(b, x))
    features = torch.tensor([5, 1, 1, 9])
    for layer in range(one.n_layers):
        assert torch.equal(one.decoder_rows(layer, features), other.decoder_rows(layer, features))
        assert torch.equal(one.encoder_rows(layer, features), other.encoder_rows(layer, features))
        assert torch.equal(one.W_dec(layer), other.W_dec(layer))
    for name in ("n_layers", "n_features", "d_model", "activation", "is_cross_layer", "hash", "model_hash", "name"):
        assert getattr(one, name) == getattr(other, name), name


def test_from_memory_and_from_disk_behave_the_same(dictionary, tmp_path):
    returned = save_dictionary(dictionary, tmp_path / "d")
    opened = open_dictionary(tmp_path / "d")
    same(dictionary, opened)
    assert returned == opened.hash
    assert opened.metadata["steps"] == 7


def test_large_tensors_are_read_by_row_and_not_kept(dictionary, tmp_path, monkeypatch):
    save_dictionary(dictionary, tmp_path)
    monkeypatch.setattr(lazy, "CACHED_BYTES", 0)
    opened = open_dictionary(tmp_path)
    same(dictionary, opened)
    assert opened.decoder_rows(0, torch.tensor([], dtype=torch.long)).shape[0] == 0
    assert opened._source._cache == {}


def test_small_tensors_are_read_from_disk_once(dictionary, tmp_path):
    save_dictionary(dictionary, tmp_path)
    opened = open_dictionary(tmp_path)
    assert opened._source._cache == {}  # opening reads headers only
    assert opened.W_enc(0).data_ptr() == opened.W_enc(0).data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_halves_the_file_and_is_computed_in_float32(dictionary, tmp_path, dtype):
    returned = save_dictionary(dictionary, tmp_path, dtype=dtype)
    opened = open_dictionary(tmp_path)
    assert opened.W_enc(0).dtype == torch.float32
    assert torch.equal(opened.W_enc(0), dictionary.W_enc(0).to(dtype).float())
    (tmp_path / "silverstain.json").unlink()
    assert open_dictionary(tmp_path).hash == returned  # recorded and recomputed are the same
    stored, _ = read_tensors(next(tmp_path.glob("*0.safetensors")))
    assert {tensor.dtype for tensor in stored.values()} == {dtype}


def test_files_are_named_and_keyed_as_circuit_tracer_reads_them(dictionary, tmp_path):
    save_dictionary(dictionary, tmp_path, model_name="toy")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    optional = {"threshold": dictionary.activation == "jumprelu", "W_skip": dictionary.W_skip(0) is not None}
    assert config["model_name"] == "toy"
    assert config["feature_input_hook"] == "mlp.hook_in"
    if dictionary.is_cross_layer:
        assert config["model_kind"] == "cross_layer_transcoder"
        encoder, _ = read_tensors(tmp_path / "W_enc_1.safetensors")
        decoder, _ = read_tensors(tmp_path / "W_dec_1.safetensors")
        expected = {"W_enc_1", "b_enc_1", "b_dec_1"} | {f"{key}_1" for key, there in optional.items() if there}
        assert set(encoder) == expected
        assert decoder["W_dec_1"].shape == (dictionary.n_features, 2, dictionary.d_model)
    else:
        assert config["model_kind"] == "transcoder_set"
        names = {"threshold": "activation_function.threshold", "W_skip": "W_skip"}
        stored, _ = read_tensors(tmp_path / "layer_1.safetensors")
        assert set(stored) == {"W_enc", "W_dec", "b_enc", "b_dec"} | {
            names[k] for k, there in optional.items() if there
        }
        assert stored["W_dec"].shape == (dictionary.n_features, dictionary.d_model)


def test_writing_over_another_dictionary_leaves_nothing_of_it_and_keeps_strangers(dictionary, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    layers = torch.ones(9, 4, 3)
    larger = Dictionary.from_tensors(W_enc=layers, b_enc=layers[..., 0], W_dec=layers, b_dec=torch.ones(9, 3))
    save_dictionary(larger, tmp_path)
    save_dictionary(dictionary, tmp_path)
    same(dictionary, open_dictionary(tmp_path))
    assert not list(tmp_path.glob("*_8.safetensors"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_dictionary_can_be_written_over_itself(dictionary, tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "CACHED_BYTES", 0)
    save_dictionary(dictionary, tmp_path)
    save_dictionary(open_dictionary(tmp_path), tmp_path)
    same(dictionary, open_dictionary(tmp_path))


def test_an_interrupted_write_leaves_what_was_there(dictionary, tmp_path, monkeypatch):
    from silverstain.bases import writing

    save_dictionary(dictionary, tmp_path / "d")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_json_whole", interrupt)
    for place in ("d", "new"):
        with pytest.raises(KeyboardInterrupt):
            save_dictionary(dictionary, tmp_path / place)
    same(dictionary, open_dictionary(tmp_path / "d"))
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_folder_that_is_not_there_or_not_a_dictionary_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no dictionary at .*nowhere: it is not a folder"):
        open_dictionary(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"it has no config\.yaml"):
        open_dictionary(tmp_path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("model_kind: sae", "model_kind is 'sae'; supported kinds: transcoder_set, cross_layer_transcoder"),
        ("model_kind: transcoder_set\nactivation: tanh", "activation 'tanh' is not supported"),
        ("model_kind: transcoder_set", r"layer_0\.safetensors is missing"),
        ("[", "cannot read"),
        ("", "holds no settings"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, config, words):
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(UsageError, match=words):
        open_dictionary(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "corrupt", "remove"])
def test_a_damaged_file_is_named_when_the_dictionary_is_opened(dictionary, tmp_path, damage):
    save_dictionary(dictionary, tmp_path)
    file = sorted(tmp_path.glob("*_1.safetensors"))[-1]
    match damage:
        case "truncate":
            file.write_bytes(file.read_bytes()[:-8])
        case "corrupt":
            file.write_bytes(b"nonsense" * 9)
        case "remove":
            file.unlink()
    with pytest.raises(UsageError, match=file.name) as caught:
        open_dictionary(tmp_path)
    assert "\n" not in str(caught.value)


def test_facts_of_another_format_are_refused(dictionary, tmp_path):
    save_dictionary(dictionary, tmp_path)
    facts = json.loads((tmp_path / "silverstain.json").read_text())
    (tmp_path / "silverstain.json").write_text(json.dumps({**facts, "format": "silverstain.dictionary/9"}))
    with pytest.raises(UsageError, match=r"is not a silverstain\.dictionary/1 or silverstain\.dictionary/2 file"):
        open_dictionary(tmp_path)


def test_an_unwritable_folder_is_one_line(dictionary, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*choose a folder that can be written"):
        save_dictionary(dictionary, tmp_path / "file" / "below")


@pytest.mark.parametrize("case", cases(*LLAMA))
def test_per_layer_activations_and_errors_are_circuit_tracers(case: Path):
    theirs, _ = read_tensors(case / "graph.safetensors")
    run = record(load_model(case / "model"), theirs["input_tokens"])
    dictionary = open_dictionary(case / "transcoder")
    active = dictionary.encode(run.mlp_inputs)
    found = torch.stack([active.layer, active.position, active.feature], dim=1)
    assert torch.equal(found, theirs["active_features"])
    torch.testing.assert_close(active.activation, theirs["activation_values"], atol=1e-5, rtol=1e-5)
    errors = run.mlp_outputs - dictionary.reconstruct(active, run.mlp_inputs)
    torch.testing.assert_close(errors[:, 1:], theirs["error_vectors"][:, 1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", cases(*GPT2))
def test_a_relu_set_without_thresholds_opens_as_relu(case: Path):
    dictionary, n_layers = open_dictionary(case / "transcoder"), read_json(case / "meta.json")["n_layers"]
    assert (dictionary.activation, dictionary.is_cross_layer, dictionary.n_layers) == ("relu", False, n_layers)
    assert dictionary.W_skip(0) is None


@pytest.mark.parametrize("case", cases(*GEMMA2))
def test_cross_layer_activations_and_errors_are_circuit_tracers(case: Path):
    """What this set reads and writes is taken from the model by hand."""
    theirs, _ = read_tensors(case / "graph.safetensors")
    hf = Gemma2ForCausalLM.from_pretrained(case / "model", dtype=torch.float32, attn_implementation="eager").eval()
    reads, writes = [], []
    for block in hf.model.layers:
        block.pre_feedforward_layernorm.register_forward_pre_hook(lambda _, x: reads.append(x[0][0].detach()))
        block.post_feedforward_layernorm.register_forward_hook(lambda _, x, y: writes.append(y[0].detach()))
    hf(theirs["input_tokens"][None])

    dictionary = open_dictionary(case / "transcoder")
    assert (dictionary.activation, dictionary.is_cross_layer) == ("jumprelu", True)
    stream = torch.stack(reads)
    active = dictionary.encode(stream)
    found = torch.stack([active.layer, active.position, active.feature], dim=1)
    assert torch.equal(found, theirs["active_features"])
    torch.testing.assert_close(active.activation, theirs["activation_values"], atol=1e-4, rtol=1e-4)
    errors = torch.stack(writes) - dictionary.reconstruct(active, stream)
    torch.testing.assert_close(errors[:, 1:], theirs["error_vectors"][:, 1:], atol=1e-4, rtol=1e-4)
