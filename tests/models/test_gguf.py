"""GGUF files: what is read is the model that was written, and what cannot be read is one line."""

import gguf
import numpy as np
import pytest
import torch
import transformers.modeling_gguf_pytorch_utils as reader
from gguf import GGMLQuantizationType as Kind

from silverstain.errors import Remark, UsageError
from silverstain.models import ARCHITECTURES, load_model
from silverstain.models.gguf_header import GGUF_TYPES, read_gguf_header
from silverstain.models.loading import load_outline
from silverstain.references import check_model_reference

from ..gguf_files import SIZES, write_gguf  # noqa: TID252 - tests are no package that could be named


def loaded(path):
    with pytest.warns(Remark, match="read by transformers' reader of GGUF files"):
        return load_model(path)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0])
def test_a_file_is_the_model_it_was_written_from(architecture, kind, tmp_path, capfd):
    path = tmp_path / "tiny.gguf"
    made = write_gguf(path, architecture, kind=kind)
    model = loaded(path)
    ids = torch.tensor([[5, 9, 60, 33, 8, 41, 17]])
    with torch.no_grad():
        assert torch.allclose(model.logits(ids), made(ids).logits, atol=1e-5)
    assert model.name == "tiny.gguf"
    assert model.origin is not None
    assert model.about["origin"]["weights"] == (
        "dequantised from Q8_0" if kind == Kind.Q8_0 else "weights of a GGUF file in F32"
    )
    assert all(parameter.dtype == torch.float32 for parameter in model.hf.parameters())
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_holds_one_file_is_that_model(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    check_model_reference(tmp_path)
    assert loaded(tmp_path).hash == loaded(tmp_path / "tiny.gguf").hash


def test_a_folder_of_several_files_asks_for_one_of_them(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        write_gguf(tmp_path / name)
    with pytest.raises(UsageError, match=r"holds 2 GGUF files; give one of them: .*a\.gguf"):
        load_model(tmp_path)


def test_an_outline_has_the_shapes_without_the_weights(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    outline = load_outline(tmp_path / "tiny.gguf")
    assert (outline.n_layers, outline.d_model) == (SIZES["num_hidden_layers"], SIZES["hidden_size"])
    assert outline.device.type == "meta"


def test_text_of_a_vocabulary_that_was_learned_digit_by_digit_is_cut_so(tmp_path):
    """Two spaces in front of a digit stay one token; where a digit takes the space before it along, they are two."""
    write_gguf(tmp_path / "tiny.gguf")
    model = loaded(tmp_path / "tiny.gguf")
    assert model.token_strings(model.tokenize("the  12")) == ["t", "h", "e", "  ", "1", "2"]


def test_what_opens_turns_is_no_beginning_of_a_text(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    model = loaded(tmp_path / "tiny.gguf")
    assert model.tokenizer.bos_token == "<|im_start|>"
    assert model.token_strings(model.tokenize(" the")) == [" the"]
    assert model.token_strings(model.chat("a"))[0] == "<|im_start|>"


def test_bos_is_put_where_the_file_says_so(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", "gemma3")
    model = loaded(tmp_path / "tiny.gguf")
    assert model.token_strings(model.tokenize("the"))[0] == "<bos>"


def test_every_architecture_that_is_read_is_one_of_the_table_and_of_the_reader():
    assert set(GGUF_TYPES.values()) <= set(ARCHITECTURES)
    known = {name.replace("_", "-") for name in reader.GGUF_SUPPORTED_ARCHITECTURES}
    assert set(GGUF_TYPES) <= known


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"written_as": "falcon"}, "is a GGUF file of architecture 'falcon', which is not read"),
        ({"extra": {"rope_freqs.weight": np.ones(4, dtype=np.float32)}}, r"leaves out \(rope_freqs.weight\)"),
        ({"numbers": {"llama.rope.scaling.type": "linear"}}, "has positions that are scaled"),
        ({"numbers": {"split.count": 3}}, "is one of 3 parts of a model"),
        ({"numbers": {"llama.vocab_size": 2**31}}, "its vocab_size is 2147483648, and it holds"),
        ({"extra": {"blk.0.attn_q.bias": np.ones(32, dtype=np.float32)}}, r"leaves out \(blk.0.attn_q.bias\)"),
    ],
    ids=["architecture", "frequencies", "scaling", "split", "size", "bias"],
)
def test_a_file_that_would_be_another_model_is_refused_by_name(change, words, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", **change)
    with pytest.raises(UsageError, match=words) as caught:
        load_model(tmp_path / "tiny.gguf")
    assert "\n" not in str(caught.value)


def test_a_quantisation_that_cannot_be_unpacked_is_named(tmp_path):
    block, size = gguf.GGML_QUANT_SIZES[Kind.Q8_K]
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((4, size), dtype=np.uint8), raw_dtype=Kind.Q8_K)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    assert block == 256
    with pytest.raises(UsageError, match=r"quantised as Q8_K \(token_embd.weight\), which the reader cannot unpack"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.6, 0.999])
def test_a_file_that_is_cut_short_is_refused(share, tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UsageError, match=r"cannot read .*; give a whole GGUF file"):
        load_model(path)


def test_a_file_that_is_damaged_anywhere_in_front_ends_in_one_line(tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.integers(0, 3_000, size=150):
        path.write_bytes(
            content[:place] + bytes(generator.integers(0, 256, size=8, dtype=np.uint8)) + content[place + 8 :]
        )
        said = ""
        try:
            read_gguf_header(path)
        except UsageError as error:
            said = str(error)
        assert "\n" not in said
        assert len(said) < 700


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_text("hello, this is no such file")
    with pytest.raises(UsageError, match="it does not begin as a GGUF file"):
        load_model(tmp_path / "tiny.gguf")
