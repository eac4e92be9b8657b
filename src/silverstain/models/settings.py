"""Which settings of a model belong to its hash: all but those that cannot change a logit.

In version 0.1 the hash covered the weights, the rotary frequencies and the settings of `NAMED`. Of the rest, it
covers what is not as the architecture has it by itself: so the hash of a model with nothing unusual about it is what
it was, and dictionaries, graphs and treatments made then stay valid; and a new release of transformers, which gives a
new setting a default under which nothing changes, gives no model another hash.
"""

import json
from typing import Any

from transformers import PreTrainedConfig

from silverstain.models.rotary import FIXED, rotary_settings

ALWAYS_NAMED = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps",
)  # fmt: skip
# of architectures that came later, so only where a configuration has them
NAMED_IF_THERE = (
    "activation_function", "hidden_activation", "layer_norm_epsilon", "layer_norm_eps", "use_parallel_residual",
    "final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar", "sliding_window",
    "num_experts_per_tok",
)  # fmt: skip
NAMED = (*ALWAYS_NAMED, *NAMED_IF_THERE)

# what cannot change a logit, or is seen in the weights' names and shapes
INERT = frozenset((
    # names, versions, and what a call gives back
    "_name_or_path", "name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "auto_map",
    "return_dict", "output_hidden_states", "output_attentions", "output_router_logits", "use_cache",
    "cache_implementation", "tokenizer_class", "task_specific_params", "finetuning_task", "problem_type", "id2label",
    "label2id", "num_labels", "keys_to_ignore_at_inference",
    # how the same numbers are computed
    "_attn_implementation", "attn_implementation", "_experts_implementation", "chunk_size_feed_forward",
    "gradient_checkpointing", "pretraining_tp", "quantization_config",
    # training: initialisation, dropout (models run in evaluation mode), losses
    "initializer_range", "router_aux_loss_coef", "attention_dropout", "hidden_dropout", "classifier_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_type", "summary_use_proj", "summary_activation",
    "summary_proj_to_labels", "summary_first_dropout",
    # what tokens are called
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
    # of encoders
    "is_encoder_decoder", "is_decoder", "add_cross_attention",
    # the weights say it
    "vocab_size", "tie_word_embeddings", "attention_bias", "mlp_bias", "n_inner", "n_positions", "n_ctx", "n_embd",
    "n_layer", "n_head", "num_local_experts",
    # what `layer_types`, which is covered, follows from
    "use_sliding_window", "max_window_layers", "_sliding_window_pattern", "sliding_window_pattern",
    # covered by themselves: see `_rotary`
    "rope_parameters", "rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor",
    "max_position_embeddings", "original_max_position_embeddings",
))  # fmt: skip


def named_settings(config: PreTrainedConfig) -> str:
    """The settings that every hash has covered, as it has always written them."""
    there = [key for key in NAMED_IF_THERE if getattr(config, key, None) is not None]
    return "|".join(f"{key}={getattr(config, key, None)}" for key in (*ALWAYS_NAMED, *there))


def unusual_settings(config: PreTrainedConfig) -> str:
    """Every other setting that may change a logit and is not what the architecture has by itself, as JSON; "" for
    none."""
    ours, usual = _told(config), _told(_usual(config))
    found = {key: value for key, value in ours.items() if key not in usual or usual[key] != value}
    return json.dumps(found, sort_keys=True, default=str) if found else ""


def _told(config: PreTrainedConfig) -> dict[str, Any]:
    """The settings that count, as plain values."""
    plain = json.loads(json.dumps(config.to_dict(), default=str))
    told = {key: value for key, value in plain.items() if key not in INERT and key not in NAMED}
    return told | {"rotary": rotary} if (rotary := _rotary(config)) else told


def _rotary(config: PreTrainedConfig) -> dict[str, Any]:
    """Rotary settings that the frequencies do not tell: scales of attention, factors that depend on the length."""
    special = {
        name: dict(settings)
        for name, settings in rotary_settings(config).items()
        if settings.get("rope_type", "default") not in FIXED
    }
    if not special:
        return {}
    lengths = ("max_position_embeddings", "original_max_position_embeddings")
    return json.loads(json.dumps(special | {key: getattr(config, key, None) for key in lengths}, default=str))


def _usual(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration as the architecture makes it of the named settings alone."""
    given = config.to_dict()
    aliases = getattr(config, "attribute_map", {})
    named = (aliases.get(key, key) for key in NAMED if key != "model_type")
    return type(config)(**{key: given[key] for key in named if given.get(key) is not None})
