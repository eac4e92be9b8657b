"""One measurement of circuit-tracer, run by the Python of its own environment.

python theirs.py CASE_FOLDER per-layer|cross-layer N_TOKENS N_FEATURES|all BATCH REPEATS OUT
"""

import sys
from pathlib import Path

import torch
from case import prompt_of, write_result
from circuit_tracer import attribute
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.transcoder.cross_layer_transcoder import load_clt
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from measuring import measured, peak_bytes, reset_peak


def load(folder: Path, kind: str):
    gpt2 = GPT2LMHeadModel.from_pretrained(folder / "model")
    c = gpt2.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_ctx=c.n_positions, d_head=c.n_embd // c.n_head, n_heads=c.n_head,
        d_mlp=4 * c.n_embd, d_vocab=c.vocab_size, act_fn="gelu_new", eps=c.layer_norm_epsilon, normalization_type="LN",
        device="cpu", dtype=torch.float32,
    )  # fmt: skip
    hooks = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "mlp.hook_out", "scan": "random"}
    options = {"device": torch.device("cpu"), "dtype": torch.float32}
    if kind == "cross-layer":
        transcoders = load_clt(str(folder / kind), **hooks, **options)
    else:
        paths = {layer: str(folder / kind / f"layer_{layer}.safetensors") for layer in range(c.n_layer)}
        transcoders = load_transcoder_set(paths, **hooks, **options)
    model = TransformerLensReplacementModel(config)
    model.load_state_dict(convert_gpt2_weights(gpt2, config), strict=False)
    model.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
    model._configure_replacement_model(transcoders)  # what from_config does, after the weights are in
    return model


def main() -> None:
    folder, kind, n_tokens, n_features, batch, repeats, out = sys.argv[1:]
    torch.set_num_threads(1)
    model = load(Path(folder), kind)
    prompt = torch.tensor(prompt_of(int(n_tokens)))
    limit = None if n_features == "all" else int(n_features)
    attribute(prompt[:3], model, batch_size=1, max_feature_nodes=1, verbose=False)  # as ours begins
    before = reset_peak()

    def run():
        return attribute(prompt, model, batch_size=int(batch), max_feature_nodes=limit, verbose=False)

    graph, seconds = measured(run, int(repeats))
    figures = {**seconds, "peak_bytes": peak_bytes() - before, "nodes": len(graph.adjacency_matrix)}
    chosen = graph.active_features[graph.selected_features]
    tokens = torch.tensor([target.vocab_idx for target in graph.logit_targets])
    tensors = {"adjacency": graph.adjacency_matrix, "features": chosen, "logits": tokens}
    write_result(Path(out), figures, tensors)


if __name__ == "__main__":
    main()
