"""A random model with random dictionaries of the wanted shape, as folders that both tracers load.

Encoder biases are set so that about `ACTIVE` features a token and layer fire; the weights mean nothing, the cost does.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

ACTIVE = 32
VOCABULARY = 2048


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_features: int = 1024
    n_context: int = 512


SHAPES = {
    "gpt2-small": Shape(name="gpt2-small", n_layers=12, d_model=768, n_heads=12),
    "small": Shape(name="small", n_layers=4, d_model=128, n_heads=4),
}


def make_case(shape: Shape, folder: Path, *, kinds: tuple[str, ...] = ("per-layer", "cross-layer")) -> Path:
    """`folder/model` and `folder/KIND` for each kind of dictionary; what is there already is kept."""
    if all((folder / kind / "config.yaml").exists() for kind in kinds):
        return folder
    model = _model(shape, folder / "model")
    inputs = _mlp_inputs(model, torch.randint(1, VOCABULARY, (4, 64)))
    encoders, biases = zip(*(_encoder(x, shape) for x in inputs), strict=True)
    for kind in kinds:
        make = _per_layer if kind == "per-layer" else _cross_layer
        make(shape, encoders, biases, folder / kind)
    return folder


def _model(shape: Shape, folder: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=shape.n_context, n_embd=shape.d_model, n_layer=shape.n_layers,
        n_head=shape.n_heads, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    words = {"<bos>": 0, **{f"t{i}": i for i in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<bos>").save_pretrained(folder)
    return model


@torch.no_grad()
def _mlp_inputs(model, token_ids):
    found = []
    hooks = [
        block.mlp.register_forward_pre_hook(lambda _, args: found.append(args[0].flatten(0, 1)))
        for block in model.transformer.h
    ]
    model(token_ids)
    for hook in hooks:
        hook.remove()
    return found


def _encoder(inputs, shape: Shape):
    rows = torch.nn.functional.normalize(torch.randn(shape.n_features, shape.d_model), dim=1)
    scores = inputs @ rows.T
    threshold = scores.flatten().kthvalue(round(scores.numel() * (1 - ACTIVE / shape.n_features))).values
    return rows, torch.full((shape.n_features,), -float(threshold))


def _per_layer(shape: Shape, encoders, biases, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for layer, (rows, bias) in enumerate(zip(encoders, biases, strict=True)):
        decoder = torch.randn(shape.n_features, shape.d_model) / shape.d_model**0.5
        tensors = {"W_enc": rows, "b_enc": bias, "W_dec": decoder, "b_dec": torch.zeros(shape.d_model)}
        save_file(tensors, folder / f"layer_{layer}.safetensors")
    _config(shape, "transcoder_set", folder)


def _cross_layer(shape: Shape, encoders, biases, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for layer, (rows, bias) in enumerate(zip(encoders, biases, strict=True)):
        reach = shape.n_layers - layer
        decoder = torch.randn(shape.n_features, reach, shape.d_model) / (shape.d_model * reach) ** 0.5
        zeros = torch.zeros(shape.d_model)
        encoder = {f"W_enc_{layer}": rows, f"b_enc_{layer}": bias, f"b_dec_{layer}": zeros}
        save_file(encoder, folder / f"W_enc_{layer}.safetensors")
        save_file({f"W_dec_{layer}": decoder}, folder / f"W_dec_{layer}.safetensors")
    _config(shape, "cross_layer_transcoder", folder)


def _config(shape: Shape, kind: str, folder: Path) -> None:
    config = {
        "model_name": shape.name, "model_kind": kind, "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "mlp.hook_out", "scan": shape.name,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def prompt_of(n_tokens: int) -> list[int]:
    generator = torch.Generator().manual_seed(n_tokens)
    return [0, *torch.randint(1, VOCABULARY, (n_tokens - 1,), generator=generator).tolist()]


def write_result(path: Path, figures: dict, tensors: dict) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(figures), encoding="utf-8")
