"""Addition: units that look up what two digits make, and the carry that joins the columns.

The domain can be enumerated, so every unit has an operand plot: its mean activation for each pair of numbers. Plots are
compared with templates: a function of one operand, of the sum, of the pair of ones digits, of the sum modulo something,
and products of bands.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from silverstain.graphs.influence import influence
from silverstain.organism.families.addition import DRESSES, NAME
from silverstain.organism.sentence import join_words
from silverstain.statistics import share_of
from silverstain.studies.operand_templates import TEMPLATES, best_template
from silverstain.studies.organism_variables import digit_spans, has_variable, knows, spec_of, variable_of
from silverstain.studies.protocol import (
    LAST,
    Case,
    Figure,
    Findings,
    Lab,
    Measure,
    Question,
    Setting,
    Study,
    Trial,
    Units,
    Variable,
    asked,
)
from silverstain.studies.protocol.rules import FEWEST, TARGET_LOW
from silverstain.studies.protocol.trial import share_of_hits
from silverstain.studies.protocol.values import measured

PROMPT = "calc: {a}+{b}="
NUMBERS = range(10, 100)
N_PLOTS = 12
"""Units that are drawn, those of most influence."""
N_TRACED = 60
DRESS_NAMES = ("in calc", "in a bill", "in years")
REUSED = 0.8
"""Share of sums told in other words whose digit must follow what moves the carry in `calc`."""
FITS = 0.8
"""R² of the best template, for a unit to be of its kind; and the share of influence that such units must carry."""
WAYS = {
    "ones": ("ones pair", "sum modulo 10"),
    "magnitude": ("sum", "bands", "one operand"),
    "joint": ("column and carry",),
}
"""The papers' two paths, exact ones digits and rough magnitude, and where they are joined."""


def run(lab: Lab) -> Findings:
    sibling = lab.subject.sibling
    assert sibling is not None  # as `lacks` says
    carry = variable_of(spec_of(sibling, NAME, "carry"), places=("b ones", LAST), alike=lambda pair: ANY_DIGIT)
    found = asked(lab, Question(variable=carry, must_be_computed=True, name="carry"))
    if "carry" in found.chosen:  # it is not where there are too few prompts
        found += lab.steps.run("re-use", lambda: used_again(lab, carry, found))
    if has_variable(sibling, NAME, "ones"):
        ones = variable_of(spec_of(sibling, NAME, "ones"), places=("b ones", LAST), alike=lambda pair: ANY_DIGIT)
        found += asked(lab, Question(variable=ones, in_graphs=False, name="ones look-up"))
    if has_variable(sibling, NAME, "second carry"):
        places = ("b tens", "b ones", LAST)
        second = variable_of(spec_of(sibling, NAME, "second carry"), places=places, alike=lambda pair: ANY_DIGIT)
        found += asked(lab, Question(variable=second, in_graphs=False, is_required=False, name="second carry"))
    return found + lab.steps.run("operand plots", lambda: operand_plots(lab))


ANY_DIGIT = frozenset("0123456789")


def used_again(lab: Lab, carry: Variable, found: Findings) -> Findings:
    """The carry of sums that are told in words, moved by what moves it in `calc`: nothing is fitted on them."""
    trial = Trial(lab.subject, lab.carrier, carry, lab.settings.trial)
    setting = Setting.from_json(found.chosen["carry"])
    measures: list[Measure] = []
    for dress, name in enumerate(DRESS_NAMES[1:], start=1):
        pairs = [replace(pair, base=told_in(pair.base, dress)) for pair in trial.tested]
        said = lab.subject.asked([pair.base.text for pair in pairs])
        right = [
            one for one, answer in zip(pairs, said, strict=True)
            if answer.first in lab.subject.first_tokens(one.base.answers)
        ]  # fmt: skip
        hits = trial.swapped(right, setting) if len(right) >= FEWEST else []
        measures += [
            measured(f"sums told {name}: accuracy", "the model answers them as it should", "reported",
                     share_of(len(right), len(pairs))),
            measured(f"sums told {name}: carry swapped", "by what moves it in calc, where the model is right", "target",
                     share_of_hits(hits), bar=REUSED, low_bar=TARGET_LOW,
                     untested=None if hits else "the model answers too few of them"),
        ]  # fmt: skip
    return Findings(measures=tuple(measures))


def told_in(case: Case, dress: int) -> Case:
    """The same sum up to the same digit, told in other words: with the places of the second number's digits."""
    found = re.fullmatch(r"calc: (\d+)\+(\d+)=(\d*)", case.text)
    assert found is not None
    a, b, written = found.groups()
    words = DRESSES[dress].split(" {sum!}")[0].replace("{a}", a).replace("{b}", b).split()
    text, told = join_words([*words, *([written] if written else [])]), join_words(words)
    return replace(case, text=text, spans=digit_spans("b", b, told.rindex(f" {b} ") + 1))


