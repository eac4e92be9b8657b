"""What a treatment is compared with: random controls, deleting the cue, difference-of-means steering, fine-tuning.

The last two learn from development items; deleting the cue is a set of prompts.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import DirectionEdit
from silverstain.models import LanguageModel
from silverstain.models.prompts import padded, side_by_side
from silverstain.models.recording import kept
from silverstain.treatment.applying import treated
from silverstain.treatment.controls import N_CONTROLS, has_control, randomly_treated
from silverstain.treatment.measuring import Item, share_right
from silverstain.treatment.treatment import Rule, Treatment, treatment_for

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
ALLOWED_LOSS = 0.02


class Steering(NamedTuple):
    """The steering that did best in development."""

    treatment: Treatment
    target: float
    """Share of the development target it got right."""
    side: float


class Shares(NamedTuple):
    """How often the wanted token is the first choice."""

    target: float
    side: float | None
    """None where the cure is no change of the model."""


class Material(NamedTuple):
    """What the other cures learn from."""

    target: Sequence[Item]
    without: Sequence[Item]
    """The same without the cue, or how it should be otherwise; none leaves steering out."""


def compared(
    model: LanguageModel,
    dictionary: Basis,
    treatment: Treatment,
    *,
    target: Sequence[Item],
    side: Sequence[Item],
    without: Sequence[Item] = (),
    dev: Material | None = None,
    n_controls: int = N_CONTROLS,
    seed: int = 0,
) -> dict[str, Shares]:
    """What other cures do on the same items, by name: those for which there is material.

    Steering is chosen on `dev` and on the very side items it is then measured on, which favours it.
    """

    def shares(of: LanguageModel = model) -> Shares:
        return Shares(share_right(of, target), share_right(of, side))

    found: dict[str, Shares] = {}
    if has_control(treatment):
        drawn = []
        for draw in range(n_controls):
            with randomly_treated(model, dictionary, treatment, seed=seed + draw):
                drawn.append(shares())
        found["random control"] = Shares(*(sum(column) / n_controls for column in zip(*drawn, strict=True)))
    if without:
        found["cue deleted"] = Shares(share_right(model, without), None)
    if dev is not None and dev.without:
        steering = best_steering(model, dictionary, dev.target, dev.without, side).treatment
        with treated(model, dictionary, steering):
            found["difference of means"] = shares()
    if dev is not None:
        found["fine-tuned"] = shares(fine_tuned(model, dev.target, seed=seed))
    return found


def last_streams(model: LanguageModel, items: Sequence[Item], layer: int) -> Float[Tensor, "item d_model"]:
    """What block `layer` leaves at the last token of each prompt."""
    streams = torch.zeros(len(items), model.d_model, dtype=model.dtype, device=model.device)
    for numbers in side_by_side(model, [len(item.prompt) for item in items], len(items)):
        part = [items[i].prompt for i in numbers]
        with torch.no_grad(), kept({layer: model.block(layer)}, inputs=False) as found:
            model.hf(input_ids=padded(part, model.device), use_cache=False)
        last = torch.tensor([len(prompt) - 1 for prompt in part], device=model.device)
        streams[numbers] = found[layer][torch.arange(len(part), device=model.device), last]
    return streams


def best_steering(
    model: LanguageModel,
    dictionary: Basis,
    target: Sequence[Item],
    reference: Sequence[Item],
    side: Sequence[Item],
) -> Steering:
    """Adding mean(reference) − mean(target) at every token: layer and strength that get most of the target right,
    of those that cost the side at most 2 points; the least costly one if all cost more."""
    before, found = share_right(model, side), []
    for layer in range(model.n_layers):
        difference = last_streams(model, reference, layer).mean(0) - last_streams(model, target, layer).mean(0)
        if float(difference.norm()) == 0:
            continue
        for strength in STRENGTHS:
            edit = DirectionEdit(
                op="add", layer=layer, direction=tuple(difference.tolist()), name="difference of means",
                value=strength * float(difference.norm()),
            )  # fmt: skip
            steering = treatment_for(model, dictionary, [Rule(edit=edit)], name="difference of means")
            with treated(model, dictionary, steering):
                found.append(Steering(steering, share_right(model, target), share_right(model, side)))
    if not found:
        raise UsageError(
            "the target and what it is steered towards leave the same stream behind every block, so there is no "
            'direction to steer along; give prompts whose "without" differs'
        )
    cheap = [one for one in found if before - one.side <= ALLOWED_LOSS]
    return max(cheap, key=lambda one: one.target) if cheap else max(found, key=lambda one: one.side)


def fine_tuned(
    model: LanguageModel, items: Sequence[Item], *, steps: int = 60, learning_rate: float = 3e-4, seed: int = 0
) -> LanguageModel:
    """A copy of the model, trained to answer the items; the model itself stays as it is."""
    hf = copy.deepcopy(model.hf)
    optimizer = torch.optim.AdamW(hf.parameters(), lr=learning_rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(seed)
    last = torch.tensor([len(item.prompt) - 1 for item in items], device=model.device)
    ids = padded([item.prompt for item in items], model.device)
    answers = torch.tensor([item.answer for item in items], device=model.device)
    hf.requires_grad_(True)
    for _ in range(steps):
        rows = torch.randperm(len(items), generator=draw)[:64].to(model.device)
        logits = hf(input_ids=ids[rows], use_cache=False).logits[torch.arange(len(rows)), last[rows]]
        torch.nn.functional.cross_entropy(logits, answers[rows]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return LanguageModel(hf.requires_grad_(False), model.tokenizer, name=f"{model.name}, fine-tuned")
