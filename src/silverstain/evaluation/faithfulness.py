"""The faithfulness of a dictionary in one report: does what it computes behave as the model does when both are moved?

On any model: how small changes are passed on, by layers crossed; predicted beside measured effects of moving graph
nodes by several doses; and the replaced model under **unseen edits**, which neither training nor any text holds: all
features of one layer at the last word are given what they do on another prompt, of the same family or of any. A
dictionary that only learnt answers parts from the model there. An edit that changes no answer is a weak test, so
agreement is also given where the model's answer changes.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.attribution import record_run, trace_recorded
from silverstain.bases import Dictionary
from silverstain.brief import brief
from silverstain.errors import UsageError
from silverstain.evaluation.calibration import DoseResponse, PassedOn, calibrated, passed_on_by_distance
from silverstain.interventions import Edit, agreement_under_edits
from silverstain.models import LanguageModel, harvest_mlps
from silverstain.models.prompts import Prompt, as_ids
from silverstain.statistics import Estimate, Interval, interval_of_mean
from silverstain.verification.doses import Response, dose_responses
from silverstain.verification.graph_run import graph_run
from silverstain.verification.perturbations import Passing, passed_on

FORMAT = "silverstain.faithfulness/1"
NOTHING_TO_MOVE = "{} prompts are left out: nothing can be moved in a graph without features and errors"
NO_FAMILIES = "these prompts have no families, so edits come from any other prompt"
ONE_LAYER = "the model has one layer: no change is passed on to another MLP"
OnProgress = Callable[[int, int], None]


@brief
@dataclass(frozen=True, kw_only=True)
class UnseenEdits:
    """Model and replaced model under the same edits."""

    n: int
    agreement: float
    """Share of cases in which both say the same token."""
    interval: Interval
    n_changed: int
    """Cases in which the edit changes the model's answer."""
    agreement_changed: float | None
    """Agreement among these."""
    interval_changed: Interval | None
    kl: float
    """KL(edited model ‖ edited replaced model), mean, nats."""
    interval_kl: Interval


@brief
@dataclass(frozen=True, kw_only=True)
class FaithfulnessReport:
    """All measures of one dictionary in one model."""

    model: str
    model_hash: str
    dictionary: str
    dictionary_hash: str
    n_prompts: int
    """Prompts that were traced, for the first two measures."""
    seed: int
    passed_on: tuple[PassedOn, ...]
    """By way and distance; attention frozen in both, norms live."""
    doses: tuple[DoseResponse, ...]
    edits: UnseenEdits | None
    """What features are given comes from a prompt of the same family; None where none was asked for."""
    foreign_edits: UnseenEdits | None
    """From a prompt of any family; None where there are no families."""
    notes: tuple[str, ...]
    """What is left out, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: an estimate is {"value", "interval"}."""

        def plain(value: Any) -> Any:
            return {"value": value.value, "interval": list(value.interval)} if isinstance(value, Estimate) else value

        rows = {
            name: [{key: plain(value) for key, value in vars(row).items()} for row in getattr(self, name)]
            for name in ("passed_on", "doses")
        }
        parts = {
            name: None if part is None else asdict(part)
            for name, part in (("edits", self.edits), ("foreign_edits", self.foreign_edits))
        }
        return {"format": FORMAT, **vars(self), **rows, **parts, "notes": list(self.notes)}


