"""What of which text is read, as the flags of `train` and `evaluate` say it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from silverstain.models import LanguageModel
    from silverstain.training.text import TextBatches


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Flags that together name contexts of text."""

    text: Annotated[
        list[str] | None,
        typer.Option(
            help="A file of text, JSONL or Parquet, a folder of them, a dataset as hf://NAME, or what `silverstain "
            "text` fetched: @NAME, @training, @held-out; may be repeated.",
            show_default="the organism's own sentences",
        ),
    ] = None
    field: Annotated[str, typer.Option(help="The field of a row that holds its text, or its token ids.")] = "text"
    context: Annotated[int, typer.Option(min=2, help="Tokens of a context, which text is cut to.")] = 128
    held_out: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of the text that training leaves out; 1 measures on all of it."),
    ] = 0.05
    batch: int | None = None
    bos: bool | None = None
    check_text: bool = False
    """Whether text that the model finds no likelier than chance is refused."""

    @property
    def sources(self) -> list[str]:
        """The texts as files, folders and datasets: those with an @, which were fetched, by their files."""
        return [path for word in self.text or () for path in _paths_of(word)]

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
            model, self.sources, context=self.context_of(model), batch=self.batch_of(model), bos=self.bos,
            seed=seed, held_out_share=self.held_out, field=self.field,
        )  # fmt: skip

    def about(self, model: "LanguageModel", *, seed: int) -> dict[str, Any]:
        """All that decides what is read, to compare with when a run is resumed."""
        return {
            "text": self.sources, "field": self.field, "context": self.context_of(model),
            "batch": self.batch_of(model), "bos": self.bos, "held_out": self.held_out, "seed": seed,
        } | self._packages  # fmt: skip

    @property
    def _packages(self) -> dict[str, Any]:
        """Of texts that were fetched, which package each is of: another version of it is another text."""
        from silverstain.corpora.sources import SOURCES, kept_about, kept_file

        files = {str(kept_file(name)): name for name in SOURCES}
        names = [files[path] for path in self.sources if path in files]
        found = {name: about["sha256"] for name in names if (about := kept_about(name)) is not None}
        return {"packages": found} if found else {}


@dataclass(frozen=True, kw_only=True)
class TrainingTextOptions(TextOptions):
    """The same, and how contexts are packed to train on them."""

    held_out: Annotated[float, typer.Option(help="Share of the text never trained on, for the figures.")] = 0.05
    batch: Annotated[
        int | None, typer.Option(min=1, help="Contexts run at a time.", show_default="4,096 tokens, or less")
    ] = None
    bos: Annotated[
        bool | None, typer.Option(help="BOS at the head of each context.", show_default="where there is one")
    ] = None
    check_text: Annotated[bool, typer.Option(help="Refuse text that the model finds no likelier than chance.")] = True


def _paths_of(word: str) -> list[str]:
    """What a word of --text stands for; UsageError where it is a fetched text that is not there."""
    if not word.startswith("@") or Path(word).exists():
        return [word]
    from silverstain.corpora.sources import named_texts

    return [str(path) for path in named_texts(word)]
