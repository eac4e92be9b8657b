"""How faithful an organism's dictionary is: reconstruction, the replaced model's words by family, and graph scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silverstain.bases import NeuronSubstitute, TokenSubstitute
from silverstain.evaluation import Fidelity, GraphScores, evaluate_dictionary, score_graphs
from silverstain.models import LanguageModel

from .corpus import evaluation_batches, training_batches
from .families import Family
from .files import load_organism
from .prompts import graph_prompts
from .siblings import siblings


@dataclass(frozen=True, kw_only=True)
class DictionaryReport:
    """All figures of one dictionary, beside those of substitutes without one."""

    sibling: str
    kind: str
    fidelity: Fidelity
    families: Mapping[str, float]
    """Share of determined tokens on which the fully replaced model's first choice is the model's."""
    graphs: GraphScores
    baselines: Mapping[str, Fidelity]

    def to_json(self) -> dict[str, Any]:
        return {
            "sibling": self.sibling,
            "kind": self.kind,
            "fidelity": self.fidelity.to_json(),
            "families": dict(self.families),
            "graphs": self.graphs.to_json(),
            "baselines": {name: fidelity.to_json() for name, fidelity in self.baselines.items()},
        }


def report_dictionary(
    sibling: str = "general", kind: str = "cross-layer", *, folder: Path | None = None, n: int = 200,
    n_graphs: int = 20,
    baselines: bool = True, on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DictionaryReport:  # fmt: skip
    """Measure one dictionary on `n` fresh sentences a family, half of them held-out combinations, and on graphs of
    `n_graphs` prompts a family."""
    model, dictionary = load_organism(sibling, kind, folder=folder)
    families = siblings()[sibling].families()
    batches = evaluation_batches(families, n=n)
    fidelity = evaluate_dictionary(model, dictionary, batches)
    names = list(families)
    return DictionaryReport(
        sibling=sibling,
        kind=kind,
        fidelity=fidelity,
        families={names[index]: share for index, share in fidelity.families.items()},
        graphs=score_graphs(model, dictionary, graph_prompts(families, n=n_graphs), on_progress=on_progress),
        baselines=_baselines(model, families, batches, fidelity) if baselines else {},
    )


def _baselines(
    model: LanguageModel, families: Mapping[str, Family], batches: list, fidelity: Fidelity
) -> dict[str, Fidelity]:
    """What a look-up by token and as many raw neurons reach on the same sentences."""
    shown = training_batches(families, seed=0)
    seen = [next(shown) for _ in range(100)]
    return {
        "token": evaluate_dictionary(model, TokenSubstitute.fit(model, seen), batches),
        "neurons": evaluate_dictionary(model, NeuronSubstitute(model, round(fidelity.l0 or 1)), batches),
    }
