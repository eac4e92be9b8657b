"""What a run of `silverstain train` reads: a text, or the organism's own sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.cli.text_options import TextOptions
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.models import LanguageModel, TokenBatch
    from silverstain.training import TrainingConfig

WATCHED_TOKENS = 4096
"""Held-out tokens of the evaluations during a run; the figures at its end are of more."""
PASSED_OVER = 1.5
"""From so many passes over the text on, a person is told."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run reads."""

    training: "Iterator[TokenBatch]"
    held_out: "list[TokenBatch]"
    prompts: list[tuple[str, Any]]
    about: dict[str, Any]
    """All that decides what is read, to compare with when a run is resumed."""
    name: str = ""
    """Of the text, as messages have it."""
    n_tokens: int | None = None
    """About how many there are to train on, if that is known before they are read."""

    def watched(self) -> "list[TokenBatch]":
        """A few of the held-out batches, evenly spaced."""
        wanted = max(1, round(len(self.held_out) * WATCHED_TOKENS / max(1, sum(b.n_tokens for b in self.held_out))))
        return self.held_out[:: max(1, len(self.held_out) // wanted)]


def read_material(host: "LanguageModel", options: TextOptions, tokens: int, graphs: int, *, seed: int) -> Material:
    """The text, or the organism's own sentences."""
    about = {"model": host.name, "model_hash": host.hash}
    if not options.text:
        return _sentences(host, tokens, graphs, seed, about)
    from silverstain.evaluation.graph_scores import prompts_of
    from silverstain.training.text import check_script, check_understands

    source = options.batches(host, seed=seed)
    held_out = source.held_out(tokens)
    if options.check_text:
        check_script(source.spelling, held_out[0])
        check_understands(host, held_out[0])
    return Material(
        training=source.training(),
        held_out=held_out,
        prompts=list(prompts_of(held_out, graphs)),
        about=about | options.about(host, seed=seed),
        name=source.documents.name,
        n_tokens=source.n_tokens(held_out[0]),
    )


def _sentences(host: "LanguageModel", tokens: int, graphs: int, seed: int, about: dict[str, Any]) -> Material:
    from silverstain.organism.corpus import evaluation_batches, training_batches
    from silverstain.organism.prompts import graph_prompts
    from silverstain.organism.siblings import sibling_of

    sibling = sibling_of(host.name)
    assert sibling is not None  # `train` refuses other models without text
    families = sibling.families()
    n = max(2, tokens // (10 * len(families)))  # a sentence has some ten tokens
    prompts = list(graph_prompts(families, n=-(-graphs // len(families))))[: max(graphs, 0)] if graphs else []
    return Material(
        training=training_batches(families, seed=seed),
        held_out=evaluation_batches(families, n=n),
        prompts=prompts,
        about=about | {"text": None, "seed": seed},
    )


def tell_amount(host: "LanguageModel", material: Material, config: "TrainingConfig") -> None:
    """Say so where a run asks for more text than there is."""
    from silverstain.training.planning import plan_training

    if material.n_tokens is None:
        return
    batch = next((held.token_ids.numel() for held in material.held_out), None)
    asked = plan_training(host, config, tokens_a_batch=batch, probe=False).harvested
    times = asked / max(1, material.n_tokens)
    if times >= PASSED_OVER:
        output.talk(
            f"{printable(material.name, 200)} has about {material.n_tokens:,} tokens to train on, and these settings "
            f"ask for {asked:,}: it is passed over {times:.0f} times; more text, or fewer --steps, would serve better"
        )
