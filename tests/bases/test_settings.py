"""Settings that change what is computed are honoured, as the format's formula written out slowly shows, or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.bases import published
from tests.bases.published import D, Draw, F, K, L, jump, top, write
from tests.bases.test_bad_files import each, edit, edit_tensors
from torch import Tensor

from silverstain.bases import open_dictionary, save_dictionary
from silverstain.bases.formats.settings import may_compute
from silverstain.errors import UsageError

Formula = Callable[[dict[str, Tensor], Tensor], tuple[Tensor, Tensor]]


def saelens(
    folder: Path, settings: dict[str, Any], more: Callable[[Draw], dict[str, Tensor]], *, is_flat: bool = False
):
    """Layers with these settings; gives their weights."""
    draw, layers = Draw(5), []
    for i in range(L):
        t = {"W_enc": draw(D, F), "b_enc": draw(F), "W_dec": draw(F, D), "b_dec": draw(D), **more(draw)}
        place = folder / f"layer_{i}"
        write(place / "sae_weights.safetensors", t)
        hooks = {"hook_name": f"blocks.{i}.mlp.hook_in", "hook_name_out": f"blocks.{i}.hook_mlp_out"}
        config = {"d_in": D, "d_sae": F, **(hooks if is_flat else {"metadata": hooks}), **settings}
        published.settings(place / "cfg.json", config)
        layers.append(t)
    return layers


def nothing(_: Draw) -> dict[str, Tensor]:
    return {}


def relu_of_centred(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    return acts, acts @ t["W_dec"] + t["b_dec"]


def two_biases(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    return acts, acts @ t["W_dec"] + t["b_dec_out"]


def top_by_norm(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    norms = t["W_dec"].norm(dim=1)
    acts = top((x @ t["W_enc"] + t["b_enc"]) * norms, K)
    return acts, (acts / norms) @ t["W_dec"] + t["b_dec"]


def above(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = jump(x @ t["W_enc"] + t["b_enc"], t["threshold"])
    return acts, acts @ t["W_dec"] + t["b_dec"]


def above_by_norm(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    norms = t["W_dec"].norm(dim=1)
    acts = jump((x @ t["W_enc"] + t["b_enc"]) * norms, t["threshold"])
    return acts, (acts / norms) @ t["W_dec"] + t["b_dec"]


def fine_tuned(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = (x @ t["W_enc"] + t["b_enc"]).relu()
    return acts, (acts * t["scaling_factor"]) @ t["W_dec"] + t["b_dec"]


def skipping(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts, out = above(t, x)
    return acts, out + x @ t["W_skip"].T


def plain(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = (x @ t["W_enc"] + t["b_enc"]).relu()
    return acts, acts @ t["W_dec"] + t["b_dec"]


def plain_top(t: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    acts = top(x @ t["W_enc"] + t["b_enc"], K)
    return acts, acts @ t["W_dec"] + t["b_dec"]


HONOURED: dict[str, tuple[dict[str, Any], Callable[[Draw], dict[str, Tensor]], Formula]] = {
    "bias of the input": ({"architecture": "standard", "apply_b_dec_to_input": True}, nothing, relu_of_centred),
    "bias of the input, which is the default": ({"architecture": "standard"}, nothing, relu_of_centred),
    "no bias of the input": ({"architecture": "standard", "apply_b_dec_to_input": False}, nothing, plain),
    "biases of input and output": (
        {"architecture": "standard", "is_transcoder": True}, lambda draw: {"b_dec_out": draw(D)}, two_biases),
    "ranked by norm": (
        {"architecture": "topk_transcoder", "k": K, "rescale_acts_by_decoder_norm": True}, nothing, top_by_norm),
    "k as 2.0": ({"architecture": "topk_transcoder", "k": float(K)}, nothing, plain_top),
    "k of former versions": (
        {"architecture": "standard", "apply_b_dec_to_input": False, "activation_fn_str": "topk",
         "activation_fn_kwargs": {"k": K}}, nothing, plain_top),
    "BatchTopK with thresholds": (
        {"architecture": "batchtopk_transcoder", "k": 2.5}, lambda draw: {"threshold": draw.positive(F)}, above),
    "BatchTopK with one threshold for all": (
        {"architecture": "matryoshka_batchtopk_transcoder"}, lambda draw: {"threshold": draw.positive(1)}, above),
    "BatchTopK with thresholds, by norm": (
        {"architecture": "batchtopk_transcoder", "rescale_acts_by_decoder_norm": True},
        lambda draw: {"threshold": draw.positive(F)}, above_by_norm),
    "JumpReLU with a skip": (
        {"architecture": "jumprelu_skip_transcoder"},
        lambda draw: {"threshold": draw.positive(F), "W_skip": draw(D, D)}, skipping),
    "fine-tuned factors": (
        {"architecture": "transcoder", "finetuning_scaling_factor": True},
        lambda draw: {"scaling_factor": draw(F)}, fine_tuned),
    "factors of one": (
        {"architecture": "transcoder"}, lambda _: {"scaling_factor": torch.ones(F)}, plain),
    "settings of training": (
        {"architecture": "transcoder", "noise_scale": 0.1, "lr_scheduler_name": "constant", "l1_coefficient": 5,
         "scale_sparsity_penalty_by_decoder_norm": True, "normalize_sae_decoder": False, "dataset_path": "a/b",
         "decoder_heuristic_init_norm": 0.1, "comment": "mine", "reshape_activations": "none"}, nothing, plain),
}  # fmt: skip


@pytest.mark.parametrize("name", HONOURED)
def test_saelens_settings_are_honoured(name: str, tmp_path: Path):
    settings, more, formula = HONOURED[name]
    layers = saelens(tmp_path / "theirs", settings, more, is_flat="former" in name)
    theirs = open_dictionary(tmp_path / "theirs")
    save_dictionary(theirs, tmp_path / "ours")
    x = Draw(9)(L, 6, D)
    for dictionary in (theirs, open_dictionary(tmp_path / "ours")):
        out = dictionary.reconstruct(dictionary.encode(x, n_real=0), x)
        for i, t in enumerate(layers):
            acts, wanted = formula(t, x[i])
            torch.testing.assert_close(dictionary.encode_layer(i, x[i]), acts, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(out[i], wanted, atol=1e-4, rtol=1e-4)


THRESHOLDS, BOTH = {"threshold": torch.ones(F)}, {"b_dec_out": torch.ones(D)}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Tensor], str]] = {
    "BatchTopK without thresholds": ({"architecture": "batchtopk_transcoder", "k": 3}, {}, "and has no threshold"),
    "JumpReLU without thresholds": ({"architecture": "jumprelu_transcoder"}, {}, "and has no threshold"),
    "a skip that is not there": ({"architecture": "skip_transcoder"}, {}, "has no tensor W_skip"),
    "thresholds of a ReLU one": ({"architecture": "transcoder"}, THRESHOLDS, "has a tensor threshold"),
    "thresholds of a TopK one": ({"architecture": "topk_transcoder", "k": 2}, THRESHOLDS, "has a tensor threshold"),
    "norms not folded": (
        {"architecture": "transcoder", "normalize_activations": "expected_average_only_in"}, {},
        "the factor that it was scaled by is not in its files"),
    "norms of each input": (
        {"architecture": "transcoder", "normalize_activations": "constant_norm_rescale"}, {}, "which is not linear"),
    "another activation": (
        {"architecture": "standard", "activation_fn_str": "tanh-relu"}, {}, "has the activation function 'tanh-relu'"),
    "another architecture": ({"architecture": "temporal_transcoder"}, {}, "has the architecture 'temporal_transcoder'"),
    "gated": ({"architecture": "gated_transcoder"}, {}, "is gated"),
    "heads": ({"architecture": "transcoder", "reshape_activations": "hook_z"}, {}, "reshape_activations 'hook_z'"),
    "one head": ({"architecture": "transcoder", "hook_head_index": 3}, {}, "of a single attention head"),
    "bias of a transcoder's input": (
        {"architecture": "transcoder", "apply_b_dec_to_input": True}, {}, "is true for a transcoder"),
    "biases that contradict": (
        {"architecture": "standard", "is_transcoder": True, "apply_b_dec_to_input": False}, BOTH,
        "these contradict each other"),
    "a second bias is missing": ({"architecture": "standard", "is_transcoder": True}, {}, "has no b_dec_out"),
    "factors that are not there": (
        {"architecture": "transcoder", "finetuning_scaling_factor": True}, {}, "there is no tensor scaling_factor"),
    "factors that are not used": (
        {"architecture": "transcoder"}, {"scaling_factor": torch.full((F,), 2.0)}, "has factors in scaling_factor"),
    "k without TopK": ({"architecture": "transcoder", "k": 3}, {}, "k is 3 and nothing else says TopK"),
    "k as a share": ({"architecture": "topk_transcoder", "k": 0.1}, {}, "has k 0.1, a whole number"),
    "k of the wrong type": ({"architecture": "topk_transcoder", "k": True}, {}, "k: input should be a valid"),
    "more than there are": ({"architecture": "topk_transcoder", "k": F + 1}, {}, f"numbers in 1 … {F} needed"),
    "another width": ({"architecture": "transcoder", "d_sae": F + 1}, {}, f"d_sae {F + 1}, its weights have {F}"),
    "a setting that nobody knows": (
        {"architecture": "transcoder", "input_center": "mean"}, {}, "has the setting input_center: 'mean'"),
    "a tensor that nobody knows": (
        {"architecture": "transcoder"}, {"input_mean": torch.ones(D)}, "has a tensor input_mean"),
    "a name with an escape": (
        {"architecture": "transcoder"}, {"\x1b[31mbias": torch.ones(D)}, r"has a tensor \x1b[31mbias"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_saelens_settings_are_refused_by_name(name: str, tmp_path: Path):
    settings, tensors, words = REFUSED[name]
    saelens(tmp_path, settings, lambda _: tensors)
    with pytest.raises(UsageError) as caught:
        open_dictionary(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def _settings(file: str, **changes: Any) -> Callable[[Path], object]:
    return lambda folder: each(folder, file, lambda config: edit(config, **changes))


def _tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    return lambda folder: each(folder, "*.safetensors", lambda file: edit_tensors(file, change))


OTHERS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "sparsify: embed_skip": ("sparsify", _settings("cfg.json", embed_skip=True), "was trained with embed_skip"),
    "sparsify: signed": ("sparsify", _settings("cfg.json", signed=True), "was trained with signed"),
    "sparsify: skip denied": ("sparsify", _settings("cfg.json", skip_connection=False), "says skip_connection: false"),
    "sparsify: skip gone": ("sparsify", _tensors(lambda t: t.pop("W_skip")), "says skip_connection: true"),
    "sparsify: width": ("sparsify", _settings("cfg.json", num_latents=F + 2), f"say num_latents {F + 2}"),
    "sparsify: unknown": ("sparsify", _settings("cfg.json", input_norm="rms"), "the setting input_norm: 'rms'"),
    "sparsify: unknown tensor": (
        "sparsify", _tensors(lambda t: t.update(pre_bias=torch.ones(D))), "has a tensor pre_bias"),
    "clt-training: per-target tying": (
        "clt-training", _settings("cfg.json", secondary_target_tied=True), "was trained with secondary_target_tied"),
    "clt-training: scales gone": (
        "clt-training", _settings("cfg.json", post_encoder_scale=True), "there is no post_enc_scale"),
    "clt-training: a norm of 0": (
        "clt-training two targets, scales", _tensors(lambda t: t.update(in_norm=torch.zeros(1))), "in_norm is 0.0"),
    "clt-training: a norm of two numbers": (
        "clt-training two targets, scales", _tensors(lambda t: t.update(in_norm=torch.ones(2))), "in_norm is 2 values"),
    "openmoss: bias of the input": (
        "openmoss relu", _settings("config.json", apply_decoder_bias_to_pre_encoder=True), "takes its decoder's"),
    "openmoss: thresholds of a ReLU one": (
        "openmoss jumprelu", _settings("config.json", act_fn="relu"), "config.json says act_fn relu"),
    "openmoss: bias denied": (
        "openmoss relu", _settings("config.json", use_decoder_bias=False), "says use_decoder_bias false"),
    "openmoss: of attention": ("openmoss relu", _settings("config.json", sae_type="lorsa"), "says sae_type 'lorsa'"),
    "openmoss: width": ("openmoss relu", _settings("config.json", d_model=D + 1), f"d_model {D + 1}"),
    "openmoss: unknown": ("openmoss relu", _settings("config.json", input_scale=3.5), "the setting input_scale: 3.5"),
    "openmoss: cross-layer short": (
        "openmoss cross-layer", _tensors(lambda t: t.update(b_E=torch.ones(L - 1, F))), f"b_E is not of {L} layers"),
    "crosslayer-coding: root of the width": (
        "crosslayer-coding", _settings("cfg.json", normalization_method="sqrt_d_model"), "'sqrt_d_model' is not"),
    "crosslayer-coding: thresholds of a ReLU one": (
        "crosslayer-coding", _settings("cfg.json", activation_fn="relu"), "has thresholds"),
    "crosslayer-coding: tying": (
        "crosslayer-coding", _settings("cfg.json", decoder_tying="all"), "decoder_tying 'all' is not supported"),
    "crosslayer-coding: layers without end": (
        "crosslayer-coding", _settings("cfg.json", num_layers=10**12), "encoder 3 and 999999999996 more is missing"),
    "crosslayer-coding: fewer layers": ("crosslayer-coding", _settings("cfg.json", num_layers=2), "has 3 encoders"),
    "crosslayer-coding: norms as texts": (
        "crosslayer-coding", _settings("norm_stats.json", **{"0": {"inputs": {"mean": "x"}}}), "inputs.mean"),
    "CLT-Forge: TopK": ("CLT-Forge", _settings("clt_cfg.json", activation_fn="topk"), "activation_fn 'topk'"),
    "CLT-Forge: per layer denied": (
        "CLT-Forge per layer", _settings("clt_cfg.json", cross_layer_decoders=True), "says cross_layer_decoders true"),
    "CLT-Forge: a factor of 0": (
        "CLT-Forge", _tensors(lambda t: t["estimated_norm_scaling_factor_out"].zero_()), "numbers that are not 0"),
    "gemma scope 2: architecture": (
        "gemma scope 2", _settings("config.json", architecture="topk"), "has the architecture 'topk'"),
    "gemma scope 2: skip denied": (
        "gemma scope 2", _settings("config.json", affine_connection=False), "says affine_connection false"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_settings_of_other_formats_are_refused_by_name(name: str, tmp_path: Path):
    case, damage, words = OTHERS[name]
    published.WRITERS[case](tmp_path, Draw(0))
    damage(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_dictionary(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def _config(**changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        import yaml

        config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
        published.settings(folder / "config.yaml", {key: value for key, value in config.items() if value is not None})

    return change


def _thresholds(t: dict[str, Tensor]) -> None:
    t["activation_function.threshold"] = torch.ones(F)


def _facts(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "silverstain.json").write_text(
        json.dumps({"format": "silverstain.dictionary/1", **changes})
    )


CONTRADICTIONS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "JumpReLU without thresholds": (
        "circuit-tracer relu", _config(activation="jump_relu"), "weights have no thresholds"),
    "ReLU with thresholds": (
        "circuit-tracer cross-layer jumprelu", _config(activation="relu"), "its weights have thresholds"),
    "thresholds in one layer": (
        "circuit-tracer relu",
        lambda f: edit_tensors(f / "layer_1.safetensors", _thresholds), "have different activation functions"),
    "k for two layers of three": (
        "circuit-tracer topk skip", _config(k=[2, 2]), "k in config.yaml is of 2 layers, the set has 3"),
    "k in two ways": ("circuit-tracer topk skip", _config(k=3), "3 in config.yaml, 2 in its weights"),
    "k above the number of features": (
        "circuit-tracer topk skip",
        lambda f: [_config(k=99)(f), each(f, "*.safetensors", lambda one: edit_tensors(one, lambda t: t.pop("k")))],
        f"k is [99, 99, 99], 3 numbers in 1 … {F} needed"),
    "k and ReLU": ("circuit-tracer topk skip", _config(activation="relu"), "and activation 'relu': they contradict"),
    "k and nothing else": ("circuit-tracer relu", _config(k=4), "k is 4 in config.yaml, and activation None"),
    "k of several numbers": (
        "circuit-tracer topk skip", _tensors(lambda t: t.update(k=torch.tensor([1, 2]))), "one number needed"),
    "the other kind": (
        "circuit-tracer relu", _config(model_kind="cross_layer_transcoder"), "a file of the other kind"),
    "the other decoder": (
        "circuit-tracer relu", _tensors(lambda t: t.update(W_dec=torch.ones(F, 1, D))), "whose decoders have 2 axes"),
    "layers": ("circuit-tracer relu", _config(n_layers=2), "says n_layers 2, and its weights have 3"),
    "more layers": ("circuit-tracer relu", _facts(n_layers=9), "is not complete: layer_3.safetensors is missing"),
    "features": ("circuit-tracer relu", _facts(n_features=9), f"says n_features 9, and its weights have {F}"),
    "facts of the other kind": ("circuit-tracer relu", _facts(is_cross_layer=True), "is_cross_layer true"),
    "facts with thresholds": ("circuit-tracer relu", _facts(activation="jumprelu"), "have no thresholds"),
    "facts of another k": ("circuit-tracer topk skip", _facts(k=[1, 1, 1]), "1 in silverstain.json"),
    "facts: a text for a number": ("circuit-tracer relu", _facts(n_layers="3"), "n_layers: input should be"),
    "facts: a number for an object": ("circuit-tracer relu", _facts(metadata=5), "metadata: input should be"),
    "config: a truth for a number": ("circuit-tracer topk skip", _config(k=True), "k: value error, a whole number"),
    "config: a list for a kind": ("circuit-tracer relu", _config(model_kind=[1]), "model_kind: input should be"),
    "config: unknown": ("circuit-tracer relu", _config(decoder_scale=2.0), "the setting decoder_scale: 2.0"),
    "weights: unknown": ("circuit-tracer relu", _tensors(lambda t: t.update(b_pre=torch.ones(D))), "a tensor b_pre"),
    "a list that leads away": (
        "circuit-tracer relu", _config(transcoders=["../../etc/passwd"]), "names ../../etc/passwd, which is outside"),
    "a list of nobody's": (
        "circuit-tracer relu", _config(transcoders=["~nouser/x.safetensors"]), "there is no folder of that user here"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_in_our_layout_is_named(name: str, tmp_path: Path):
    case, damage, words = CONTRADICTIONS[name]
    published.WRITERS[case](tmp_path, Draw(0))
    damage(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_dictionary(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_place_that_a_person_sets_in_config_yaml_is_the_one_that_counts(tmp_path: Path):
    published.circuit_tracer(tmp_path / "theirs", Draw(0))
    save_dictionary(open_dictionary(tmp_path / "theirs"), tmp_path / "ours")
    _config(feature_input_hook="hook_resid_mid")(tmp_path / "ours")
    assert open_dictionary(tmp_path / "ours").reads_at == "hook_resid_mid"


@pytest.mark.parametrize("name", ["act_norm", "inputScale", "use_tanh", "encoder.bias", "topk_share", "softcap"])
def test_names_that_speak_of_computing(name: str):
    assert may_compute(name)


HARMLESS = (
    "lr_scale", "created", "init_norm", "run_name", "actor", "dead_threshold", "title", "folder", "software", "project",
    "max_length", "transformer_lens", "add_bos_token", "activation_store", "clip_grad_norm", "expansion_factor",
    "rank", "lookup_max_order", "jumprelu_init_threshold", "mse_loss_normalization", "context_size",
)  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_do_not(name: str):
    assert not may_compute(name)
