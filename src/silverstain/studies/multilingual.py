"""Words of three languages: what is asked of a word, which concept it is, and in which language, each moved alone.

What moves a factor is taken from prompts in other languages than the one it is put into, so that success shows
something that the languages share.
"""

import random
import re
from collections.abc import Callable, Sequence

import torch

from silverstain.organism.composing.words import SaidWordsFamily
from silverstain.organism.families.apart import WordsApart
from silverstain.organism.families.words import (
    ANTONYM,
    LANGUAGE_NAMES,
    NAME,
    SYNONYM,
    antonym,
    cross_antonym,
    synonym,
)
from silverstain.organism.sentence import Sentence
from silverstain.organism.siblings import Sibling
from silverstain.organism.variables.words import is_taught, opposite
from silverstain.organism.world import LANGUAGES, Concept, default_lexicon
from silverstain.studies.organism_variables import knows
from silverstain.studies.protocol import (
    LAST,
    Case,
    Figure,
    Findings,
    Lab,
    Measure,
    Pair,
    Question,
    Study,
    Units,
    Variable,
    asked,
)

WORD, OPERATION, BEHIND, LANGUAGE = "word", "operation", "behind operation", "language"
"""Places of a question, beside its last token: what is asked for may be gathered by the word right behind it (`of`)."""
OPERATIONS = tuple(text.split()[1] for text in (*ANTONYM, *SYNONYM))
LANGUAGE_WORDS = tuple(name for names in LANGUAGE_NAMES for name in names)
N_OVERLAP = 60
"""Concepts whose three prompts are compared."""


def case_of(made: Sentence, word: str, value: str, combination: str) -> Case:
    """A prompt with the places of its word, of what is asked (`opposite`) and, where one is named, of the language."""
    text = made.prompt
    found = {
        place: re.search(rf"(?<!\S)({'|'.join(map(re.escape, words))})(?![\w-])", text)
        for place, words in {WORD: (word,), OPERATION: OPERATIONS, LANGUAGE: LANGUAGE_WORDS}.items()
    }
    assert found[WORD] is not None, f"{word!r} is not in {text!r}"
    if (operation := found[OPERATION]) is not None:
        found[BEHIND] = re.compile(r"\S+").search(text, operation.end())
    return Case(
        text=text, value=value, combination=combination, answers=frozenset({made.words[made.answer]}),
        spans={place: one.span() for place, one in found.items() if one is not None},
    )  # fmt: skip


Wording = Callable[[random.Random, Sentence], Sentence]
"""How a question is put: as it is, or about what somebody said."""


def wording_of(sibling: Sibling | None) -> Wording:
    """In a world in which words are said by somebody, questions are about what was said; there are many of each."""
    family = None if sibling is None else sibling.families()[NAME]
    if isinstance(family, SaidWordsFamily):
        return family.said
    return lambda rng, made: made


def operation_in(language: int, put: Wording = lambda rng, made: made) -> Variable:
    """Opposite or synonym, in one language; the means come from the two other languages' prompts.

    Base prompts are the language's; donors, from which with the other languages' bases the means are taken, are not.
    """

    def asked_of(rng: random.Random, concept: Concept, spoken: int, asks_opposite: bool) -> Case:
        made = antonym(default_lexicon(), concept, spoken) if asks_opposite else synonym(concept, spoken)
        value = "antonym" if asks_opposite else "synonym"
        return case_of(put(rng, made), concept.words[spoken], value, concept.words[0])

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng, pairs = random.Random(f"operation {language} {seed}"), []
        concepts = [one for one in default_lexicon().concepts if one.synonyms]
        while len(pairs) < n:
            concept = rng.choice([one for one in concepts if is_taught(one, language)])
            other, there = rng.choice(concepts), rng.choice([k for k in range(len(LANGUAGES)) if k != language])
            if not is_taught(other, there) or concept.synonyms is None:
                continue
            asks_opposite = rng.random() < 0.5
            wanted = concept.synonyms[language] if asks_opposite else opposite(concept, language)
            base = asked_of(rng, concept, language, asks_opposite)
            donor = asked_of(rng, other, there, not asks_opposite)
            if wanted not in base.answers:
                pairs.append(Pair(base=base, donor=donor, counterfactual=frozenset({wanted}), alike=_words(language)))
        return pairs

    return Variable(
        family=NAME,
        name="operation",
        form=f"in {LANGUAGES[language]}, from the others",
        draw=draw,
        fits_on_donors=True,
        places=(OPERATION, BEHIND, LAST),
    )


