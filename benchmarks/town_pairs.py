"""Pairs of towns of the organism in one wording, what its runs put out at the last word, and exchanges of it.

Used by `town_contrasts.py`.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from silverstain.models import LanguageModel
from silverstain.organism.families.geography import TWO_HOP, two_hop
from silverstain.organism.world import RELATIONS, Town, default_geography

ASKED = "capital"

Site = tuple[str, int]
"""An output at the last word: of the attention, the MLP or the whole block of a layer."""

# pairs of towns


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two towns in one wording."""

    template: int
    towns: tuple[Town, Town]
    """The base's and the contrast's."""
    token_ids: tuple[tuple[int, ...], tuple[int, ...]]
    answers: tuple[int, int]
    """Tokens of the two capitals."""


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Those that are measured, and how many drawn ones the model answers wrongly on a side."""

    cases: tuple[Case, ...]
    wrong: int

    @property
    def ids(self) -> Int[Tensor, "run pos"]:
        """All bases, then all contrasts."""
        return torch.tensor([case.token_ids[side] for side in (0, 1) for case in self.cases])


def draw_cases(model: LanguageModel, n: int, seed: str) -> Cases:
    """n pairs of towns of different states, wordings in turn, that the model answers rightly on both sides."""
    draw, towns, cases, wrong = random.Random(seed), default_geography().towns, [], 0
    seen: set[tuple[int, str, str]] = set()
    while len(cases) < n:
        template = len(cases) % len(TWO_HOP)
        one, other = draw.sample(towns, 2)
        if one.state is other.state or (template, one.name, other.name) in seen:
            continue
        seen.add((template, one.name, other.name))
        ids = [tuple(model.tokenize(two_hop(town, ASKED, template=template).prompt)) for town in (one, other)]
        if len(ids[0]) != len(ids[1]) or (cases and len(ids[0]) != len(cases[0].token_ids[0])):
            continue
        answers = model.token_id(one.state.capital), model.token_id(other.state.capital)
        with torch.no_grad():
            said = model.hf(input_ids=torch.tensor(ids), use_cache=False).logits[:, -1].argmax(-1)
        if tuple(said.tolist()) != answers:
            wrong += 1
            continue
        cases.append(Case(template=template, towns=(one, other), token_ids=(ids[0], ids[1]), answers=answers))
    return Cases(cases=tuple(cases), wrong=wrong)


# outputs at the last word


def sites_of(model: LanguageModel) -> list[Site]:
    """The attention and the MLP of every layer."""
    return [(kind, layer) for layer in range(model.n_layers) for kind in ("attention", "mlp")]


def streams_of(model: LanguageModel) -> dict[str, Site]:
    """The stream at the last word: m0, and behind each block. m0 is exchanged by exchanging what the attention of layer
    0 adds, as the last word itself is the same in both runs."""
    return {"m0": ("attention", 0)} | {f"r{layer + 1}": ("block", layer) for layer in range(model.n_layers)}


def run(
    model: LanguageModel,
    ids: Int[Tensor, "run pos"],
    edits: Mapping[Site, Callable[[Float[Tensor, "run d_model"]], Float[Tensor, "run d_model"] | None]],
) -> Float[Tensor, "run d_vocab"]:
    """Logits of the next token, with what some modules put out at the last word seen and, unless None comes back,
    replaced."""
    modules = {"attention": model.attention, "mlp": model.mlp_writer, "block": model.block}

    def hook(edit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
        def leave(_: nn.Module, _arguments: tuple, output: Any) -> Any:
            out = output[0] if isinstance(output, tuple) else output
            edited = edit(out[:, -1])
            if edited is None:
                return None
            out = torch.cat([out[:, :-1], edited[:, None]], dim=1)
            return (out, *output[1:]) if isinstance(output, tuple) else out

        return leave

    with ExitStack() as stack:
        for (kind, layer), edit in edits.items():
            stack.callback(modules[kind](layer).register_forward_hook(hook(edit)).remove)
        return model.hf(input_ids=ids, use_cache=False).logits[:, -1]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the runs of all pairs put out at the last word, and how they are judged."""

    model: LanguageModel
    cases: Cases
    at: Mapping[Site, Float[Tensor, "run d_model"]]
    clean: Float[Tensor, "run d_vocab"]

    @property
    def partner(self) -> Int[Tensor, " run"]:
        return torch.arange(len(self.clean)).roll(len(self.cases.cases))

    def values(self, logits: Float[Tensor, "run d_vocab"]) -> Float[Tensor, "side pair"]:
        """The target: contrast's capital less base's, in both halves."""
        base, contrast = torch.tensor([case.answers for case in self.cases.cases]).T
        halves = logits.unflatten(0, (2, -1))
        every = torch.arange(len(base))
        return halves[:, every, contrast] - halves[:, every, base]

    @property
    def whole(self) -> Float[Tensor, " pair"]:
        """By how much the target differs between the two runs."""
        base, contrast = self.values(self.clean)
        return contrast - base

    def share(self, effects: Float[Tensor, "site pair"]) -> list[float]:
        """The mean effect at each site over the mean of the whole change."""
        return (effects.mean(1) / self.whole.mean()).tolist()

    def turned(self, logits: Float[Tensor, "run d_vocab"]) -> list[bool]:
        """Whether the contrast's capital is the first choice, in the half of the bases."""
        wanted = torch.tensor([case.answers[1] for case in self.cases.cases])
        return (logits[: len(wanted)].argmax(-1) == wanted).tolist()

    @torch.no_grad()
    def exchanged(self, sites: Sequence[Site]) -> Float[Tensor, "run d_vocab"]:
        """Every run with its partner's outputs at some sites, the rest live."""
        edits = {site: lambda _, site=site: self.at[site][self.partner] for site in sites}
        return run(self.model, self.cases.ids, edits)

    def effects(self, logits: Float[Tensor, "run d_vocab"]) -> Float[Tensor, "direction pair"]:
        """Change of the target in the base; in the contrast, sign turned; the mean."""
        change = self.values(logits) - self.values(self.clean)
        return torch.stack([change[0], -change[1], (change[0] - change[1]) / 2])

    def gradient_effects(self, sites: Sequence[Site]) -> Float[Tensor, "site direction pair"]:
        """What the gradient of the changed run expects of each exchange."""
        nudges = {site: torch.zeros_like(self.at[site]).requires_grad_() for site in sites}
        edits = {site: lambda out, nudge=nudge: out + nudge for site, nudge in nudges.items()}
        with torch.enable_grad():
            value = self.values(run(self.model, self.cases.ids, edits)).sum()
            gradients = torch.autograd.grad(value, list(nudges.values()))
        found = []
        for site, gradient in zip(sites, gradients, strict=True):
            change = (gradient * (self.at[site][self.partner] - self.at[site])).sum(-1).unflatten(0, (2, -1))
            found.append(torch.stack([change[0], -change[1], (change[0] - change[1]) / 2]))
        return torch.stack(found)


