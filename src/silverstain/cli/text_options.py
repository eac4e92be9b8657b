"""What of which text is read, as the flags of `train` and `evaluate` say it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from silverstain.models import LanguageModel
    from silverstain.training.text import TextBatches


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Flags that together name contexts of text."""

    text: tuple[str, ...]
    field: str
    context: int
    held_out: float
    batch: int | None = None
    bos: bool | None = None
    check: bool = False
    """Whether text that the model finds no likelier than chance is refused."""

    def context_of(self, model: "LanguageModel") -> int:
        """Tokens of a context: no more than the model has positions."""
        return min(self.context, model.max_positions)

    def batch_of(self, model: "LanguageModel") -> int:
        """Contexts of a batch, by the model's size where no number is given."""
        from silverstain.training.sizes import sequences_a_batch

        return self.batch or sequences_a_batch(model, self.context_of(model))

    def batches(self, model: "LanguageModel", *, seed: int = 0) -> "TextBatches":
        """The text as batches: a side to train on, and a side held out."""
        from silverstain.training.text import text_batches

        return text_batches(
            model, list(self.text), context=self.context_of(model), batch=self.batch_of(model), bos=self.bos, seed=seed,
            held_out_share=self.held_out, field=self.field,
        )  # fmt: skip

    def about(self, model: "LanguageModel", *, seed: int) -> dict[str, Any]:
        """All that decides what is read, to compare with when a run is gone on with."""
        return {
            "text": list(self.text), "field": self.field, "context": self.context_of(model),
            "batch": self.batch_of(model), "bos": self.bos, "held_out": self.held_out, "seed": seed,
        }  # fmt: skip
