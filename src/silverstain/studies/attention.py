"""Where attention decides: in induction and multiple choice the answer is another because another token is looked at.

Attribution graphs take attention as given, so that they show the word that was copied and not why it was. Two runs
tell: the prompt read with the attention of another prompt, and the other prompt read with this one's. Where attention
decides, the answer goes with the attention and not with the words; then the account is the contrast of the two prompts,
whose graph has attention in it.
"""

import random
from collections.abc import Sequence

import torch

from silverstain.organism.families import choice, induction
from silverstain.statistics import Share, share_of
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.protocol import Findings, Lab, Measure, Pair, Study, Trial, Variable
from silverstain.studies.protocol.asking import too_few
from silverstain.studies.protocol.diagnosis import attention_of, differing
from silverstain.studies.protocol.rules import CONTROL, FEWEST, GATE, TARGET_LOW
from silverstain.studies.protocol.values import measured
from silverstain.studies.two_hop import STATE_FORMS, cannot_be_guessed

DECIDES = 0.8
N_CONTRASTS = 12
"""Pairs whose contrast graph is traced."""


def exchanged(trial: Trial, pairs: Sequence[Pair]) -> tuple[Share, Share]:
    """With the donor's attention, how many bases give the donor's answer; and with the base's, how many donors do."""
    subject = trial.subject
    places = [differing(trial.subject, pair) or [] for pair in pairs]
    here = [attention_of(subject, pair.donor.text, at) for pair, at in zip(pairs, places, strict=True)]
    there = [attention_of(subject, pair.base.text, at) for pair, at in zip(pairs, places, strict=True)]
    found = []
    for texts, edits in (([p.base.text for p in pairs], here), ([p.donor.text for p in pairs], there)):
        said = subject.asked(texts, edits)
        hits = [one.first in subject.first_tokens(p.counterfactual) for one, p in zip(said, pairs, strict=True)]
        found.append(share_of(sum(hits), len(hits)))
    return found[0], found[1]


def decides(lab: Lab, variable: Variable) -> Findings:
    trial = Trial(lab.subject, lab.carrier, variable, lab.settings.trial)
    pairs = [pair for pair in trial.tested if differing(trial.subject, pair)]
    if len(pairs) < FEWEST:
        return too_few(trial, "")
    with_attention, with_words = exchanged(trial, pairs)
    return Findings(
        measures=(
            measured("accuracy", "the model answers the test prompts as it should", "gate", trial.right(), bar=GATE),
            measured("answer goes with the attention", "the prompt, read with the other prompt's attention", "target",
                     with_attention, bar=DECIDES, low_bar=TARGET_LOW),
            measured("answer goes with the words", "the other prompt, read with this one's attention", "control",
                     with_words, bar=CONTROL),
        )
    )  # fmt: skip


def where_it_does_not(lab: Lab) -> Findings:
    """The same exchange where the answer follows from what a word means: the attention of a question about another town
    must not bring its answer along."""
    subject = lab.subject
    name = "a town's state by attention alone"
    about = "where units decide: a question about a town, read with the attention of one about another"
    if subject.sibling is None or knows(subject.sibling, "geography"):
        untested = "the model knows no towns"
        return Findings(
            measures=(Measure(name=name, about=about, role="control", value=None, bar=CONTROL, untested=untested),)
        )
    spec = spec_of(subject.sibling, "geography", "state", *STATE_FORMS)
    trial = Trial(subject, lab.carrier, variable_of(spec, suits=cannot_be_guessed), lab.settings.trial)
    pairs = [pair for pair in trial.tested if differing(trial.subject, pair)]
    gate = trial.right()
    share, _ = exchanged(trial, pairs)
    untested = None if gate.value >= GATE else f"it answers {gate.value:.2f} of the questions about towns"
    return Findings(measures=(measured(name, about, "control", share, bar=CONTROL, untested=untested),))


def contrasted(lab: Lab, variable: Variable) -> Findings:
    """The account to hand over to: how much of a contrast's influence is in attention, and in which head most."""
    trial = Trial(lab.subject, lab.carrier, variable, lab.settings.trial)
    pairs = [pair for pair in trial.tested if differing(trial.subject, pair)]
    chosen = random.Random("contrasts").sample(pairs, min(N_CONTRASTS, len(pairs)))
    shares, heads = [], {}
    for pair in chosen:
        graph = lab.subject.loaded.contrast(pair.base.text, pair.donor.text)
        reached = graph.influence().double()
        is_attention = graph.nodes.is_kind("attention") & ~graph.nodes.is_rest
        shares.append(float(reached[is_attention].sum() / reached.sum()))
        if bool(is_attention.any()):
            strongest = int(torch.where(is_attention, reached, -1.0).argmax())
            name = f"L{int(graph.nodes.layer[strongest])}.H{int(graph.nodes.feature[strongest])}"
            heads[name] = heads.get(name, 0) + 1
    most = max(heads, key=lambda head: heads[head], default=None)
    notes = () if most is None else (
        f"The head that carries most of a contrast is {most} in {heads[most]} of {len(chosen)} pairs: "
        f'see `silverstain trace "{chosen[0].base.text}" --contrast "{chosen[0].donor.text}"`.',
    )  # fmt: skip
    measure = Measure(
        name="contrast's influence in attention", about="mean over pairs of prompts", role="reported",
        value=sum(shares) / len(shares) if shares else None, n=len(shares),
    )  # fmt: skip
    return Findings(measures=(measure,), notes=notes)


def _run(lab: Lab, family: str, name: str) -> Findings:
    assert lab.subject.sibling is not None  # as `lacks` says
    variable = variable_of(spec_of(lab.subject.sibling, family, name))
    return (
        lab.steps.run("exchange", lambda: decides(lab, variable))
        + lab.steps.run("where it does not", lambda: where_it_does_not(lab))
        + lab.steps.run("contrasts", lambda: contrasted(lab, variable))
    )


RULE = (
    "read with the attention of another prompt, a prompt gives the other's answer in at least 80 %",
    "and the other, read with this one's attention, does so in at most 10 %",
    "where units decide, attention alone brings another answer along in at most 10 %",
)

INDUCTION = Study(
    name="induction",
    title="Induction: attention decides",
    claim="Which word follows is decided by where is looked; a graph with attention held cannot show why.",
    source="Circuit Tracing, “Limitations: missing attention circuits”",
    motif=("cue", "its earlier place (attention)", "the word behind it"),
    rule=RULE,
    lacks=lambda subject: knows(subject.sibling, induction.NAME),
    n_steps=3,
    run=lambda lab: _run(lab, induction.NAME, "cue"),
)

CHOICE = Study(
    name="choice",
    title="Multiple choice: attention decides",
    claim="Which letter is said is decided by which option is looked at; a graph with attention held cannot show why.",
    source="Circuit Tracing, “Limitations: missing attention circuits”",
    motif=("kind asked for", "the option of that kind (attention)", "its letter"),
    rule=RULE,
    lacks=lambda subject: knows(subject.sibling, choice.NAME),
    n_steps=3,
    run=lambda lab: _run(lab, choice.NAME, "kind"),
)