@torch.no_grad()
def outputs(model: LanguageModel, cases: Cases) -> Outputs:
    """Run all pairs once."""
    kept: dict[Site, Tensor] = {}
    sites = [*sites_of(model), *(("block", layer) for layer in range(model.n_layers))]
    edits = {site: lambda out, site=site: kept.update({site: out}) for site in sites}
    return Outputs(model=model, cases=cases, clean=run(model, cases.ids, edits), at=kept)


# mean differences between towns of two states


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Towns asked for every relation in one wording."""

    token_ids: Int[Tensor, "prompt pos"]
    towns: Sequence[Town]
    relations: Sequence[str]

    def rows(self, towns: Sequence[Town], relations: Sequence[str]) -> Int[Tensor, " row"]:
        names = {town.name for town in towns}
        rows = [
            i
            for i, (town, relation) in enumerate(zip(self.towns, self.relations, strict=True))
            if town.name in names and relation in relations
        ]
        return torch.tensor(rows)


def asked(model: LanguageModel, template: int, towns: Sequence[Town]) -> Asked:
    """All questions about some towns in a wording."""
    each, relations = [town for town in towns for _ in RELATIONS], list(RELATIONS) * len(towns)
    prompts = [two_hop(town, r, template=template).prompt for town, r in zip(each, relations, strict=True)]
    return Asked(token_ids=torch.tensor([model.tokenize(p) for p in prompts]), towns=each, relations=relations)


ByTemplate = Mapping[int, Asked]


def of_state(town: Town) -> list[Town]:
    return [other for other in default_geography().towns if other.state is town.state]


def questions_of(cases: Cases, model: LanguageModel) -> ByTemplate:
    """All questions about towns of the states that the cases are about, in their wordings."""
    names = {town.state.name for case in cases.cases for town in case.towns}
    towns = [town for town in default_geography().towns if town.state.name in names]
    return {template: asked(model, template, towns) for template in sorted({case.template for case in cases.cases})}


@torch.no_grad()
def stream_mean_differences(found: Outputs, questions: ByTemplate) -> dict[str, list[bool]]:
    """The base's stream at the last word moved by the mean over towns of the contrast's state less the mean over those
    of its own (`own town`: less the town itself), the asked relation left out."""
    model, others = found.model, [relation for relation in RELATIONS if relation != ASKED]
    sites = {name: site for name, site in streams_of(model).items() if name in ("m0", "r3")}
    kept: dict[tuple[int, Site], Tensor] = {}
    for template, every in questions.items():
        edits = {site: lambda out, key=(template, site): kept.update({key: out}) for site in sites.values()}
        run(model, every.token_ids, edits)
    turned = {}
    for name, site in sites.items():
        for own in (False, True):
            moves = []
            for case in found.cases.cases:
                every, at = questions[case.template], kept[case.template, site]
                one, other = case.towns
                leave = every.rows([one] if own else of_state(one), others)
                moves.append(at[every.rows(of_state(other), others)].mean(0) - at[leave].mean(0))
            move = torch.stack(moves)
            move = torch.cat([move, torch.zeros_like(move)])
            for strength in (1.0, 1.5):
                logits = run(model, found.cases.ids, {site: lambda out, by=strength * move: out + by})
                turned[f"{name}{', less its own town' if own else ''}, × {strength:g}"] = found.turned(logits)
    return turned
