"""One Hugging Face architecture described as data: where the parts of a block are, and how they are put together.

A new architecture is one entry in `ARCHITECTURES` and one line in tests/zoo.py (docs/architectures.md).
"""

from dataclasses import dataclass, replace

from torch import nn

from silverstain.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class NormKind:
    """What the norm modules of an architecture compute.

    (x − mean(x), if centred) / sqrt(mean of its square + epsilon) · (weight + weight_offset) + bias, if there is one.
    """

    epsilon: str
    """Attribute of the module that is added to the mean square before the root."""
    is_centred: bool = False
    weight_offset: float = 0.0


RMS = NormKind(epsilon="variance_epsilon")
ZERO_CENTRED_RMS = NormKind(epsilon="eps", weight_offset=1.0)
LAYER = NormKind(epsilon="eps", is_centred=True)


@dataclass(frozen=True, kw_only=True)
class MlpParts:
    """Where the projections of an MLP are, as names at the MLP; the defaults are those of Llama."""

    gate: str = "gate_proj"
    """The projection that passes through the activation function."""
    up: str | None = "up_proj"
    """The one that is multiplied with it; None where there is no such thing, the same name as `gate` where both are
    one matrix, the gate's rows first."""
    down: str = "down_proj"
    activation: str = "act_fn"
    experts: str | None = None
    """In a mixture of experts: the module that holds them all, with `router` beside it."""
    router: str = "router"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where the parts of a decoder are, as dotted paths of modules; the defaults are those of Llama.

    Paths of the first group start at the model, those of the second at a block. A block adds two things to the stream:

        stream += attention_output_norm(attention(attention_norm(stream)))
        stream += mlp_output_norm(mlp(mlp_norm(stream)))

    where a norm that is None does nothing. Query and key norms, rotary or learned positions, windows, sinks and
    soft-capping of scores have no entry: they act on attention patterns and on the embedding, which are recorded.
    """

    model_type: str
    """`config.model_type` of the models described."""
    embedding: str = "model.embed_tokens"
    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    unembedding: str = "lm_head"

    attention_norm: str | None = "input_layernorm"
    attention: str = "self_attn"
    value: str = "self_attn.v_proj"
    """The projection to values, or the one to queries, keys and values, whose last outputs are the values."""
    output: str = "self_attn.o_proj"
    attention_output_norm: str | None = None
    mlp_norm: str | None = "post_attention_layernorm"
    mlp: str = "mlp"
    """Reads the output of `mlp_norm`. A mixture of experts is one MLP, its router included."""
    mlp_output_norm: str | None = None

    neurons: MlpParts = MlpParts()
    """Where an MLP's neurons are (`models.neurons`)."""

    norm: NormKind = RMS
    is_value_interleaved: bool = False
    """The fused projection gives queries, keys and values head by head, not one after the other."""
    has_sinks: bool = False
    """Heads may attend to nothing: rows of their patterns sum to less than 1."""
    is_mlp_output_first: bool = False
    """The MLP returns more than its output (the router's scores), the output first."""
    parallel: str | None = None
    """Setting that says whether attention and MLP of a block read the same stream; None: the MLP reads what attention
    has added to."""
    softcap: str | None = None
    """Setting that holds what logits are soft-capped with: cap · tanh(x / cap). Logits are explained before it."""


GEMMA2 = Architecture(
    model_type="gemma2",
    attention_output_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_output_norm="post_feedforward_layernorm",
    norm=ZERO_CENTRED_RMS,
    softcap="final_logit_softcapping",
)

ARCHITECTURES: dict[str, Architecture] = {
    entry.model_type: entry
    for entry in (
        Architecture(
            model_type="gpt2",
            embedding="transformer.wte",
            blocks="transformer.h",
            final_norm="transformer.ln_f",
            attention_norm="ln_1",
            attention="attn",
            value="attn.c_attn",
            output="attn.c_proj",
            mlp_norm="ln_2",
            neurons=MlpParts(gate="c_fc", up=None, down="c_proj", activation="act"),
            norm=LAYER,
        ),
        Architecture(
            model_type="gpt_neox",  # Pythia
            embedding="gpt_neox.embed_in",
            blocks="gpt_neox.layers",
            final_norm="gpt_neox.final_layer_norm",
            attention="attention",
            value="attention.query_key_value",
            output="attention.dense",
            neurons=MlpParts(gate="dense_h_to_4h", up=None, down="dense_4h_to_h", activation="act"),
            norm=LAYER,
            is_value_interleaved=True,
            parallel="use_parallel_residual",
        ),
        Architecture(model_type="llama"),  # Llama 2 and 3, SmolLM
        Architecture(model_type="mistral"),
        Architecture(model_type="qwen2"),
        Architecture(model_type="qwen3"),
        GEMMA2,
        replace(GEMMA2, model_type="gemma3_text"),
        replace(
            GEMMA2,
            model_type="gemma3",  # sees images too; its language model is what is traced
            embedding="model.language_model.embed_tokens",
            blocks="model.language_model.layers",
            final_norm="model.language_model.norm",
        ),
        Architecture(
            model_type="olmo2",
            attention_norm=None,
            attention_output_norm="post_attention_layernorm",
            mlp_norm=None,
            mlp_output_norm="post_feedforward_layernorm",
        ),
        Architecture(
            model_type="phi3",
            value="self_attn.qkv_proj",
            neurons=MlpParts(gate="gate_up_proj", up="gate_up_proj", activation="activation_fn"),
        ),
        Architecture(
            model_type="gpt_oss", neurons=MlpParts(experts="experts"), has_sinks=True, is_mlp_output_first=True
        ),
    )
}


def architecture_of(hf: nn.Module) -> Architecture:
    """The table's entry for a Hugging Face model; UsageError that names the entry to write when there is none."""
    model_type = getattr(getattr(hf, "config", None), "model_type", type(hf).__name__)
    check_supported(model_type)
    return ARCHITECTURES[model_type]


def check_supported(model_type: str, source: str = "this model") -> None:
    """UsageError, with the entry to write, unless the table has one for `model_type`."""
    if model_type not in ARCHITECTURES:
        raise UsageError(
            f"{source} is of type {model_type!r}, which is not supported yet (supported: "
            f"{', '.join(sorted(ARCHITECTURES))}); write an entry Architecture(model_type={model_type!r}, …) in "
            "ARCHITECTURES of silverstain/models/architecture.py, as docs/architectures.md shows"
        )