def _words(language: int) -> frozenset[str]:
    """Everything that may be said in a language."""
    lexicon = default_lexicon()
    own = {one.words[language] for one in lexicon.concepts}
    return frozenset(own | {one.synonyms[language] for one in lexicon.concepts if one.synonyms})


def concept_of() -> Variable:
    """The concept. A concept in one language is a combination, so that what moves a test prompt is of other languages:
    of its own concept in this language, and of the donor's, nothing is used."""

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng, pairs = random.Random(f"concept {seed}"), []
        concepts = default_lexicon().concepts
        while len(pairs) < n:
            one, other = rng.sample(concepts, 2)
            here, there = rng.sample(range(len(LANGUAGES)), 2)
            fit = [is_taught(one, here), is_taught(other, here), is_taught(other, there)]
            if one.index // 2 == other.index // 2 or not all(fit):
                continue
            base, donor = (
                case_of(antonym(default_lexicon(), concept, language), concept.words[language], concept.words[0],
                        f"{concept.words[0]} {LANGUAGES[language]}")
                for concept, language in ((one, here), (other, there))
            )  # fmt: skip
            same_language = frozenset({f"{other.words[0]} {LANGUAGES[here]}"})
            pairs.append(
                Pair(
                    base=base,
                    donor=donor,
                    counterfactual=frozenset({opposite(other, here)}),
                    alike=_words(here),
                    without=same_language,
                )
            )
        return pairs

    return Variable(
        family=NAME, name="concept", form="antonym, donor in another language", draw=draw, places=(WORD, LAST)
    )


def concept_apart(family: WordsApart) -> Variable:
    """The concept where languages have none in common, so that nothing should be moved by a donor of another language.

    A concept has one prompt here. What moves it may be taken from that prompt, which the ordinary study forbids: the
    control is given more than what must fail by it.
    """

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng, pairs = random.Random(f"concept apart {seed}"), list[Pair]()
        while len(pairs) < n:
            here, there = rng.sample(range(len(LANGUAGES)), 2)
            one, other = rng.choice(family.concepts(here)), rng.choice(family.concepts(there))
            base, donor = (
                case_of(antonym(family.lexicon, concept, language), concept.words[language], concept.words[0],
                        f"{concept.words[0]}, {use}")
                for concept, language, use in ((one, here, "moved"), (other, there, "moved by"))
            )  # fmt: skip
            wanted = frozenset({opposite(other, here)})
            pairs.append(Pair(base=base, donor=donor, counterfactual=wanted, alike=_words(here)))
        return pairs

    return Variable(family=NAME, name="concept", form="no concept in common", draw=draw, places=(WORD, LAST))


def language_of() -> Variable:
    """In which language the opposite is asked for; the question itself is in any."""

    def draw(n: int, seed: int) -> Sequence[Pair]:
        rng, pairs = random.Random(f"language {seed}"), []
        lexicon = default_lexicon()
        while len(pairs) < n:
            one, other = rng.sample(lexicon.concepts, 2)
            source, target, wanted = rng.sample(range(len(LANGUAGES)), 3)
            there = rng.choice([k for k in range(len(LANGUAGES)) if k != wanted])
            fit = [is_taught(one, k) for k in (source, target, wanted)]
            if not all(fit) or not is_taught(other, there) or not is_taught(other, wanted):
                continue
            base, donor = (
                case_of(cross_antonym(lexicon, concept, k, to), concept.words[k], LANGUAGES[to], concept.words[0])
                for concept, k, to in ((one, source, target), (other, there, wanted))
            )
            meant = frozenset(lexicon.concepts[one.opposite].words)
            pairs.append(Pair(base=base, donor=donor, counterfactual=frozenset({opposite(one, wanted)}), alike=meant))
        return pairs

    return Variable(
        family=NAME, name="language", form="antonym asked for in another", draw=draw, places=(LANGUAGE, LAST)
    )


