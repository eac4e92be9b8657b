"""Prompts that the start page offers, each with what there is to see in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from silverstain.explorer.live import Offer
from silverstain.references import ORGANISM

REAL = "smollm2-135m"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt, or two, of a model."""

    name: str
    title: str
    about: str
    model: str
    prompt: str
    other: str = ""
    is_proved: bool = False
    """Whether it comes with the demonstration's groups and its proof by a swap."""


EXAMPLES = (
    Example(name="dallas", title="A state in between", model=ORGANISM,
            about="The prompt never says Texas. Is it in there? Comes with the proof.",
            prompt="the capital of the state containing dallas is", is_proved=True),
    Example(name="sum", title="A sum", about="Tens, ones and a carry, each worked out apart.",
            model=ORGANISM, prompt="calc: 36+59="),
    Example(name="opposite", title="An opposite", about="What is asked for and of which word: two streams meet.",
            model=ORGANISM, prompt="the opposite of hot is"),
    Example(name="translation", title="A translation", about="One meaning, and the language it is to be said in.",
            model=ORGANISM, prompt="la palabra frío en inglés es"),
    Example(name="capitals", title="Paris or Madrid", model=REAL,
            about="Why does one word change the answer? Comes with the proof.",
            prompt="The capital of France is", other="The capital of Spain is", is_proved=True),
    Example(name="opposites", title="Cold or large", about="The opposite of which word.", model=REAL,
            prompt="The opposite of hot is", other="The opposite of small is"),
    Example(name="agreement", title="Are or is", about="A verb that agrees with a word some way before it.", model=REAL,
            prompt="The keys to the cabinet", other="The key to the cabinet"),
    Example(name="object", title="Mary or John", about="Who gets the drink: whoever did not give it.", model=REAL,
            prompt="When Mary and John went to the shop, John gave a drink to",
            other="When Mary and John went to the shop, Mary gave a drink to"),
)  # fmt: skip


def examples_of(offers: Sequence[Offer]) -> list[Example]:
    """The examples whose model is here."""
    here = {offer.name for offer in offers}
    return [one for one in EXAMPLES if one.model in here]


def example_named(name: str) -> Example | None:
    """The example of a name, if there is one."""
    return next((one for one in EXAMPLES if one.name == name), None)
