"""All that `silverstain evaluate` found, as one value."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.evaluation import Evaluation
    from silverstain.evaluation.graph_scores import GraphScores
    from silverstain.studies import Faithfulness
    from silverstain.training.mixtures import Molt


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """A dictionary, and how faithful it is."""

    model: str
    dictionary: "Dictionary | Molt"
    found: "Evaluation"
    families: list[str]
    """Names of the organism's families, by their number in `found`; none for text."""
    traced: "GraphScores | None"
    causal: "Faithfulness | None"
    remarks: list[str]

    def family(self, index: int) -> str:
        """The name of a family."""
        return self.families[index] if self.families else str(index)

    def to_json(self) -> dict[str, Any]:
        """The figures on top, intervals and stand-ins beside them."""
        found, fidelity, traced = self.found, self.found.fidelity, self.traced
        return {
            "model": self.model,
            "dictionary": self.dictionary.name,
            "dictionary_hash": self.dictionary.hash,
            "n_sequences": found.n_sequences,
            **fidelity.to_json(),
            "nmse_ratio": fidelity.nmse_ratio,
            "explained_variance": fidelity.explained_variance,
            "families": {self.family(index): share for index, share in fidelity.families.items()},
            "kl_layers": found.kl_layers,
            "top1_match_layers": found.top1_match_layers,
            "replacement": traced and traced.replacement,
            "completeness": traced and traced.completeness,
            "path_length": traced and traced.path_length,
            "graphs": traced and traced.to_json(),
            "stream_patching": found.stream_patching and asdict(found.stream_patching),
            "faithfulness": self.causal and self.causal.to_json(),
            "intervals": {self._with_family(name): ends for name, ends in found.intervals.items()},
            "intervals_layers": found.intervals_layers,
            "stand_ins": {name: asdict(stand_in) for name, stand_in in found.stand_ins.items()},
            "remarks": self.remarks,
        }

    def _with_family(self, figure: str) -> str:
        """`family 3` by the family's name."""
        kind, _, index = figure.partition(" ")
        return f"{kind} {self.family(int(index))}" if index else figure