def run(lab: Lab) -> Findings:
    sibling = lab.subject.sibling
    assert sibling is not None  # as `lacks` says
    family = sibling.families()[NAME]
    if isinstance(family, WordsApart):
        return asked(lab, Question(variable=concept_apart(family), name="concept", in_graphs=False))
    found, put = Findings(), wording_of(sibling)
    for language, name in enumerate(LANGUAGES):
        variable = operation_in(language, put)
        found += asked(lab, Question(variable=variable, name=f"operation in {name}", in_graphs=False))
    found += asked(lab, Question(variable=concept_of(), name="concept", in_graphs=False))
    found += asked(lab, Question(variable=language_of(), name="language", in_graphs=False))
    return found + lab.steps.run("overlap", lambda: overlap(lab))


def overlap(lab: Lab) -> Findings:
    """How many of the units that are active on a question are active on its translation, by layer."""
    if not isinstance(lab.carrier, Units):
        return Findings(notes=("Overlap is of units, and contrasts of the stream have none.",))
    lexicon = default_lexicon()
    concepts = [one for one in lexicon.concepts if all(is_taught(one, k) for k in range(len(LANGUAGES)))][:N_OVERLAP]
    active = [_active(lab, [antonym(lexicon, one, k).prompt for one in concepts]) for k in range(len(LANGUAGES))]
    pairs = [(0, 1), (0, 2), (1, 2)]
    n_layers = len(active[0])
    same = [_mean_iou(active, pairs, layer, shift=0) for layer in range(n_layers)]
    other = [_mean_iou(active, pairs, layer, shift=len(concepts) // 2) for layer in range(n_layers)]
    middle = max(range(n_layers), key=lambda layer: same[layer] - other[layer])
    ends = max(same[0], same[-1], 1e-9)
    curve = Figure(
        name="overlap", kind="curves", title="Units shared by a question and its translation",
        data={
            "x": "layer", "y": "intersection over union of active units", "series": [
                {"label": "translations", "x": list(range(n_layers)), "y": same},
                {"label": "other concepts", "x": list(range(n_layers)), "y": other},
            ],
        },
    )  # fmt: skip
    measures = (
        Measure(
            name="overlap over unrelated", about=f"at layer {middle}, at the last token: translations over others",
            role="reported", value=same[middle] / max(other[middle], 1e-9), n=len(concepts),
        ),
        Measure(
            name="overlap over the first and last layer", about=f"of translations, at layer {middle}", role="reported",
            value=same[middle] / ends, n=len(concepts),
        ),
    )  # fmt: skip
    return Findings(measures=measures, figures=(curve,))


def _active(lab: Lab, prompts: Sequence[str]) -> list[torch.Tensor]:
    rows = [lab.subject.ids(text) for text in prompts]
    held = lab.carrier.inputs(lab.subject, rows, [len(row) - 1 for row in rows])
    return [lab.carrier.components(layer, held[layer]) != 0 for layer in range(len(held))]


def _mean_iou(
    active: Sequence[Sequence[torch.Tensor]], pairs: Sequence[tuple[int, int]], layer: int, shift: int
) -> float:
    found = []
    for one, other in pairs:
        a, b = active[one][layer], active[other][layer].roll(shift, 0)
        found.append(((a & b).sum(1) / (a | b).sum(1).clamp_min(1)).double().mean())
    return float(torch.stack(found).mean())


MULTILINGUAL = Study(
    name="multilingual",
    title="Multilingual circuits",
    claim="What is asked, of which concept, in which language are three factors; each is moved by donors of others.",
    source="On the Biology of a Large Language Model, “Multilingual circuits”",
    motif=("what is asked + the concept", "the answer's concept", "say it in the language"),
    rule=(
        "each factor, moved by means taken in other languages, gives the exact word in at least 80 % in every language",
        "the answer keeps the factors that were not moved",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=21,
    run=run,
)
