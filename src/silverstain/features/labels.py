"""The first label of a feature: short, made by rule, the same every time.

Each space of classes proposes its best class; the one with the highest F1 names the feature. Where two are nearly
equal, the kind that comes first in KINDS wins: those nearer to the input tokens come first, as they assume less. A
label about the output ("says austin") also needs the feature to promote those tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from silverstain.features.matching import Matches

Kind = Literal["word", "next", "next class", "value", "word class", "mixed"]
KINDS: tuple[str, ...] = get_args(Kind)
"""In order of preference; `mixed`: no class fits."""

MARGIN = 0.05
"""F1 by which a later kind must beat an earlier one."""
MIN_F1 = 0.4
"""Below this no class names a feature; the words on which it is most active do."""
MIN_PRECISION = 0.5
"""Most of the activation has to lie inside the class, beyond what its size gives by chance: the precision counted is
(precision − share) / (1 − share), so a feature that always fires is not named by a class that is half of the corpus."""
MIN_EFFECT = {"next": 2.0, "next class": 0.75}
"""Mean direct effect on the tokens of the class, in standard deviations over the vocabulary, that a label about the
output needs."""

NAMES_FROM_PRECISION, NAMES_FROM_RECALL, NAMES_FROM_EXAMPLES = 0.8, 0.3, 5
"""What a label needs before it names a unit of a circuit: four fifths of the feature's activation inside the class, a
third of the class (nearly), and enough examples of the class in the corpus that the figures mean something. A card
shows a weaker label too, with its figures beside it; a drawing has no room for them, and there a label of precision
0.59 reads like one of 1."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The best class of one space for every feature, and for classes of the output the effect on their tokens."""

    kind: Kind
    names: tuple[str, ...]
    matches: Matches
    effect: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What a feature is called and how well the name fits."""

    kind: Kind
    subject: str
    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    auroc: float = 0.5
    support: int = 0


def choose(proposals: list[Proposal], key: int) -> Naming | None:
    """The name of one feature; None when no class fits it well enough."""
    best: Naming | None = None
    for proposal in sorted(proposals, key=lambda one: KINDS.index(one.kind)):
        matches = proposal.matches
        winner = int(matches.winner[key])
        needed = MIN_EFFECT.get(proposal.kind)
        if winner < 0 or matches.f1[key] < MIN_F1 or matches.beyond_chance(key) < MIN_PRECISION:
            continue
        if needed is not None and proposal.effect is not None and proposal.effect[key] < needed:
            continue
        if best is None or matches.f1[key] > best.f1 + MARGIN:
            best = Naming(
                kind=proposal.kind,
                subject=proposal.names[winner],
                precision=float(matches.precision[key]),
                recall=float(matches.recall[key]),
                f1=float(matches.f1[key]),
                auroc=float(matches.auroc[key]),
                support=int(matches.support[key]),
            )
    return best


def is_supported(kind: str, *, precision: float, recall: float, examples: int) -> bool:
    """Whether a label may stand by itself, without its figures: see NAMES_FROM_PRECISION."""
    enough = precision >= NAMES_FROM_PRECISION and recall >= NAMES_FROM_RECALL and examples >= NAMES_FROM_EXAMPLES
    return kind != "mixed" and enough


def label_of(kind: str, subject: str) -> str:
    """The label as a person reads it: the word capital, says austin, state = texas, says a capital, a town."""
    if kind == "word":
        return f"the piece {subject}" if subject.endswith("…") else f"the word {subject}"
    if kind == "next":
        return f"says {subject}"
    if kind == "next class":
        return f"says {with_article(subject)}"
    if kind == "word class":
        return with_article(subject)
    return subject


def group_label_of(kind: str, subject: str) -> str | None:
    """The label of a group of such features: capital, say austin, state = texas; None where no class fits."""
    if kind == "mixed":
        return None
    if kind == "word":
        return subject
    return label_of(kind, subject).replace("says ", "say ", 1) if kind.startswith("next") else label_of(kind, subject)


def written_label_of(tokens: Sequence[str]) -> str:
    """The name of a feature that no class fits, by what it writes: writes us-tx, austin."""
    return "writes " + ", ".join(tokens)


def with_article(noun: str) -> str:
    """a town, an answer."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
