"""Makes the golden cases of this folder with circuit-tracer, which lives in an environment of its own:

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install circuit-tracer==0.5.0
    OMP_NUM_THREADS=1 /tmp/peer/bin/python tests/golden/make.py [FOLDER]

Each case is a random model and random transcoders, small enough to be kept in the repository, with the graph that
circuit-tracer draws of one prompt and what it says under three sets of interventions. README.md says what each tensor
is. Made again, the weights are the same; the results differ by rounding from one machine to another.
"""

import dataclasses
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from circuit_tracer import attribute
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder, load_clt
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import (
    convert_gemma_weights,
    convert_gpt2_weights,
    convert_llama_weights,
)
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

N_LAYERS, D_MODEL, N_HEADS, D_HEAD, D_MLP, D_VOCAB, N_CONTEXT = 3, 16, 4, 4, 32, 40, 32
N_FEATURES = 64
ACTIVE = 2.5
"""Active features a layer and position, on average; they decide how large the graph is."""
MARGIN = 1e-4
"""No pre-activation is so near to its threshold: rounding must not decide what is active."""
PROMPT = [0, 23, 31, 10, 38, 14, 32, 25]
GRAPH = {"max_n_logits": 5, "desired_logit_prob": 0.9999999, "batch_size": 64, "max_feature_nodes": None}
MODES: dict[str, dict[str, Any]] = {
    "direct": {"constrained_layers": range(N_LAYERS)},
    "attn_frozen": {"freeze_attention": True},
    "free": {"freeze_attention": False},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    arch: str
    seed: int
    is_cross_layer: bool = False
    has_skip: bool = False
    has_threshold: bool = True
    reads_at: str = "mlp.hook_in"
    writes_at: str = "mlp.hook_out"


CASES = (
    Case(name="llama_plt", arch="llama", seed=1, has_skip=True),
    Case(name="gpt2_plt", arch="gpt2", seed=2, has_threshold=False),
    Case(
        name="gemma2_clt", arch="gemma2", seed=3, is_cross_layer=True,
        reads_at="hook_resid_mid", writes_at="hook_mlp_out",
    ),
)  # fmt: skip


def hugging_face_model(case: Case) -> Any:
    """A random model whose norms are no identity, as Hugging Face gives it."""
    torch.manual_seed(case.seed)
    shape = {
        "vocab_size": D_VOCAB, "hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS, "num_key_value_heads": N_HEADS // 2, "head_dim": D_HEAD,
        "max_position_embeddings": N_CONTEXT, "initializer_range": 0.3, "tie_word_embeddings": False,
        "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    if case.arch == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape))
    elif case.arch == "gemma2":
        config = Gemma2Config(**shape, query_pre_attn_scalar=D_HEAD, pad_token_id=0, attn_implementation="eager")
        model = Gemma2ForCausalLM(config)  # eager: the others leave out the softcap of attention
    else:
        config = GPT2Config(
            vocab_size=D_VOCAB, n_positions=N_CONTEXT, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=N_HEADS,
            n_inner=D_MLP, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name or name.endswith(".bias"):
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def lens_config(case: Case) -> HookedTransformerConfig:
    """The same architecture in TransformerLens' words."""
    shape: dict[str, Any] = {
        "n_layers": N_LAYERS, "d_model": D_MODEL, "n_ctx": N_CONTEXT, "d_head": D_HEAD, "n_heads": N_HEADS,
        "d_mlp": D_MLP, "d_vocab": D_VOCAB, "device": "cpu", "dtype": torch.float32,
    }  # fmt: skip
    if case.arch == "gpt2":
        return HookedTransformerConfig(**shape, act_fn="gelu_new", eps=1e-5, normalization_type="LN")
    shape |= {
        "n_key_value_heads": N_HEADS // 2, "eps": 1e-6, "normalization_type": "RMS", "final_rms": True,
        "gated_mlp": True, "positional_embedding_type": "rotary", "rotary_adjacent_pairs": False,
        "rotary_dim": D_HEAD, "rotary_base": 10000, "act_fn": "silu",
    }  # fmt: skip
    if case.arch == "gemma2":
        shape |= {
            "act_fn": "gelu_pytorch_tanh", "use_attn_scale": True, "window_size": 4096, "use_local_attn": True,
            "attn_types": ["local", "global"] * (N_LAYERS // 2) + ["local"] * (N_LAYERS % 2),
            "attn_scores_soft_cap": 50.0, "output_logits_soft_cap": 30.0, "use_normalization_before_and_after": True,
        }  # fmt: skip
    return HookedTransformerConfig(**shape)


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    words = {"<bos>": 0, **{f"t{i}": i for i in range(1, D_VOCAB)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<bos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<bos>")
    fast.save_pretrained(folder)
    return fast


@torch.no_grad()
def write_transcoder(case: Case, lens: Any, folder: Path) -> None:
    """Random transcoders in circuit-tracer's own layout; biases let about ACTIVE features fire a position."""
    folder.mkdir(parents=True, exist_ok=True)
    _, cache = lens.run_with_cache(torch.tensor(PROMPT))
    here = {"mlp.hook_in": "ln2.hook_normalized"}.get(case.reads_at, case.reads_at)
    for layer in range(N_LAYERS):
        inputs = cache[f"blocks.{layer}.{here}"][0]
        if case.reads_at == "mlp.hook_in" and case.arch == "llama":
            inputs = inputs * lens.blocks[layer].ln2.w
        W_enc = torch.nn.functional.normalize(torch.randn(N_FEATURES, D_MODEL), dim=1)
        b_enc = 0.1 * torch.randn(N_FEATURES)
        pre = inputs @ W_enc.T + b_enc
        silent = round(pre[1:].numel() * (1 - ACTIVE / N_FEATURES))
        cut = float(pre[1:].flatten().sort().values[silent - 1 : silent + 1].mean())  # between two of them
        threshold = 0.2 + 0.2 * torch.rand(N_FEATURES)
        b_enc += (threshold if case.has_threshold else 0) - cut
        b_dec = 0.1 * torch.randn(D_MODEL)
        if case.is_cross_layer:
            reach = N_LAYERS - layer
            tensors = {f"W_enc_{layer}": W_enc, f"b_enc_{layer}": b_enc, f"b_dec_{layer}": b_dec}
            if case.has_threshold:
                tensors[f"threshold_{layer}"] = threshold
            save_file(tensors, folder / f"W_enc_{layer}.safetensors")
            W_dec = 0.3 * torch.randn(N_FEATURES, reach, D_MODEL)
            save_file({f"W_dec_{layer}": W_dec}, folder / f"W_dec_{layer}.safetensors")
        else:
            W_dec = 0.3 * torch.randn(N_FEATURES, D_MODEL)
            tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
            if case.has_threshold:
                tensors["activation_function.threshold"] = threshold
            if case.has_skip:
                tensors["W_skip"] = 0.2 * torch.randn(D_MODEL, D_MODEL)
            save_file(tensors, folder / f"layer_{layer}.safetensors")
    config = {
        "model_name": f"{case.arch}-random",
        "model_kind": "cross_layer_transcoder" if case.is_cross_layer else "transcoder_set",
        "feature_input_hook": case.reads_at, "feature_output_hook": case.writes_at, "scan": f"golden/{case.name}",
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def replacement_model(case: Case, hf: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Any:
    """circuit-tracer's model of these weights, with the transcoders of `folder` in place, which are written first."""
    config = lens_config(case)
    convert = {"llama": convert_llama_weights, "gemma2": convert_gemma_weights, "gpt2": convert_gpt2_weights}
    model = TransformerLensReplacementModel(config)
    model.load_state_dict(convert[case.arch](hf, config), strict=False)
    model.tokenizer = tokenizer
    torch.testing.assert_close(model(torch.tensor([PROMPT])), hf(torch.tensor([PROMPT])).logits, atol=1e-4, rtol=1e-4)
    write_transcoder(case, model, folder)
    hooks = {"feature_input_hook": case.reads_at, "feature_output_hook": case.writes_at, "scan": case.name}
    options = {"device": torch.device("cpu"), "dtype": torch.float32}
    if case.is_cross_layer:
        transcoders = load_clt(str(folder), **hooks, **options)
    else:
        paths = {layer: str(folder / f"layer_{layer}.safetensors") for layer in range(N_LAYERS)}
        transcoders = load_transcoder_set(paths, **hooks, **options)
    model._configure_replacement_model(transcoders)  # what from_config does, after the weights are in
    return model


def write_graph(case: Case, model: Any, folder: Path) -> Any:
    tokens = torch.tensor(PROMPT)
    graph = attribute(tokens, model, verbose=False, **GRAPH)
    run = model.setup_attribution(tokens)
    tensors = {
        "active_features": graph.active_features, "activation_values": graph.activation_values,
        "selected_features": graph.selected_features, "adjacency": graph.adjacency_matrix,
        "logit_token_ids": torch.tensor([target.vocab_idx for target in graph.logit_targets]),
        "logit_probabilities": graph.logit_probabilities, "input_tokens": tokens,
        "error_vectors": run.error_vectors, "token_vectors": run.token_vectors, "logits": run.logits.squeeze(0),
    }  # fmt: skip
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / "graph.safetensors")
    meta = {
        "case": case.name, "arch": case.arch, "kind": "clt" if case.is_cross_layer else "plt",
        "activation": "jump_relu" if case.has_threshold else "relu", "skip_connection": case.has_skip,
        "feature_input_hook": case.reads_at, "feature_output_hook": case.writes_at, "prompt": PROMPT,
        "n_layers": N_LAYERS, "n_pos": len(PROMPT), "n_active": len(graph.active_features),
        "n_logits": len(graph.logit_targets), "nodes": len(graph.adjacency_matrix), "attribute_kwargs": GRAPH,
        "versions": {name: version(name) for name in ("circuit-tracer", "torch", "transformers", "transformer-lens")},
    }  # fmt: skip
    write_json(folder / "meta.json", meta)
    return graph


@torch.no_grad()
def write_interventions(model: Any, graph: Any, folder: Path) -> None:
    """The strongest direct writer on the logits doubled, the two strongest ablated, an inactive feature switched on;
    all of them below the last layer, so that other features respond."""
    n = len(graph.active_features)
    direct = graph.adjacency_matrix[-len(graph.logit_targets) :, :n].abs().sum(0)
    first, second = (direct * (graph.active_features[:, 0] < N_LAYERS - 1)).topk(2).indices.tolist()
    places, values = graph.active_features.tolist(), graph.activation_values.tolist()
    active = {tuple(place) for place in places}
    layer, position = places[first][0], len(PROMPT) - 1
    dead = next(f for f in range(N_FEATURES) if (layer, position, f) not in active)
    sets = {
        "double_one": [(*places[first], 2 * values[first])],
        "ablate_two": [(*places[first], 0.0), (*places[second], 0.0)],
        "switch_on_dead": [(layer, position, dead, 3.0)],
    }
    tokens, tensors = torch.tensor(PROMPT), {}
    for name, interventions in sets.items():
        for mode, options in MODES.items():
            logits, activations = model.feature_intervention(tokens, interventions, **options)
            _, pre = model.feature_intervention(tokens, interventions, apply_activation_function=False, **options)
            assert (pre - thresholds(model))[:, 1:].abs().min() > MARGIN, f"{name}.{mode}: take another seed"
            tensors[f"{name}.{mode}.logits"] = logits.squeeze(0)
            tensors |= sparse(f"{name}.{mode}.activations", activations)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "intervention.safetensors")
    said = {
        "interventions": sets, "modes": {mode: str(options) for mode, options in MODES.items()},
        "strongest_node": first,
    }  # fmt: skip
    write_json(folder / "intervention.json", said)


def thresholds(model: Any) -> Tensor:
    """[layer, 1, feature]; zero for ReLU."""
    sets = model.transcoders
    each = [sets] if isinstance(sets, CrossLayerTranscoder) else list(sets)
    found = [getattr(one.activation_function, "threshold", torch.zeros(N_FEATURES)) for one in each]
    return torch.cat([threshold.reshape(-1, 1, N_FEATURES) for threshold in found])


def sparse(name: str, activations: Tensor) -> dict[str, Tensor]:
    index = activations.nonzero()
    return {f"{name}.index": index, f"{name}.value": activations[tuple(index.T)]}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    for case in CASES:
        folder = root / case.name
        hf = hugging_face_model(case)
        hf.save_pretrained(folder / "model")
        (folder / "model" / "generation_config.json").unlink()
        tokenizer = write_tokenizer(folder / "model")
        model = replacement_model(case, hf, tokenizer, folder / "transcoder")
        graph = write_graph(case, model, folder)
        write_interventions(model, graph, folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{case.name}: {len(graph.active_features)} active features, {size / 1000:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()
