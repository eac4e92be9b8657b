"""The text that features are described over: files of the user's, or the organism's own sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.cli.text_options import TextOptions
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.features.rows import Row
    from silverstain.models import LanguageModel


def named(text: "Sequence[str]") -> str:
    """What a text is called where it is told of: files by their names, not by where they lie on this machine."""
    return ", ".join(one if one.startswith(("@", "hf://")) else Path(one).name for one in text)


def rows_to_describe(
    model: "LanguageModel", reading: TextOptions, *, tokens: int, seed: int
) -> "tuple[Iterator[Row], dict[str, Any]]":
    """Rows of the text, and what is to be said of it. UsageError where a model of text is given none."""
    if reading.text:
        from dataclasses import replace

        from silverstain.features.rows import Row

        batches = replace(reading, held_out=0.0, batch=1).batches(model, seed=seed)

        def rows() -> Iterator[Row]:
            import torch

            for row in batches.once():
                counts = batches.spelling.counts(torch.from_numpy(row)[None])[0].numpy()
                yield Row(row, counts)

        return rows(), {
            "text": named(reading.text), "context": batches.context, "bos": reading.bos, "seed": seed,
        }  # fmt: skip
    from silverstain.organism.describing import samples_of
    from silverstain.organism.siblings import sibling_of

    sibling = sibling_of(model.name)
    if sibling is None:
        raise UsageError(f"describing features of {model.name} needs text; give --text FILE or a folder of files")
    from silverstain.features.rows import rows_of

    samples = samples_of(sibling.name, n=10 * tokens, seed=11 + seed)  # a sentence has more than one place
    return rows_of(samples, n_real=model.n_real), {"text": "the organism's own sentences", "seed": seed}