def faithfulness_report(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[tuple[str, Prompt]],
    *,
    n_prompts: int = 30,
    n_changes: int = 4,
    n_sources: int = 16,
    n_edits: int = 100,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> FaithfulnessReport:
    """Measure a dictionary on (family, prompt) pairs; the family is "" where there is none.

    Args:
        n_prompts: so many of the prompts are traced.
        n_changes: of each way behind every MLP but the last, for each traced prompt.
        n_sources: kept nodes of each graph, the most influential, that are moved by several doses.
        n_edits: unseen edits over all prompts, from each family and from any; 0 leaves them out.
    """
    _check(prompts, n_edits)
    traced = [prompt for _, prompt in prompts[:n_prompts]]
    passing, responses = _on_graphs(model, dictionary, traced, n_changes, n_sources, seed, on_progress)
    has_families = len({family for family, _ in prompts}) > 1
    edits = unseen_edits(model, dictionary, prompts, n=n_edits, seed=seed) if n_edits else None
    foreign = (
        unseen_edits(model, dictionary, prompts, n=n_edits, within=False, seed=seed)
        if n_edits and has_families
        else None
    )
    notes = {
        ONE_LAYER: model.n_layers == 1,
        NO_FAMILIES: bool(n_edits) and not has_families,
        NOTHING_TO_MOVE.format(len(traced) - len(passing)): len(passing) < len(traced),
    }
    return FaithfulnessReport(
        model=model.name,
        model_hash=model.hash,
        dictionary=dictionary.name,
        dictionary_hash=dictionary.hash,
        n_prompts=len(passing),
        seed=seed,
        passed_on=passed_on_by_distance(passing, seed=seed),
        doses=calibrated(responses, seed=seed),
        edits=edits,
        foreign_edits=foreign,
        notes=tuple(note for note, is_so in notes.items() if is_so),
    )


def _check(prompts: Sequence[tuple[str, Prompt]], n_edits: int) -> None:
    if len(prompts) < 2:
        there = "is one prompt" if prompts else "are no prompts"
        raise UsageError(f"there {there}, and an interval over prompts needs at least 2; give more")
    sizes = [sum(other == family for other, _ in prompts) for family, _ in prompts]
    if n_edits and min(sizes) < 2:
        raise _one_prompt(prompts[sizes.index(min(sizes))][0])


def _one_prompt(family: str) -> UsageError:
    return UsageError(f"the family {family!r} has one prompt, and an exchange needs two of each; give another")


def _on_graphs(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[Prompt],
    n_changes: int,
    n_sources: int,
    seed: int,
    on_progress: OnProgress,
) -> tuple[list[list[Passing]], list[list[Response]]]:
    """What each prompt's pruned graph gives."""
    generator = torch.Generator().manual_seed(seed)
    passing: list[list[Passing]] = []
    responses: list[list[Response]] = []
    for prompt in prompts:
        run = record_run(model, dictionary, as_ids(model, prompt))
        graph = trace_recorded(run).prune()
        assert graph.node_mask is not None  # pruned
        if not bool((graph.nodes.is_kind("feature", "error") & graph.node_mask).any()):
            continue  # a prompt of one token, say: nothing in it can be moved
        tested = graph_run(model, dictionary, graph, run)
        passing.append(passed_on(tested, n=n_changes, generator=generator))
        responses.append(dose_responses(tested, max_sources=n_sources))
        on_progress(len(passing), len(prompts))
    if len(passing) < 2:
        raise UsageError(
            f"{len(prompts) - len(passing)} of {len(prompts)} prompts have graphs without features and errors, and an "
            "interval over prompts needs at least 2; give longer prompts"
        )
    return passing, responses


# unseen edits


def unseen_edits(
    model: LanguageModel,
    dictionary: Dictionary,
    prompts: Sequence[tuple[str, Prompt]],
    *,
    n: int,
    within: bool = True,
    seed: int = 0,
) -> UnseenEdits:
    """`n` edits of single layers, each prompt's last word given the features of another prompt's, (family, prompt);
    `within` takes it from the same family."""
    rng = random.Random(f"unseen edits {seed}")
    cases = [_pair(rng, prompts, within=within) for _ in range(n)]
    inputs = [_last_inputs(model, dictionary, prompt) for _, prompt in prompts]
    chosen = [prompts[base][1] for base, _ in cases]
    edits = [[_exchange(dictionary, rng.randrange(model.n_layers), inputs[a], inputs[b])] for a, b in cases]
    found = agreement_under_edits(model, dictionary, chosen, edits)
    clean = torch.stack([model.logits(as_ids(model, prompt))[-1].argmax() for prompt in chosen])
    changed = found.model_top != clean.to(found.model_top.device)
    agrees, where_changed = found.agrees.double().tolist(), found.agrees[changed].double().tolist()
    return UnseenEdits(
        n=n,
        agreement=found.share,
        interval=interval_of_mean(agrees, seed=seed),
        n_changed=int(changed.sum()),
        agreement_changed=sum(where_changed) / len(where_changed) if where_changed else None,
        interval_changed=interval_of_mean(where_changed, seed=seed) if where_changed else None,
        kl=float(found.kl.mean()),
        interval_kl=interval_of_mean(found.kl.tolist(), seed=seed),
    )


def _pair(rng: random.Random, prompts: Sequence[tuple[str, Prompt]], *, within: bool) -> tuple[int, int]:
    """The prompt that is edited and the one that its features come from."""
    base = rng.randrange(len(prompts))
    others = [i for i, (family, _) in enumerate(prompts) if i != base and (not within or family == prompts[base][0])]
    if not others:
        raise _one_prompt(prompts[base][0])
    return base, rng.choice(others)


def _last_inputs(model: LanguageModel, dictionary: Dictionary, prompt: Prompt) -> Float[Tensor, "layer d_model"]:
    return harvest_mlps(model, as_ids(model, prompt)[None], reads_at=dictionary.reads_at).mlp_inputs[:, 0, -1]


def _exchange(
    dictionary: Dictionary, layer: int, own: Float[Tensor, "layer d_model"], other: Float[Tensor, "layer d_model"]
) -> Edit:
    """The features of a layer at the last word that are active here or there, as they are there."""
    here, there = (dictionary.encode_layer(layer, x[layer]) for x in (own, other))
    features = ((here != 0) | (there != 0)).nonzero().flatten().tolist() or [0]
    pairs = tuple((layer, feature) for feature in features)
    return Edit(op="patch", features=pairs, positions=(-1,), donor=tuple(there[features].tolist()))
