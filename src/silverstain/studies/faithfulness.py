"""Does a dictionary of the organism imitate the mechanism, or the answers?

Two measures that NMSE and KL do not see: the replaced model under edits that it was not trained on, as for any model
(`evaluation.faithfulness`), and hop-skips, which only a model of the organism's world can be asked about.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from silverstain.evaluation.faithfulness import UnseenEdits, unseen_edits
from silverstain.loading import ReplacementModel
from silverstain.organism.hop_skips import HopSkips, hop_skips, knows_towns

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Both measures."""

    edits: UnseenEdits
    """What the features are given comes from a prompt of the same family."""
    foreign_edits: UnseenEdits
    """It comes from a prompt of any family: a state of the model that no text brings about."""
    hops: HopSkips | None
    """None for a model that knows no geography."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def faithfulness(
    loaded: ReplacementModel,
    prompts: Sequence[tuple[str, str]],
    *,
    n: int = 100,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Faithfulness:
    """Both measures, on `n` edits of each sort and, of a model that knows the towns, on half as many questions."""
    edits, foreign = (
        unseen_edits(loaded.model, loaded.trained, prompts, n=n, within=within, seed=seed) for within in (True, False)
    )
    hops = hops_of(loaded, n, seed=seed, on_progress=on_progress)
    return Faithfulness(edits=edits, foreign_edits=foreign, hops=hops)


def hops_of(
    loaded: ReplacementModel, n_edits: int, *, seed: int = 0, on_progress: OnProgress = lambda done, total: None
) -> HopSkips | None:
    """Hop-skips of half as many questions as edits; None for no edits, and for a model that knows no towns."""
    if not n_edits or not knows_towns(loaded.model):
        return None
    return hop_skips(loaded.model, loaded.trained, n=max(n_edits // 2, 1), seed=seed, on_progress=on_progress)
