"""Where in a block dictionaries read and write, under the many names that published files give these places.

Our names are circuit-tracer's, relative to a block. Files of other libraries name modules of Hugging Face models or
TransformerLens hooks with the block's number in them; what is not in the table keeps its name, and is refused later,
by that name.
"""

import re

READS_AT = "mlp.hook_in"  # the output of the pre-MLP norm, its weight applied: what `Recording.mlp_inputs` holds
NORMALISED = "ln2.hook_normalized"  # the same before the norm's weight
BEFORE_NORM = "hook_resid_mid"  # the residual stream that the pre-MLP norm reads
WRITES_AT = "hook_mlp_out"  # what is added to the stream: behind the norm that may follow the MLP
MLP_OUTPUT = "mlp.hook_out"  # the MLP's own output: the same place where no norm follows

_PLACES = {
    "mlp.input": READS_AT,
    "mlp.hook_pre_norm": READS_AT,
    "ln2.hook_out": READS_AT,
    "ln_2.output": READS_AT,
    "pre_feedforward_layernorm.output": READS_AT,
    "hook_mlp_in": BEFORE_NORM,
    "mlp.output": MLP_OUTPUT,
    "post_feedforward_layernorm.output": WRITES_AT,
    "hook_mlp_out": WRITES_AT,
}
_BLOCK = re.compile(r"^.*?\b(?:layers?|blocks?|h)\.(?:\d+|\{\}|\{layer\})\.?")


def site_of(name: str | None) -> str | None:
    """Our name of a place: `blocks.5.hook_mlp_out` and `model.layers.5.post_feedforward_layernorm.output` are one."""
    if not name:
        return None
    within = _BLOCK.sub("", name)
    return _PLACES.get(within, within or name)


def block_of(*names: str | None) -> int | None:
    """The number of the block that a name or a path speaks of, the first that speaks of one."""
    for name in names:
        found = re.findall(r"(?:^|[/._-])(?:layers?|blocks?|h)[._-]?(\d{1,9})(?!\d)", name or "", re.IGNORECASE)
        if found:
            return int(found[-1])
    return None
