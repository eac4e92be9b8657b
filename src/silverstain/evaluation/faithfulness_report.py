"""The faithfulness of a dictionary in one report: does what it computes behave as the model does when it is moved?

On any model: how small changes are passed on, by layers crossed; predicted beside measured effects of moving graph
nodes by several doses; and the replaced model under the edits that the model gets. On an organism that knows the towns
also how many graphs skip the hop through the state.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from silverstain.errors import UsageError
from silverstain.evaluation.calibration import DoseResponse, PassedOn, calibrated, passed_on_by_distance
from silverstain.evaluation.faithfulness import HopSkips, UnseenEdits, hop_skips, knows_towns, unseen_edits
from silverstain.loading import ReplacementModel
from silverstain.models import LanguageModel
from silverstain.models.prompts import Prompt
from silverstain.organism.fidelity import graph_prompts
from silverstain.organism.siblings import siblings
from silverstain.verification.doses import Response, dose_responses
from silverstain.verification.graph_run import graph_run
from silverstain.verification.perturbations import Passing, passed_on

FORMAT = "silverstain.faithfulness/1"
NO_TOWNS = (
    "hop-skips are left out: they are questions about the towns of the organism's world, which this model is not asked"
)
STILL = "{} prompts are left out: nothing can be moved in a graph without features and errors"
NO_FAMILIES = "these prompts have no families, so edits come from any other prompt"
ONE_LAYER = "the model has one layer: no change is passed on to another MLP"
OnProgress = Callable[[int, int], None]


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
    hops: HopSkips | None
    """None for a model that knows no towns."""
    notes: tuple[str, ...]
    """What is left out, and why."""

    def to_json(self) -> dict[str, Any]:
        """What `silverstain faithfulness --json` prints: an estimate is {"value", "interval"}."""

        def plain(value: Any) -> Any:
            if hasattr(value, "_asdict"):
                return {"value": value.value, "interval": list(value.interval)}
            return value

        said = {name: getattr(self, name) for name in ("model", "model_hash", "dictionary", "dictionary_hash")}
        rows = {
            name: [{key: plain(value) for key, value in vars(row).items()} for row in getattr(self, name)]
            for name in ("passed_on", "doses")
        }
        parts = {name: getattr(self, name) for name in ("edits", "foreign_edits", "hops")}
        return {
            "format": FORMAT, **said, "n_prompts": self.n_prompts, "seed": self.seed, **rows,
            **{name: None if part is None else asdict(part) for name, part in parts.items()}, "notes": list(self.notes),
        }  # fmt: skip


def organism_prompts(model: LanguageModel, *, n: int = 30, seed: int = 0) -> list[tuple[str, str]]:
    """(family, prompt) of the organism's own sentences, families in turn: at least n, and ten of each family;
    UsageError for another model."""
    organism, _, sibling = model.name.partition("/")
    if organism != "organism":
        raise UsageError(f"the faithfulness of a dictionary of {model.name} needs prompts; give --prompts FILE")
    families = siblings()[sibling].families()
    a_family = max(10, -(-n // len(families)))
    drawn = graph_prompts(families, n=a_family, seed=5 + seed)
    return [drawn[family * a_family + i] for i in range(a_family) for family in range(len(families))]


def faithfulness_report(
    loaded: ReplacementModel,
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
        n_edits: unseen edits over all prompts, and half as many questions about towns; 0 leaves both out.
    """
    _check(prompts, n_edits)
    model, dictionary = loaded.model, loaded.dictionary
    passing, responses = _on_graphs(loaded, [prompt for _, prompt in prompts[:n_prompts]], n_changes, n_sources, seed,
                                    on_progress)  # fmt: skip
    has_families = len({family for family, _ in prompts}) > 1
    has_towns = bool(n_edits) and knows_towns(model)
    edits = unseen_edits(model, dictionary, prompts, n=n_edits, seed=seed) if n_edits else None
    foreign = (
        unseen_edits(model, dictionary, prompts, n=n_edits, within=False, seed=seed)
        if n_edits and has_families
        else None
    )
    notes = {
        ONE_LAYER: model.n_layers == 1,
        NO_FAMILIES: bool(n_edits) and not has_families,
        NO_TOWNS: bool(n_edits) and not has_towns,
        STILL.format(min(n_prompts, len(prompts)) - len(passing)): len(passing) < min(n_prompts, len(prompts)),
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
        hops=hop_skips(loaded, n=max(n_edits // 2, 1), seed=seed, on_progress=on_progress) if has_towns else None,
        notes=tuple(note for note, is_so in notes.items() if is_so),
    )


def _check(prompts: Sequence[tuple[str, Prompt]], n_edits: int) -> None:
    if len(prompts) < 2:
        there = "is one prompt" if prompts else "are no prompts"
        raise UsageError(f"there {there}, and an interval over prompts needs at least 2; give more")
    sizes = [sum(other == family for other, _ in prompts) for family, _ in prompts]
    if n_edits and min(sizes) < 2:
        family = prompts[sizes.index(min(sizes))][0]
        raise UsageError(f"the family {family!r} has one prompt, and an exchange needs two of each; give another")


def _on_graphs(
    loaded: ReplacementModel,
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
        text = prompt if isinstance(prompt, str) else [int(token) for token in prompt]
        graph = loaded.trace(text).prune()
        assert graph.node_mask is not None  # pruned
        if not bool((graph.nodes.is_kind("feature", "error") & graph.node_mask).any()):
            continue  # a prompt of one token, say: nothing in it can be moved
        tested = graph_run(loaded.model, loaded.dictionary, graph)
        passing.append(passed_on(tested, n=n_changes, generator=generator))
        responses.append(dose_responses(tested, max_sources=n_sources))
        on_progress(len(passing), len(prompts))
    if len(passing) < 2:
        raise UsageError(
            f"{len(prompts) - len(passing)} of {len(prompts)} prompts have graphs without features and errors, and an "
            "interval over prompts needs at least 2; give longer prompts"
        )
    return passing, responses
