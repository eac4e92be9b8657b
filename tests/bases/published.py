"""Small random dictionaries in every published format, each with the naive formula that its definition gives.

A case writes files into a folder and returns its oracle: from inputs [layer, pos, d] to activations, one [pos, F] a
layer, and reconstruction [layer, pos, d]. The formulas are loops over layers in each format's own orientation and on
its own scale; nothing of the readers is used.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

L, F, D, K = 3, 7, 4, 2
Oracle = Callable[[Tensor], tuple[list[Tensor], Tensor]]


class Case(NamedTuple):
    """What a format's files should be read as."""

    oracle: Oracle
    activation: str
    is_cross_layer: bool
    reads_at: str = "mlp.hook_in"
    writes_at: str = "hook_mlp_out"


class Draw:
    """Random tensors from one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def positive(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator) + 0.2


def jump(pre: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(pre > threshold, pre, 0.0)


def top(pre: Tensor, k: int) -> Tensor:
    out = torch.zeros_like(pre)
    for row, values in zip(out, pre, strict=True):
        for f in values.argsort(descending=True)[:k]:
            row[f] = max(0.0, float(values[f]))
    return out


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def settings(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value) if path.suffix == ".yaml" else json.dumps(value))


def circuit_tracer(folder: Path, draw: Draw, *, activation: str = "relu", has_skip: bool = False) -> Case:
    config: dict = {
        "model_kind": "transcoder_set",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "hook_mlp_out",
        "model_name": "toy",
    }
    if activation == "topk":
        config |= {"activation": "topk", "k": K}
    settings(folder / "config.yaml", config)
    layers = []
    for i in range(L):
        t = {"W_enc": draw(F, D), "W_dec": draw(F, D), "b_enc": draw(F), "b_dec": draw(D)}
        if activation == "jumprelu":
            t["activation_function.threshold"] = draw.positive(F)
        if activation == "topk":
            t["k"] = torch.tensor(K)
        if has_skip:
            t["W_skip"] = draw(D, D)
        write(folder / f"layer_{i}.safetensors", t)
        layers.append(t)

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts, outs = [], []
        for t, xi in zip(layers, x, strict=True):
            pre = xi @ t["W_enc"].T + t["b_enc"]
            act = top(pre, K) if activation == "topk" else pre.relu()
            act = jump(pre, t["activation_function.threshold"]) if activation == "jumprelu" else act
            acts.append(act)
            outs.append(act @ t["W_dec"] + t["b_dec"] + (xi @ t["W_skip"].T if has_skip else 0))
        return acts, torch.stack(outs)

    return Case(oracle, activation, False)


def circuit_tracer_cross_layer(folder: Path, draw: Draw, *, has_threshold: bool = True) -> Case:
    settings(folder / "config.yaml", {"model_kind": "cross_layer_transcoder"})
    enc, dec = [], []
    for i in range(L):
        t = {f"W_enc_{i}": draw(F, D), f"b_enc_{i}": draw(F), f"b_dec_{i}": draw(D)}
        if has_threshold:
            t[f"threshold_{i}"] = draw.positive(F)
        write(folder / f"W_enc_{i}.safetensors", t)
        enc.append(t)
        dec.append(draw(F, L - i, D))
        write(folder / f"W_dec_{i}.safetensors", {f"W_dec_{i}": dec[i]})

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        out = torch.stack([enc[i][f"b_dec_{i}"].expand_as(x[i]) for i in range(L)])
        acts = []
        for i in range(L):
            pre = x[i] @ enc[i][f"W_enc_{i}"].T + enc[i][f"b_enc_{i}"]
            acts.append(jump(pre, enc[i][f"threshold_{i}"]) if has_threshold else pre.relu())
            for j in range(L - i):
                out[i + j] += acts[i] @ dec[i][:, j]
        return acts, out

    return Case(oracle, "jumprelu" if has_threshold else "relu", True)


def gemma_scope_1(folder: Path, draw: Draw, *, is_compressed: bool = False) -> Case:
    layers = []
    for i in range(L):
        t = {
            "W_enc": draw(D, F),
            "W_dec": draw(F, D),
            "b_enc": draw(F),
            "b_dec": draw(D),
            "threshold": draw.positive(F),
        }
        place = folder / f"layer_{i}" / "width_16k" / f"average_l0_{7 + i}"
        place.mkdir(parents=True)
        save = np.savez_compressed if is_compressed else np.savez
        save(place / "params.npz", **{name: tensor.numpy() for name, tensor in t.items()})
        layers.append(t)
    return Case(_columns(layers, "W_enc", "W_dec"), "jumprelu", False)


def _columns(layers: list[dict[str, Tensor]], W_enc: str, W_dec: str) -> Oracle:
    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts = [jump(xi @ t[W_enc] + t["b_enc"], t["threshold"]) for t, xi in zip(layers, x, strict=True)]
        outs = [a @ t[W_dec] + t["b_dec"] for t, a in zip(layers, acts, strict=True)]
        if "affine_skip_connection" in layers[0]:
            outs = [o + xi @ t["affine_skip_connection"] for t, o, xi in zip(layers, outs, x, strict=True)]
        return acts, torch.stack(outs)

    return oracle


def gemma_scope_2(folder: Path, draw: Draw) -> Case:
    layers = []
    for i in range(L):
        t = {"w_enc": draw(D, F), "w_dec": draw(F, D), "b_enc": draw(F), "b_dec": draw(D),
             "threshold": draw.positive(F), "affine_skip_connection": draw(D, D)}  # fmt: skip
        place = folder / f"layer_{i}_width_16k_l0_small_affine"
        write(place / "params.safetensors", t)
        block = f"model.layers.{i}"
        settings(place / "config.json", {
            "architecture": "jump_relu", "type": "transcoder", "model_name": "google/gemma-3-1b-pt",
            "hf_hook_point_in": f"{block}.pre_feedforward_layernorm.output",
            "hf_hook_point_out": f"{block}.post_feedforward_layernorm.output",
        })  # fmt: skip
        layers.append(t)
    return Case(_columns(layers, "w_enc", "w_dec"), "jumprelu", False)


def gemma_scope_2_cross_layer(folder: Path, draw: Draw) -> Case:
    layers = []
    for i in range(L):
        w_dec = draw(F, L, D)
        w_dec[:, :i] = 0
        t = {"w_enc": draw(D, F), "w_dec": w_dec, "b_enc": draw(F), "b_dec": draw(D), "threshold": draw.positive(F),
             "affine_skip_connection": draw(D, D)}  # fmt: skip
        write(folder / f"params_layer_{i}.safetensors", t)
        layers.append(t)
    settings(folder / "config.json", {"architecture": "jump_relu", "type": "clt"})

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts = [jump(xi @ t["w_enc"] + t["b_enc"], t["threshold"]) for t, xi in zip(layers, x, strict=True)]
        out = [xi @ t["affine_skip_connection"] + t["b_dec"] for t, xi in zip(layers, x, strict=True)]
        for source in range(L):
            for target in range(L):
                out[target] = out[target] + acts[source] @ layers[source]["w_dec"][:, target]
        return acts, torch.stack(out)

    return Case(oracle, "jumprelu", True)


def sparsify(folder: Path, draw: Draw) -> Case:
    layers = []
    for i in range(L):
        t = {"encoder.weight": draw(F, D), "encoder.bias": draw(F), "W_dec": draw(F, D), "b_dec": draw(D),
             "W_skip": draw(D, D)}  # fmt: skip
        place = folder / f"layers.{i}.mlp"
        write(place / "sae.safetensors", t)
        config = {"activation": "topk", "k": K, "transcode": True, "skip_connection": True, "d_in": D, "num_latents": 0}
        settings(place / "cfg.json", config)
        torch.save({"step": 3}, place / "state.pt")  # training state lies beside
        layers.append(t)

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts = [top(xi @ t["encoder.weight"].T + t["encoder.bias"], K) for t, xi in zip(layers, x, strict=True)]
        outs = [a @ t["W_dec"] + t["b_dec"] + xi @ t["W_skip"].T for t, a, xi in zip(layers, acts, x, strict=True)]
        return acts, torch.stack(outs)

    return Case(oracle, "topk", False, writes_at="mlp.hook_out")


def clt_training(folder: Path, draw: Draw, *, mode: str = "none", reach: int = L, has_scales: bool = False) -> Case:
    """`mode`: none, concat or per-layer; sources write to `reach` layers at most."""
    layers, configs = [], []
    for i in range(L):
        n_targets = min(reach, L - i)
        t = {"encoder.weight": draw(F, D), "encoder.bias": draw(F)}
        config = {"activation": "topk", "k": K, "transcode": True, "skip_connection": False, "d_in": D,
                  "n_targets": n_targets, "n_sources": i + 1, "normalize_io": has_scales, "coalesce_topk": mode,
                  "topk_coalesced": False, "divide_cross_layer": has_scales}  # fmt: skip
        if mode == "none":
            t |= {f"W_decs.{j}": draw(F, D) for j in range(n_targets)} | {
                f"b_decs.{j}": draw(D) for j in range(n_targets)
            }
        else:
            t |= {"W_dec": draw(F * (i + 1 if mode == "per-layer" else 1), D), "b_dec": draw(D)}
        t |= {f"post_encs.{j}": torch.zeros(F) for j in range(n_targets)}
        if has_scales:
            t |= {"in_norm": draw.positive(1), "out_norm": draw.positive(1)}
            t |= {f"post_enc_scales.{j}": draw(F) for j in range(n_targets)}
        write(folder / f"h.{i}.mlp" / "sae.safetensors", t)
        settings(folder / f"h.{i}.mlp" / "cfg.json", config)
        layers.append(t)
        configs.append(config)

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts, outs = [], []
        for target in range(L):
            t, xi = layers[target], x[target]
            if has_scales:
                xi = xi * (D**0.5 / t["in_norm"])
            acts.append(top(xi @ t["encoder.weight"].T + t["encoder.bias"], K))
            sources = [s for s in range(target + 1) if target < s + configs[s]["n_targets"]]
            below = torch.zeros_like(xi)
            out = torch.zeros_like(xi)
            for s in sources:
                j = target - s
                a = acts[s] * layers[s][f"post_enc_scales.{j}"] if has_scales else acts[s]
                if mode == "none":
                    y = a @ layers[s][f"W_decs.{j}"] + layers[s][f"b_decs.{j}"]
                elif mode == "concat":
                    y = a @ t["W_dec"]
                else:
                    y = a @ t["W_dec"][s * F : (s + 1) * F]
                if s == target:
                    out = y
                else:
                    below = below + y
            out = out + below / (max(1, len(sources) - 1) if has_scales else 1)
            if mode != "none":
                out = out + t["b_dec"]
            outs.append(out * (t["out_norm"] / D**0.5) if has_scales else out)
        return acts, torch.stack(outs)

    return Case(oracle, "topk", reach > 1, writes_at="mlp.hook_out")


def saelens(folder: Path, draw: Draw, *, architecture: str = "jumprelu_transcoder") -> Case:
    layers = []
    for i in range(L):
        t = {"W_enc": draw(D, F), "b_enc": draw(F), "W_dec": draw(F, D), "b_dec": draw(D)}
        if architecture == "jumprelu_transcoder":
            t["threshold"] = draw.positive(F)
        if architecture == "skip_transcoder":
            t["W_skip"] = draw(D, D)
        place = folder / f"part_{'cab'[i]}"  # the layer is said by the settings alone
        write(place / "sae_weights.safetensors", t)
        write(place / "sparsity.safetensors", {"sparsity": draw(F)})
        settings(place / "cfg.json", {
            "architecture": architecture, "d_in": D, "d_sae": F, "d_out": D, "normalize_activations": "none",
            "metadata": {"model_name": "toy", "hook_name": f"blocks.{i}.ln2.hook_normalized",
                         "hook_name_out": f"blocks.{i}.hook_mlp_out"},
        })  # fmt: skip
        layers.append(t)

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts, outs = [], []
        for t, xi in zip(layers, x, strict=True):
            pre = xi @ t["W_enc"] + t["b_enc"]
            acts.append(jump(pre, t["threshold"]) if "threshold" in t else pre.relu())
            outs.append(acts[-1] @ t["W_dec"] + t["b_dec"] + (xi @ t["W_skip"].T if "W_skip" in t else 0))
        return acts, torch.stack(outs)

    kind = "jumprelu" if architecture == "jumprelu_transcoder" else "relu"
    return Case(oracle, kind, False, reads_at="ln2.hook_normalized")


def openmoss(
    folder: Path, draw: Draw, *, act: str = "jumprelu", has_decoder_norm: bool = True, suffix: str = "safetensors"
) -> Case:
    layers = []
    for i in range(L):
        hooks = f"blocks.{i}.ln2.hook_normalized", f"blocks.{i}.hook_mlp_out"
        t = {"W_E": draw(D, F), "b_E": draw(F), "W_D": draw(F, D), "b_D": draw(D)}
        if act == "jumprelu":
            t["activation_function.log_jumprelu_threshold"] = draw(F)
        t |= {f"dataset_average_activation_norm.{hook}": draw.positive(1)[0] for hook in hooks}
        place = folder / f"8x/k64/layer{i}_transcoder_8x_k64"
        if suffix == "pt":
            place.mkdir(parents=True)
            torch.save({"sae": t, "version": "0.1"}, place / "sae_weights.pt")
        else:
            write(place / "sae_weights.safetensors", t)
        settings(place / "config.json", {
            "sae_type": "sae", "d_model": D, "act_fn": act, "top_k": K, "norm_activation": "dataset-wise",
            "sparsity_include_decoder_norm": has_decoder_norm, "hook_point_in": hooks[0], "hook_point_out": hooks[1],
        })  # fmt: skip
        layers.append((t, hooks))

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        acts, outs = [], []
        for (t, hooks), xi in zip(layers, x, strict=True):
            s_in, s_out = (math.sqrt(D) / float(t[f"dataset_average_activation_norm.{hook}"]) for hook in hooks)
            pre = (xi * s_in) @ t["W_E"] + t["b_E"]
            norm = t["W_D"].norm(dim=1) if has_decoder_norm else torch.ones(F)
            match act:
                case "jumprelu":
                    on = pre * norm > t["activation_function.log_jumprelu_threshold"].exp()
                case "topk":
                    on = top(pre * norm, K) > 0
                case _:
                    on = pre > 0
            act_here = torch.where(on, pre, 0.0)
            outs.append((act_here @ t["W_D"] + t["b_D"]) / s_out)
            acts.append(act_here / s_in * (norm if act == "topk" else 1))
        return acts, torch.stack(outs)

    return Case(oracle, act, False, reads_at="ln2.hook_normalized")


def openmoss_cross_layer(folder: Path, draw: Draw, *, act: str = "jumprelu") -> Case:
    hooks_in = [f"blocks.{i}.hook_resid_mid" for i in range(L)]
    hooks_out = [f"blocks.{i}.hook_mlp_out" for i in range(L)]
    t = {"W_E": draw(L, D, F), "b_E": draw(L, F)}
    t |= {f"W_D.{i}": draw(i + 1, F, D) for i in range(L)} | {f"b_D.{i}": draw(D) for i in range(L)}
    t |= {f"dataset_average_activation_norm.{hook}": draw.positive(1)[0] for hook in (*hooks_in, *hooks_out)}
    if act == "jumprelu":
        t["activation_function.log_jumprelu_threshold"] = draw(L, F)
    write(folder / "sae_weights.safetensors", t)
    settings(folder / "config.json", {
        "sae_type": "clt", "d_model": D, "act_fn": act, "top_k": K, "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": True, "hook_points_in": hooks_in, "hook_points_out": hooks_out,
    })  # fmt: skip

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        scale = {
            hook: math.sqrt(D) / float(t[f"dataset_average_activation_norm.{hook}"]) for hook in (*hooks_in, *hooks_out)
        }
        raw, acts = [], []
        for i in range(L):
            pre = (x[i] * scale[hooks_in[i]]) @ t["W_E"][i] + t["b_E"][i]
            norm = sum(t[f"W_D.{m}"][i].square().sum(1) for m in range(i, L)).sqrt()
            if act == "jumprelu":
                on = pre * norm > t["activation_function.log_jumprelu_threshold"][i].exp()
            else:
                on = top(pre * norm, K) > 0
            raw.append(torch.where(on, pre, 0.0))
            acts.append(raw[i] / scale[hooks_in[i]] * (norm if act == "topk" else 1))
        outs = [
            (t[f"b_D.{m}"] + sum(raw[i] @ t[f"W_D.{m}"][i] for i in range(m + 1))) / scale[hooks_out[m]]
            for m in range(L)
        ]
        return acts, torch.stack(outs)

    return Case(oracle, act, True, reads_at="hook_resid_mid")


def crosslayer_coding(folder: Path, draw: Draw, *, tying: str = "none", has_skip: bool = False) -> Case:
    names = {"none": lambda s, m: f"{s}->{m}", "per_source": lambda s, m: f"{s}", "per_target": lambda s, m: f"{m}"}[
        tying
    ]
    t = {"theta_manager.log_threshold": draw(L, F)}
    for i in range(L):
        t[f"encoder_module.encoders.{i}.weight"] = draw(F, D)
        t[f"encoder_module.encoders.{i}.bias_param"] = draw(F)
        for m in range(i, L):
            t[f"decoder_module.decoders.{names(i, m)}.weight"] = draw(D, F)
            if tying != "per_target":
                t[f"decoder_module.decoders.{names(i, m)}.bias_param"] = draw(D)
        if has_skip:
            t[f"decoder_module.skip_weights.{i}"] = draw(D, D)
    write(folder / "clt_checkpoint_latest.safetensors", t)
    stats = {
        str(i): {way: {"mean": draw(D).tolist(), "std": draw.positive(D).tolist()} for way in ("inputs", "targets")}
        for i in range(L)
    }
    settings(folder / "norm_stats.json", stats)
    settings(folder / "cfg.json", {
        "num_features": F, "num_layers": L, "d_model": D, "model_name": "gpt2", "activation_fn": "jumprelu",
        "normalization_method": "mean_std", "decoder_tying": tying, "skip_connection": has_skip,
        "mlp_input_template": "transformer.h.{}.mlp.input", "mlp_output_template": "transformer.h.{}.mlp.output",
    })  # fmt: skip

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        def stat(i: int, way: str, key: str) -> Tensor:
            return torch.tensor(stats[str(i)][way][key]) + (1e-6 if key == "std" else 0)

        normed = [(x[i] - stat(i, "inputs", "mean")) / stat(i, "inputs", "std") for i in range(L)]
        acts = [
            jump(
                normed[i] @ t[f"encoder_module.encoders.{i}.weight"].T + t[f"encoder_module.encoders.{i}.bias_param"],
                t["theta_manager.log_threshold"][i].exp(),
            )
            for i in range(L)
        ]
        outs = []
        for m in range(L):
            out = torch.zeros_like(x[m])
            for s in range(m + 1):
                out = out + acts[s] @ t[f"decoder_module.decoders.{names(s, m)}.weight"].T
                out = out + t.get(f"decoder_module.decoders.{names(s, m)}.bias_param", torch.zeros(D))
            if has_skip:
                out = out + normed[m] @ t[f"decoder_module.skip_weights.{m}"].T
            outs.append(out * stat(m, "targets", "std") + stat(m, "targets", "mean"))
        return acts, torch.stack(outs)

    return Case(oracle, "jumprelu", True, writes_at="mlp.hook_out")


def clt_forge(folder: Path, draw: Draw, *, n_ranks: int = 0, is_cross_layer: bool = True) -> Case:
    pairs = [(s, m) for s in range(L) for m in range(s, L)] if is_cross_layer else [(s, s) for s in range(L)]
    t = {"W_enc": draw(L, D, F), "b_enc": draw(L, F), "W_dec": draw(len(pairs), F, D), "b_dec": draw(len(pairs), D),
         "log_threshold": draw(L, F), "feature_count": torch.zeros(L, F, dtype=torch.long),
         "estimated_norm_scaling_factor_in": draw.positive(L),
         "estimated_norm_scaling_factor_out": draw.positive(L)}  # fmt: skip
    axes = {"W_enc": 2, "b_enc": 1, "W_dec": 1, "log_threshold": 1, "feature_count": 1}
    if n_ranks:
        for rank in range(n_ranks):
            pick = {name: tensor.tensor_split(n_ranks, dim=axes[name])[rank] if name in axes else tensor
                    for name, tensor in t.items()}  # fmt: skip
            write(folder / f"rank{rank}_clt_weights.safetensors", pick)
    else:
        write(folder / "clt_weights.safetensors", t)
    settings(folder / "clt_cfg.json", {"n_layers": L, "d_in": D, "d_latent": F, "is_sharded": bool(n_ranks)})

    def oracle(x: Tensor) -> tuple[list[Tensor], Tensor]:
        s_in, s_out = t["estimated_norm_scaling_factor_in"], t["estimated_norm_scaling_factor_out"]
        acts = [jump((x[i] * s_in[i]) @ t["W_enc"][i] + t["b_enc"][i], t["log_threshold"][i].exp()) for i in range(L)]
        out = [torch.zeros_like(xi) for xi in x]
        for n, (s, m) in enumerate(pairs):
            out[m] = out[m] + acts[s] @ t["W_dec"][n] + t["b_dec"][n]
        return acts, torch.stack([one / s_out[m] for m, one in enumerate(out)])

    return Case(oracle, "jumprelu", is_cross_layer, reads_at="ln2.hook_normalized")


WRITERS: dict[str, Callable[[Path, Draw], Case]] = {
    "circuit-tracer relu": circuit_tracer,
    "circuit-tracer jumprelu skip": lambda f, d: circuit_tracer(f, d, activation="jumprelu", has_skip=True),
    "circuit-tracer topk skip": lambda f, d: circuit_tracer(f, d, activation="topk", has_skip=True),
    "circuit-tracer cross-layer relu": lambda f, d: circuit_tracer_cross_layer(f, d, has_threshold=False),
    "circuit-tracer cross-layer jumprelu": circuit_tracer_cross_layer,
    "gemma scope 1": gemma_scope_1,
    "gemma scope 1 compressed": lambda f, d: gemma_scope_1(f, d, is_compressed=True),
    "gemma scope 2": gemma_scope_2,
    "gemma scope 2 cross-layer": gemma_scope_2_cross_layer,
    "sparsify": sparsify,
    "clt-training": clt_training,
    "clt-training single": lambda f, d: clt_training(f, d, reach=1),
    "clt-training two targets, scales": lambda f, d: clt_training(f, d, reach=2, has_scales=True),
    "clt-training all targets, scales": lambda f, d: clt_training(f, d, has_scales=True),
    "clt-training concat": lambda f, d: clt_training(f, d, mode="concat"),
    "clt-training per-layer": lambda f, d: clt_training(f, d, mode="per-layer"),
    "saelens jumprelu": saelens,
    "saelens skip": lambda f, d: saelens(f, d, architecture="skip_transcoder"),
    "openmoss jumprelu": openmoss,
    "openmoss jumprelu .pt": lambda f, d: openmoss(f, d, suffix="pt"),
    "openmoss relu": lambda f, d: openmoss(f, d, act="relu"),
    "openmoss topk": lambda f, d: openmoss(f, d, act="topk"),
    "openmoss topk plain": lambda f, d: openmoss(f, d, act="topk", has_decoder_norm=False),
    "openmoss cross-layer": openmoss_cross_layer,
    "openmoss cross-layer topk": lambda f, d: openmoss_cross_layer(f, d, act="topk"),
    "crosslayer-coding": crosslayer_coding,
    "crosslayer-coding per source, skip": lambda f, d: crosslayer_coding(f, d, tying="per_source", has_skip=True),
    "crosslayer-coding per target": lambda f, d: crosslayer_coding(f, d, tying="per_target"),
    "CLT-Forge": clt_forge,
    "CLT-Forge per layer": lambda f, d: clt_forge(f, d, is_cross_layer=False),
    "CLT-Forge three ranks": lambda f, d: clt_forge(f, d, n_ranks=3),
}  # fmt: skip