def operand_plots(lab: Lab) -> Findings:
    """The plots of the units at the last token over all pairs of two-digit numbers, and what templates fit them."""
    if not isinstance(lab.carrier, Units):
        return Findings(notes=("Operand plots are of units, and contrasts of the stream have none.",))
    subject, carrier = lab.subject, lab.carrier
    pairs = [(a, b) for a in NUMBERS for b in NUMBERS]
    rows = [subject.ids(PROMPT.format(a=a, b=b)) for a, b in pairs]
    held = carrier.inputs(subject, rows, [len(row) - 1 for row in rows])
    weight = influence_by_unit(lab, pairs)
    layers = sorted({layer for layer, _ in weight})
    plots: dict[tuple[int, int], Float[Tensor, "a b"]] = {}
    for layer in layers:
        units = torch.tensor(sorted(unit for at, unit in weight if at == layer))
        activations = carrier.components(layer, held[layer])[:, units]
        for column, unit in enumerate(units.tolist()):
            plots[layer, unit] = activations[:, column].view(len(NUMBERS), len(NUMBERS))
    fits = {unit: best_template(plot) for unit, plot in plots.items()}
    total = sum(weight.values())
    carried = dict.fromkeys(TEMPLATES, 0.0)
    for unit, (name, r2) in fits.items():
        if r2 >= FITS:
            carried[name] += weight[unit] / total
    ranked = sorted(plots, key=lambda unit: -weight[unit])[:N_PLOTS]
    return Findings(
        measures=tuple(_measures(carried, len(plots))),
        figures=(
            Figure(
                name="operand-plots", kind="plots", title="Units at “=” by their operands",
                data={
                    "titles": [f"L{layer}.F{unit} {fits[layer, unit][0]} {fits[layer, unit][1]:.2f}"
                               for layer, unit in ranked],
                    "squares": [[[round(x, 3) for x in row] for row in plots[unit].tolist()] for unit in ranked],
                },
                note="First operand down, second across, 10 to 99. The template that fits best, with its R².",
            ),
            Figure(
                name="templates", kind="bars", title="Share of influence at “=” by template",
                data={
                    "labels": list(carried), "values": list(carried.values()), "lows": [None] * len(carried),
                    "highs": [None] * len(carried), "bars": [None] * len(carried), "holds": [None] * len(carried),
                },
            ),
        ),
    )  # fmt: skip


def _measures(carried: dict[str, float], n: int) -> Sequence[Measure]:
    fitted = Measure(
        name="influence in units of a known template",
        about=f"of all influence of units at “=”, with R² of at least {FITS}", role="target",
        value=sum(carried.values()), n=n, bar=FITS,
    )  # fmt: skip
    ways = [
        Measure(
            name=f"{way} path", about=f"influence in units of {' or '.join(names)}", role="reported",
            value=sum(carried[name] for name in names), n=n,
        )
        for way, names in WAYS.items()
    ]  # fmt: skip
    return [fitted, *ways]


def influence_by_unit(lab: Lab, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Influence of each unit at the last token on the answer, summed over the graphs of some sums."""
    step = max(1, len(pairs) // N_TRACED)
    found: dict[tuple[int, int], float] = {}
    for a, b in pairs[step // 2 :: step][:N_TRACED]:
        graph = lab.subject.loaded.trace(PROMPT.format(a=a, b=b))
        reached = influence(graph)
        last = int(graph.nodes.position.max())
        chosen = (graph.nodes.is_kind("feature") & (graph.nodes.position == last)).nonzero().flatten()
        for node in chosen.tolist():
            unit = (int(graph.nodes.layer[node]), int(graph.nodes.feature[node]))
            found[unit] = found.get(unit, 0.0) + float(reached[node])
    return found


ADDITION = Study(
    name="addition",
    title="Addition",
    claim="A sum is found by parallel ways: what two ones digits make is looked up, and a carry joins the columns.",
    source="On the Biology of a Large Language Model, “Addition”; Circuit Tracing, “Addition case study”",
    motif=("digits", "look-up of a column", "carry", "digit of the sum"),
    rule=(
        "swapping the carry shifts the digit of the next column in at least 80 %",
        "the carry is found in the graphs of at least 90 % of held-out pairs of digits",
        "the same change does so in at least 80 % of sums that are told in other words, as a bill and in years",
        "swapping the look-up of the ones gives the other ones digit in at least 80 %, where the world asks for it",
        "units with a known template carry at least 80 % of the influence at “=”",
        "the causal map says that the carry is computed",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=11,
    run=run,
)
