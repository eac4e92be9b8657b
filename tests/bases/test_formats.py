"""Every published format: read, compared with its own formula, converted and read again."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bases.published import WRITERS, D, Draw, F, L
from torch import Tensor

from silverstain.bases import Dictionary, open_dictionary, save_dictionary
from silverstain.cli import main

EXPECTED = {  # the first words of a case name its format
    "circuit-tracer": "circuit-tracer",
    "gemma scope 1": "Gemma Scope 1",
    "gemma scope 2 cross-layer": "Gemma Scope 2 cross-layer",
    "gemma scope 2": "Gemma Scope 2",
    "sparsify": "sparsify",
    "clt-training": "clt-training",
    "saelens": "SAELens",
    "openmoss cross-layer": "OpenMOSS cross-layer",
    "openmoss": "OpenMOSS",
    "crosslayer-coding": "crosslayer-coding",
    "CLT-Forge": "CLT-Forge",
}


def run(dictionary: Dictionary, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Dense activations of each layer, and the reconstruction through sparse decoding."""
    acts = [dictionary.encode_layer(layer, x[layer]) for layer in range(dictionary.n_layers)]
    return acts, dictionary.reconstruct(dictionary.encode(x, n_real=0), x)


def agree(dictionary: Dictionary, oracle, x: Tensor, *, tolerance: float = 1e-4) -> None:
    acts, out = run(dictionary, x)
    wanted_acts, wanted_out = oracle(x)
    for found, wanted in zip(acts, wanted_acts, strict=True):
        assert ((found != 0) == (wanted != 0)).all()
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(out, wanted_out, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("case", WRITERS)
def test_a_format_is_read_as_its_definition_says(case: str, tmp_path: Path):
    wanted = WRITERS[case](tmp_path, Draw(0))
    dictionary = open_dictionary(tmp_path)
    assert dictionary.metadata["format"] == next(name for prefix, name in EXPECTED.items() if case.startswith(prefix))
    assert (dictionary.n_layers, dictionary.n_features, dictionary.d_model) == (L, F, D)
    assert (dictionary.activation, dictionary.is_cross_layer) == (wanted.activation, wanted.is_cross_layer)
    assert (dictionary.reads_at, dictionary.writes_at) == (wanted.reads_at, wanted.writes_at)
    agree(dictionary, wanted.oracle, torch.randn(L, 9, D, generator=torch.Generator().manual_seed(1)))


@settings(max_examples=12, deadline=None)
@given(case=st.sampled_from(sorted(WRITERS)), seed=st.integers(0, 2**31), n_positions=st.integers(1, 5))
def test_any_weights_and_inputs_agree_with_the_formula(case: str, seed: int, n_positions: int):
    with tempfile.TemporaryDirectory() as folder:
        draw = Draw(seed)
        wanted = WRITERS[case](Path(folder), draw)
        agree(open_dictionary(folder), wanted.oracle, draw(L, n_positions, D), tolerance=1e-3)


@pytest.mark.parametrize("case", WRITERS)
def test_converting_keeps_what_is_computed(case: str, tmp_path: Path):
    wanted = WRITERS[case](tmp_path / "theirs", Draw(2))
    theirs = open_dictionary(tmp_path / "theirs")
    written = save_dictionary(theirs, tmp_path / "ours")
    ours = open_dictionary(tmp_path / "ours")
    assert ours.metadata["format"] == "circuit-tracer"
    assert (ours.activation, ours.k, ours.has_skip) == (theirs.activation, theirs.k, theirs.has_skip)
    assert (ours.reads_at, ours.writes_at) == (wanted.reads_at, wanted.writes_at)
    x = torch.randn(L, 9, D, generator=torch.Generator().manual_seed(1))
    agree(ours, wanted.oracle, x)
    for layer in range(L):
        assert torch.equal(ours.W_enc(layer), theirs.W_enc(layer))
        assert torch.equal(ours.W_dec(layer)[:, : len(theirs.targets(layer))], theirs.W_dec(layer))
    (tmp_path / "ours" / "silverstain.json").unlink()
    again = open_dictionary(tmp_path / "ours")  # as circuit-tracer would see it
    assert again.hash == written == ours.hash
    assert (again.activation, again.k) == (theirs.activation, theirs.k)


@pytest.mark.parametrize("case", WRITERS)
def test_rows_are_those_of_the_whole(case: str, tmp_path: Path):
    WRITERS[case](tmp_path, Draw(3))
    features = torch.tensor([5, 0, 5, 2])
    by_row, whole = open_dictionary(tmp_path), open_dictionary(tmp_path)
    for layer in range(L):
        assert torch.equal(by_row.decoder_rows(layer, features), whole.W_dec(layer)[features])
        assert torch.equal(by_row.encoder_rows(layer, features), whole.W_enc(layer)[features])


def test_convert_says_what_it_read_and_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    WRITERS["sparsify"](tmp_path / "theirs", Draw(4))
    words = ["convert", str(tmp_path / "theirs"), str(tmp_path / "ours"), "--model-name", "org/model"]
    assert main([*words, "--dtype", "bfloat16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    ours = open_dictionary(tmp_path / "ours")
    assert (report["format"], report["activation"], report["k"]) == ("sparsify", "topk", 2)
    assert (report["hash"], report["dtype"], ours.stored_dtype) == (ours.hash, "bfloat16", torch.bfloat16)
    assert ours.metadata["model_name"] == "org/model"
    assert main(words) == 2
    assert "there is a dictionary in" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    said = "sparsify: per-layer, 3 layers of 7 features of width 4, topk (k 2), with a linear skip"
    assert said in capsys.readouterr().out
