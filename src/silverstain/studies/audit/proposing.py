"""Where nobody has named the shortcut: the words of the prompt that the answer comes from, most first."""

from dataclasses import asdict, dataclass
from typing import Any

from silverstain.brief import brief
from silverstain.features.prompt_words import PromptWords
from silverstain.graphs import Graph, origins
from silverstain.pieces import CONTINUES, whole


@brief
@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A word, and how much of the answer's input comes from it."""

    word: str
    positions: tuple[int, ...]
    share: float
    is_answer: bool
    """The word is what the model answers: it may have been copied."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def proposals(graph: Graph, n_real: int = 1) -> list[Proposal]:
    """Every word of the prompt, by its share of the answer's input. Leading positions without units of their own are
    left out: every answer has some of its input there."""
    tokens = graph.meta["tokens"]
    spans = [span for span in PromptWords(tokens).spans if span.start >= n_real]
    answers = {str(target.get("token", "")).strip() for target in graph.meta.get("targets", [])}
    shares = origins(graph, [list(span) for span in spans]).of_targets.tolist()
    found = []
    for span, share in zip(spans, shares, strict=True):
        word = whole([tokens[at].removeprefix(CONTINUES) for at in span]).strip()
        found.append(Proposal(word=word, positions=tuple(span), share=share, is_answer=word in answers))
    return sorted(found, key=lambda one: -one.share)
