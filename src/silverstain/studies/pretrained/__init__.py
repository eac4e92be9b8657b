"""Studies of pretrained models: prompts of our own in pairs that differ in one thing."""

from silverstain.studies.pretrained import code, facts, grammar, nouns, reference, words
from silverstain.studies.pretrained.pairs import PromptFamily


def families() -> dict[str, PromptFamily]:
    """Every family by name."""
    listed = [*facts.families(), *grammar.families(), *words.families(), *reference.families()]
    listed += [*nouns.families(), *code.families()]
    return {family.name: family for family in listed}
