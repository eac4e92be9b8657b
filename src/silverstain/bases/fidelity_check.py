"""Whether a dictionary does its work in a model: what it leaves of the MLPs' variance on a short text.

Settings may name another hook point than the weights were trained at, and a wrong one gives no error, only numbers. A
set that is right leaves a part of the variance; one that reads or writes elsewhere, or belongs to other weights, does
no better than the mean of each MLP's output would, which is 1 by definition.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.bases.dictionary import Dictionary
from silverstain.bases.sites import BEFORE_NORM, NORMALISED, READS_AT
from silverstain.errors import UsageError
from silverstain.models import LanguageModel, Recording, record

FEWEST = 8
"""Different tokens in the text: a vocabulary without its words may make it one token, again and again."""
WORST = 0.9
"""Share of variance, median over layers, from which on a dictionary is refused: published ones leave 0.1 to 0.6."""

PROBE = (
    "The river rises in the mountains north of the old town and runs south for ninety miles before it meets the sea. "
    "In spring, when the snow melts, the water is high and boats can reach the bridge at the market square. Why did "
    "nobody build a second bridge? In 1912 the council voted 7 to 5 against it, and after the war there was no money."
)


class Fidelity(NamedTuple):
    """Unexplained share of each layer's variance: Σ‖y − ŷ‖² / Σ‖y − mean y‖² over positions."""

    unexplained: Float[Tensor, " layer"]

    @property
    def median(self) -> float:
        return float(self.unexplained.median())


def fidelity(
    dictionary: Dictionary, recording: Recording, mlp_inputs: Tensor | None = None, n_real: int = 1
) -> Fidelity:
    """How much of what the MLPs of a recorded run write the dictionary leaves, from position `n_real` on."""
    inputs = recording.mlp_inputs if mlp_inputs is None else mlp_inputs
    found = dictionary.reconstruct(dictionary.encode(inputs, n_real=n_real), inputs)[:, n_real:].double()
    wanted = recording.mlp_outputs[:, n_real:].to(found)
    spread = (wanted - wanted.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    left = (wanted - found).square().sum(dim=(1, 2))
    return Fidelity(torch.where(spread > 0, left / spread, left.sign()))


def check_fidelity(dictionary: Dictionary, model: LanguageModel) -> Fidelity:
    """Run the model on a short text; UsageError where the dictionary does not stand in for its MLPs, with the hook
    point that it does fit, if there is one."""
    recording = record(model, _probe(model), reads_at=dictionary.reads_at)
    ours = dictionary.to(device=model.device, dtype=model.dtype)
    found = fidelity(ours, recording, n_real=model.n_real)
    if found.median < WORST:
        return found
    others = {site: fidelity(ours, recording, x, model.n_real) for site, x in _other_inputs(recording, model).items()}
    best = min(others, key=lambda site: others[site].median, default=None)
    raise UsageError(
        f"the dictionary {dictionary.name} does not stand in for the MLPs of {model.name}: it leaves "
        f"{found.median:.0%} of their variance (median of {model.n_layers} layers; the mean alone would leave 100%). "
        + (
            f"It leaves {others[best].median:.0%} when it reads at {best}: set feature_input_hook to that in its "
            f"config.yaml"
            if best is not None and others[best].median < min(WORST, found.median / 2)
            else f"It reads at {dictionary.reads_at} and writes at {dictionary.writes_at}: check these, and that it "
            f"was trained on these very weights"
        )
        + ". To use it all the same, turn the check off (--no-check-dictionary, check_dictionary=False)"
    )


def _probe(model: LanguageModel) -> list[int]:
    """Tokens of a plain English text, or, for a model that cannot read it, of its own vocabulary."""
    try:
        tokens = model.tokenize(PROBE)[: min(128, model.max_positions)]
    except UsageError:
        tokens = []
    if len(set(tokens)) >= FEWEST:
        return tokens
    n = min(32, model.max_positions)
    return torch.randint(model.d_vocab, (n,), generator=torch.Generator().manual_seed(0)).tolist()


def _other_inputs(recording: Recording, model: LanguageModel) -> dict[str, Float[Tensor, "layer pos d_model"]]:
    """What would be read at the places that dictionaries are most often trained at, found from what the MLPs read."""
    if recording.reads_at != READS_AT:
        return {}
    found: dict[str, list[Tensor]] = {NORMALISED: [], BEFORE_NORM: []}
    for layer, x in enumerate(recording.mlp_inputs):
        norm = model.norm("mlp", layer)
        if norm is None or not norm.weight.all():
            return {}
        normalised = (x if norm.bias is None else x - norm.bias) / norm.weight
        found[NORMALISED].append(normalised)
        found[BEFORE_NORM].append(normalised / recording.mlp_norm_scale[layer].unsqueeze(-1))
    return {site: torch.stack(inputs) for site, inputs in found.items()}
