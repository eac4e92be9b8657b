"""What is missing, broken, of another kind or not numbers is one line that says so, and exit code 2."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.bases import published
from tests.bases.published import D, Draw, F, L

from silverstain.bases import open_dictionary
from silverstain.cli import main
from silverstain.errors import UsageError


def edit(file: Path, **changes) -> None:
    """Change settings in a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_tensors(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    published.write(file, tensors)


def each(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    for file in sorted(folder.rglob(name)):
        change(file)


def _as_autoencoder(config: Path) -> None:
    hook = json.loads(config.read_text())["metadata"]["hook_name"]
    edit(config, architecture="jumprelu", metadata={"hook_name": hook})


MISTAKES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "native: a layer between is missing": (
        "circuit-tracer relu",
        lambda f: (f / "layer_1.safetensors").unlink(),
        "is not complete: layer_1.safetensors is missing; fetch it again",
    ),
    "native: a decoder is missing": (
        "circuit-tracer cross-layer relu",
        lambda f: (f / "W_dec_2.safetensors").unlink(),
        "W_dec_2.safetensors; check the path",
    ),
    "native: topk without k": (
        "circuit-tracer topk skip",
        lambda f: [
            (f / "config.yaml").write_text("model_kind: transcoder_set\nactivation: topk"),
            each(f, "*.safetensors", lambda file: edit_tensors(file, lambda t: t.pop("k"))),
        ],
        "says activation: topk and k is None; add the k that the set was trained with",
    ),
    "npz: cut short": (
        "gemma scope 1",
        lambda f: next(f.rglob("*.npz")).write_bytes(next(f.rglob("*.npz")).read_bytes()[:400]),
        "the file may be corrupt or cut short",
    ),
    "npz: two sets side by side": (
        "gemma scope 1",
        lambda f: published.gemma_scope_1(f / "width_65k", Draw(1)),
        "has more than one dictionary for layer 0",
    ),
    "gemma scope 2: a layer is missing": (
        "gemma scope 2",
        lambda f: next(f.glob("layer_1_*/params.safetensors")).unlink(),
        "has 2 of 3 layers, and layer 1 is missing; fetch the missing files",
    ),
    "gemma scope 2: an autoencoder": (
        "gemma scope 2",
        lambda f: each(f, "config.json", lambda c: edit(c, type="sae")),
        "is an autoencoder of one place",
    ),
    "gemma scope 2 cross-layer: the last layers are missing": (
        "gemma scope 2 cross-layer",
        lambda f: (f / "params_layer_2.safetensors").unlink(),
        "writes to 3 layers, 2 files were found",
    ),
    "sparsify: an autoencoder": (
        "sparsify",
        lambda f: each(f, "cfg.json", lambda c: edit(c, transcode=False)),
        "is an autoencoder (transcode is false), not a transcoder",
    ),
    "sparsify: groupmax": (
        "sparsify",
        lambda f: each(f, "cfg.json", lambda c: edit(c, activation="groupmax")),
        "activation 'groupmax' is not supported",
    ),
    "sparsify: no settings": (
        "sparsify",
        lambda f: (f / "layers.2.mlp" / "cfg.json").unlink(),
        "layers.2.mlp has no cfg.json with a k",
    ),
    "clt-training: BatchTopK without a threshold": (
        "clt-training",
        lambda f: each(f, "cfg.json", lambda c: edit(c, activation="batchtopk")),
        "was trained with BatchTopK and carries no threshold",
    ),
    "clt-training: another constant for each target": (
        "clt-training",
        lambda f: edit_tensors(f / "h.0.mlp" / "sae.safetensors", lambda t: t["post_encs.1"].fill_(1)),
        "adds another constant to an active feature for each layer it writes to",
    ),
    "clt-training: features chosen over layers": (
        "clt-training concat",
        lambda f: each(f, "cfg.json", lambda c: edit(c, topk_coalesced=True)),
        "chooses active features over several layers at once",
    ),
    "clt-training: a skip to another layer": (
        "clt-training",
        lambda f: [
            each(f, "cfg.json", lambda c: edit(c, skip_connection=True)),
            each(f, "*.safetensors", lambda file: edit_tensors(
                file, lambda t: t.update({f"W_skips.{i}": torch.ones(D, D) for i in range(L)}))),
        ],
        "has a linear skip from its input to the output of the layer 1 above it (W_skips.1)",
    ),
    "saelens: an autoencoder": (
        "saelens jumprelu",
        lambda f: each(f, "cfg.json", _as_autoencoder),
        "is an autoencoder (architecture 'jumprelu'), not a transcoder",
    ),
    "saelens: inputs normalised one by one": (
        "saelens skip",
        lambda f: each(f, "cfg.json", lambda c: edit(c, normalize_activations="layer_norm")),
        "normalises each input by itself (normalize_activations 'layer_norm'), which is not linear",
    ),
    "openmoss: token-wise norm": (
        "openmoss relu",
        lambda f: each(f, "config.json", lambda c: edit(c, norm_activation="token-wise")),
        "scales each input by its own norm (norm_activation 'token-wise')",
    ),
    "openmoss: BatchTopK": (
        "openmoss topk",
        lambda f: each(f, "config.json", lambda c: edit(c, act_fn="batchtopk")),
        "act_fn 'batchtopk' chooses features over a batch",
    ),
    "openmoss: a norm is missing": (
        "openmoss cross-layer",
        lambda f: edit_tensors(
            f / "sae_weights.safetensors", lambda t: t.pop("dataset_average_activation_norm.blocks.1.hook_resid_mid")
        ),
        "has no tensor dataset_average_activation_norm.blocks.1.hook_resid_mid",
    ),
    "openmoss: a decoder is missing": (
        "openmoss cross-layer",
        lambda f: edit_tensors(f / "sae_weights.safetensors", lambda t: t.pop("W_D.1")),
        "has 2 of 3 decoders, and decoder 1 is missing",
    ),
    "crosslayer-coding: no norms": (
        "crosslayer-coding",
        lambda f: (f / "norm_stats.json").unlink(),
        "was trained on standardised activations and has no norm_stats.json",
    ),
    "crosslayer-coding: norms of another model": (
        "crosslayer-coding",
        lambda f: edit(f / "norm_stats.json", **{"1": {"inputs": {"mean": [0.0], "std": [1.0]}}}),
        "inputs of layer 1 need 4 means and standard deviations, got 1 and 1",
    ),
    "crosslayer-coding: ranks over the batch": (
        "crosslayer-coding",
        lambda f: edit(f / "cfg.json", activation_fn="batchtopk"),
        "activation_fn 'batchtopk' ranks features over the batch",
    ),
    "CLT-Forge: a rank between is missing": (
        "CLT-Forge three ranks",
        lambda f: (f / "rank1_clt_weights.safetensors").unlink(),
        "has 2 of 3 ranks, and rank 1 is missing",
    ),
    "CLT-Forge: the last rank is missing": (
        "CLT-Forge three ranks",
        lambda f: (f / "rank2_clt_weights.safetensors").unlink(),
        f"has 5 of {F} features in 2 files; fetch the missing rank files",
    ),
    "shards that an index names": (
        "sparsify",
        lambda f: (f / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
        ),
        "model-00001-of-00002.safetensors is missing, of 1 files",
    ),
    "a pickle of more than tensors": (
        "openmoss jumprelu .pt",
        lambda f: torch.save(Path("/tmp"), next(f.rglob("*.pt"))),
        "which no weights need",
    ),
    "settings that are no object": (
        "saelens jumprelu",
        lambda f: each(f, "cfg.json", lambda c: c.write_text("[1]")),
        "holds no settings: an object was expected, list was found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    case, damage, words = MISTAKES[name]
    published.WRITERS[case](tmp_path / "theirs", Draw(0))
    damage(tmp_path / "theirs")
    assert main(["convert", str(tmp_path / "theirs"), str(tmp_path / "ours")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ours" / "config.yaml").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("case", ["circuit-tracer cross-layer jumprelu", "gemma scope 1", "sparsify", "CLT-Forge"])
def test_weights_that_are_no_numbers_are_found_when_they_are_read(case: str, bad: float, tmp_path: Path):
    published.WRITERS[case](tmp_path, Draw(0))
    file = sorted(tmp_path.rglob("*.npz" if case == "gemma scope 1" else "W_enc_1.safetensors"))
    file = file or sorted(tmp_path.rglob("*.safetensors"))
    _spoil(file[0] if len(file) < 2 else file[1], bad)
    dictionary = open_dictionary(tmp_path)
    with pytest.raises(UsageError, match=r"has \d+ values that are not numbers \(NaN or infinite\)"):
        dictionary.encode(torch.randn(L, 3, D))


def _spoil(file: Path, bad: float) -> None:
    if file.suffix == ".npz":
        import numpy as np

        arrays = dict(np.load(file))
        arrays["W_enc"][1, 2] = bad
        np.savez(file, **arrays)
        return

    def change(tensors: dict[str, torch.Tensor]) -> None:
        next(t for name, t in tensors.items() if "enc" in name and t.ndim > 1).view(-1)[3] = bad

    edit_tensors(file, change)


def test_a_nan_in_a_decoder_row_is_found_when_that_row_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    published.circuit_tracer(tmp_path, Draw(0))
    edit_tensors(tmp_path / "layer_1.safetensors", lambda t: t["W_dec"][4].fill_(float("nan")))
    monkeypatch.setattr("silverstain.bases.storage.CACHED_BYTES", 0)  # as for a large set: by row
    dictionary = open_dictionary(tmp_path)
    assert dictionary.decoder_rows(1, torch.tensor([0, 3])).isfinite().all()
    with pytest.raises(
        UsageError, match=r"W_dec of layer 1 in .*layer_1\.safetensors has 4 values that are not numbers"
    ):
        dictionary.decoder_rows(1, torch.tensor([0, 4]))


def test_an_infinite_threshold_is_a_feature_switched_off(tmp_path: Path):
    published.circuit_tracer(tmp_path, Draw(0), activation="jumprelu")
    name = "activation_function.threshold"
    edit_tensors(tmp_path / "layer_0.safetensors", lambda t: t[name][2:3].fill_(float("inf")))
    active = open_dictionary(tmp_path).encode_layer(0, torch.randn(50, D) * 9)
    assert not active[:, 2].any()


def test_a_folder_of_something_else_says_what_it_saw(tmp_path: Path):
    published.write(tmp_path / "model.safetensors", {"model.embed_tokens.weight": torch.ones(3)})
    with pytest.raises(UsageError, match=r'"model.embed_tokens.weight".* are of none of the known formats \(circuit'):
        open_dictionary(tmp_path)


def test_names_do_not_decide(tmp_path: Path):
    """A set is what its tensors say, whatever its folder is called."""
    published.sparsify(tmp_path / "gemma-scope-2-transcoders", Draw(0))
    assert open_dictionary(tmp_path / "gemma-scope-2-transcoders").metadata["format"] == "sparsify"
