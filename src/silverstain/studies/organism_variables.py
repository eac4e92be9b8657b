"""The hidden variables of an organism's world, as variables of studies."""

from collections.abc import Callable, Sequence
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.loading import ReplacementModel
from silverstain.organism.causal_map import CausalMap
from silverstain.organism.files import CAUSAL_MAP, model_path
from silverstain.organism.mapping import DIGITS
from silverstain.organism.sentence import join_words
from silverstain.organism.siblings import Sibling, sibling_of, siblings
from silverstain.organism.variables.pairs import Case as WorldCase
from silverstain.organism.variables.pairs import Pair as WorldPair
from silverstain.organism.variables.pairs import VariableSpec
from silverstain.studies.protocol import LAST, Case, Pair, Subject, Variable

Alike = Callable[[WorldPair], frozenset[str]]
"""Words that agree with everything but the variable."""


def subject_of(loaded: ReplacementModel, *, sibling: str | None = None, folder: str | Path | None = None) -> Subject:
    """A model as the subject of studies: of which organism it is follows from its name, or is said; its causal map lies
    beside its weights, if it has one."""
    found = sibling_of(loaded.model.name)
    if sibling is not None:
        litter = siblings()
        if sibling not in litter:
            raise UsageError(f"there is no sibling {sibling!r}; the litter is {', '.join(litter)}")
        found = litter[sibling]
    path = None if folder is None else Path(folder) / CAUSAL_MAP
    if path is None and found is not None and sibling is None:
        path = model_path(found.name) / CAUSAL_MAP
    truth = CausalMap.load(path) if path is not None and path.exists() else None
    if truth is not None and truth.model_hash != loaded.model.hash:
        truth = None
    known = () if found is None else found.families()
    variables = () if found is None else tuple(variable_of(spec) for spec in found.variables() if spec.family in known)
    return Subject(loaded=loaded, sibling=found, truth=truth, variables=variables)


def knows(sibling: Sibling | None, *families: str) -> str | None:
    """Why a model has nothing to be asked about some families; None where it has."""
    if sibling is None:
        return "the model is no organism, and this study has no prompts for others"
    if not sibling.recipe.steps:
        return f"{sibling.name} was grown on nothing"
    missing = [name for name in families if name not in sibling.families()]
    return f"{sibling.name} was not grown on {' and '.join(missing)}" if missing else None


def spec_of(sibling: Sibling, family: str, name: str, *forms: str) -> VariableSpec:
    """The variable of this name: in the first of the forms that its world has, or in its first form."""
    named = [one for one in sibling.variables() if (one.family, one.variable) == (family, name)]
    for form in forms:
        for one in named:
            if one.form == form:
                return one
    if not named:
        raise UsageError(f"the world of {sibling.name} has no variable {family}: {name}")
    return named[0]


def has_variable(sibling: Sibling, family: str, name: str) -> bool:
    return any((one.family, one.variable) == (family, name) for one in sibling.variables())


def variable_of(
    spec: VariableSpec,
    *,
    places: Sequence[str] = (LAST,),
    alike: Alike = lambda pair: frozenset(),
    suits: Callable[[WorldPair], bool] = lambda pair: True,
) -> Variable:
    """A variable of the small world, of the pairs that suit. Its places are named by the roles of its words."""

    def draw(n: int, seed: int) -> list[Pair]:
        return [
            Pair(
                base=case_of(pair.base, spec.roles), donor=case_of(pair.donor, spec.roles),
                counterfactual=pair.counterfactual, alike=alike(pair), among=pair.among,
            )
            for pair in spec.pairs(n, seed) if suits(pair)
        ]  # fmt: skip

    return Variable(family=spec.family, name=spec.variable, form=spec.form, draw=draw, places=tuple(places))


def case_of(case: WorldCase, roles: Sequence[str]) -> Case:
    """A prompt of the small world as text, with the characters of each word under the word's role, and those of each
    digit of a number under the role and the digit's name (`b tens`), as the causal map names them."""
    spans, text = dict[str, tuple[int, int]](), ""
    for number, role in enumerate(roles):
        word, text = case.words[number], join_words(case.words[: number + 1])
        start = len(text) - len(word)
        spans[role] = (start, len(text))
        if word.isdigit() and len(word) > 1:
            spans |= digit_spans(role, word, start)
    return Case(
        text=text, value=case.value, combination=case.combination, answers=case.answers, spans=spans,
    )  # fmt: skip


def digit_spans(role: str, number: str, start: int) -> dict[str, tuple[int, int]]:
    """The characters of each digit of a number that begins there, under the role and the digit's name."""
    return {f"{role} {name}": (start + at, start + at + 1) for at, name in enumerate(DIGITS[-len(number) :])}
