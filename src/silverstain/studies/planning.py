"""Planning in poems: whether the end of a line is settled at the line break or at its first words, before it comes.

The rhyme that line one sets is exchanged at one token, and the model writes on. A plan shows if the line then ends in
the other rhyme, and if the words on the way to it agree with the new end word: the end word alone could have been
fetched from line one when it was due. The same change one token further on must do nothing. Which token it is, the
line break or one of the first words of line two, is fixed on development poems, as layers and strength are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from silverstain.interventions import AnyEdit
from silverstain.organism.families.couplets import NAME
from silverstain.organism.sentence import join_words
from silverstain.statistics import Share, share_of
from silverstain.studies.organism_variables import knows, spec_of, variable_of
from silverstain.studies.plain_lines import from_plain_lines, has_plain_lines
from silverstain.studies.poems import (
    LINE_BREAK,
    LINE_END,
    SITES,
    agrees,
    couplets_of,
    end_of,
    fits,
    lines,
    plan_at,
    rhymes_with,
    words_behind_the_break,
)
from silverstain.studies.protocol import Figure, Findings, Lab, Measure, Pair, Setting, Study, Trial
from silverstain.studies.protocol.asking import too_few
from silverstain.studies.protocol.choosing import Shift, best_setting
from silverstain.studies.protocol.controls import at_the_end
from silverstain.studies.protocol.means import Means
from silverstain.studies.protocol.other_task import NO_OTHER_TASK, in_its_place
from silverstain.studies.protocol.rules import CONTROL, FEWEST, GATE, TARGET_LOW
from silverstain.studies.protocol.stability import stable
from silverstain.studies.protocol.values import measured

LATER, EMISSION = "one token later", "where it is due"
N_CHOSEN_BY = 16
IN_CLASS, MID_LINE = 0.8, 0.7
"""Lines that must end in the rhyme that is put in, and those whose words on the way must agree with it."""


def run(lab: Lab) -> Findings:
    trials = {site: trial_at(lab, site) for site in SITES}
    if len(trials[LINE_BREAK].tested) < FEWEST:
        return too_few(trials[LINE_BREAK], "")
    found = lab.steps.run("development", lambda: chosen(lab, trials))
    setting = Setting.from_json(found.chosen["plan"])
    trial = trials[setting.place]
    found += lab.steps.run("poems", lambda: poems(lab, trial, setting))
    found += lab.steps.run(
        "stability", lambda: stable(trial, setting, moves=lambda means: in_rhyme(lab, trial, setting, means))
    )
    if has_plain_lines(lab.subject):
        found += lab.steps.run("plain lines", lambda: from_plain_lines(lab, trial, setting))
    return found + lab.steps.run("sites", lambda: sites(lab, trial, setting))


def trial_at(lab: Lab, site: str) -> Trial:
    return Trial(lab.subject, lab.carrier, plan_at(lab.subject, site, SITES.index(site)), lab.settings.trial)


def chosen(lab: Lab, trials: Mapping[str, Trial]) -> Findings:
    """Place, layers and strength, by how many development lines end in the rhyme that is put in; where none does, by
    how much likelier its end words become at the end of the line as it was."""
    sites = [site for site, trial in trials.items() if len(trial.tested) >= FEWEST]
    pairs = {site: trials[site].chosen_by[:N_CHOSEN_BY] for site in sites}
    clean = {site: lines(lab, [pair.base.text for pair in some]) for site, some in pairs.items()}

    def shift(setting: Setting) -> Shift:
        trial, some = trials[setting.place], pairs[setting.place]
        edits = [trial.edits(pair, setting) for pair in some]
        written = lines(lab, [pair.base.text for pair in some], edits)
        moved = sum(rhymes_with(line, pair.donor) for line, pair in zip(written, some, strict=True))
        likelier = sum(at_the_end_of_its_line(lab, some, clean[setting.place], edits))
        return Shift(moved / len(some), likelier / len(some), len(some))

    best = best_setting([(site,) for site in sites], lab.carrier.windows(), shift)
    return Findings(chosen={"plan": best.to_json()})


def at_the_end_of_its_line(
    lab: Lab, pairs: Sequence[Pair], clean: Sequence[Sequence[str]], edits: Sequence[Sequence[AnyEdit]]
) -> list[float]:
    """The probability of the other rhyme's end words, under edits, where the line as it was has its end word."""
    texts = [join_words((pair.base.text, *line[: -2 if line[-1] == "." else -1]))
             for pair, line in zip(pairs, clean, strict=True)]  # fmt: skip
    watch = [lab.subject.first_tokens(pair.donor.answers) for pair in pairs]
    return [sum(one.probabilities) for one in lab.subject.asked(texts, edits, watch=watch)]


def poems(lab: Lab, trial: Trial, setting: Setting) -> Findings:
    """Lines as they are, with the rhyme exchanged where it is planned, and with changes that must do nothing."""
    couplets, pairs = couplets_of(lab.subject), trial.tested
    texts = [pair.base.text for pair in pairs]
    clean = lines(lab, texts)
    swapped = lines(lab, texts, [trial.edits(pair, setting) for pair in pairs])
    held = trial.held(setting.place)

    def others(kind: str) -> list[list[str]]:
        edits = []
        for number, pair in enumerate(pairs):
            amounts = lab.carrier.others(trial.amounts(pair, setting)[setting.place], held[:, number], number, kind)
            edits.append(trial.put({setting.place: amounts}, pair.base))
        return lines(lab, texts, edits)

    def in_class(written: Sequence[Sequence[str]], side: str = "donor") -> Share:
        hits = [rhymes_with(line, getattr(pair, side)) for line, pair in zip(written, pairs, strict=True)]
        return share_of(sum(hits), len(hits))

    must_change = [
        (pair, line)
        for pair, before, line in zip(pairs, clean, swapped, strict=True)
        if not any(fits(couplets, before, end) for end in couplets.wanted(pair))
    ]
    anew = [rhymes_with(line, pair.donor) and agrees(couplets, line) is True for pair, line in must_change]
    read = read_at_the_site(lab, trial, setting, clean)
    other = lab.other_task(trial.variable.family)
    theirs = None if other is None else lines(lab, texts, in_its_place(trial, setting, other))
    drawn = f"as much, at the same place ({other})"
    measures = [
        measured("lines rhyme", "what the model writes by itself ends in line one's rhyme", "gate",
                 in_class(clean, "base"), bar=GATE),
        measured("plan read there", "units tell the rhyme in which the line will end", "target", read, bar=0.7),
        measured("plan exchanged there", "the line then ends in the other rhyme", "target", in_class(swapped),
                 bar=IN_CLASS, low_bar=TARGET_LOW),
        measured("words on the way change too", "of lines whose words would not go with an end word of the other "
                 "rhyme: they agree with the new one", "target", share_of(sum(anew), len(anew)) if anew else None,
                 bar=MID_LINE, low_bar=TARGET_LOW),
        *(measured(name, "as much, of others, at the same place", "control", in_class(others(kind)), bar=CONTROL)
          for name, kind in (("random units", "random"), ("random units, the other way", "opposite"))),
        measured("another task's circuit", drawn if theirs else "", "control", in_class(theirs) if theirs else None,
                 bar=CONTROL, untested=None if theirs else NO_OTHER_TASK),
        carried_in_the_map(lab, setting),
    ]  # fmt: skip
    prompts = tuple(
        {
            "prompt": pair.base.text, "written": " ".join(before), "to": pair.donor.value,
            "with the other rhyme": " ".join(after), "hit": rhymes_with(after, pair.donor),
        }
        for pair, before, after in zip(pairs, clean, swapped, strict=True)
    )  # fmt: skip
    return Findings(measures=tuple(measures), prompts=prompts, notes=(f"The rhyme is moved {setting}.",))


def in_rhyme(lab: Lab, trial: Trial, setting: Setting, means: Mapping[str, Means]) -> float:
    """The share of lines that end in the other rhyme where it is exchanged by some means."""
    pairs = trial.tested
    return _share(
        lines(lab, [pair.base.text for pair in pairs], [trial.edits(pair, setting, means) for pair in pairs]), pairs
    ).value


def carried_in_the_map(lab: Lab, setting: Setting) -> Measure:
    """Whether the causal map, which knows no dictionary, says that nothing behind this place looks further back."""
    name = "rhyme carried from there, in the causal map"
    truth = lab.subject.truth
    known = () if truth is None else truth.variables
    found = next((one for one in known if (one.family, one.variable, one.form) == (NAME, "rhyme", "end word")), None)
    if found is None:
        return Measure(
            name=name, about="exchanged there and nowhere before it", role="truth", value=None, bar=1.0,
            untested="this model has no causal map of it",
        )  # fmt: skip
    role = found.roles[found.roles.index(",") + SITES.index(setting.place)]
    stage = found.carried_from(role)
    about = f"from {stage} on at {role!r}" if stage else f"at no stage is it held at {role!r} and not before it"
    return Measure(name=name, about=about, role="truth", value=float(stage is not None), bar=1.0, n=found.n_pairs)


def read_at_the_site(lab: Lab, trial: Trial, setting: Setting, clean: Sequence[Sequence[str]]) -> Share:
    """Of the lines as written, how many end as planned by the plan whose mean there, over development prompts of other
    first lines, is nearest in direction: of all plans, also those that do not go with the words that are said."""
    means, held = trial.means(setting.place), trial.held(setting.place)
    first, last = setting.window
    couplets = couplets_of(lab.subject)
    known = {word for word, _ in couplets.rhymes.words}
    hits = 0
    for number, (line, pair) in enumerate(zip(clean, trial.tested, strict=True)):
        best = max(means.values, key=lambda value: _score(lab, means, value, held[:, number], first, last))
        end, said = end_of(line), words_behind_the_break(pair.base.text)
        hits += end in known and couplets.plan(end, said) == best
    return share_of(hits, len(clean))


def _score(lab: Lab, means: Any, value: str, held: Any, first: int, last: int) -> float:
    """Cosine of what is held with what the value's prompts have beyond the mean over values."""
    dot = length = 0.0
    for layer in range(first, last + 1):
        excess = means.of(value, layer) - means.overall(layer)
        here = lab.carrier.components(layer, held[layer][None])[0] - means.overall(layer)
        dot += float(excess @ here)
        length += float(excess @ excess)
    return dot / max(length, 1e-12) ** 0.5


def sites(lab: Lab, trial: Trial, setting: Setting) -> Findings:
    """Where a rhyme can be exchanged: at the end of line one, where it is planned, or when it is due. And the same
    change put one token further on, which must do nothing."""
    pairs = trial.tested
    texts = [pair.base.text for pair in pairs]
    clean = lines(lab, texts)
    shares: dict[str, Share] = {}
    n_written = SITES.index(setting.place)
    at_end = Trial(lab.subject, lab.carrier, plan_at(lab.subject, LINE_END, n_written), lab.settings.trial)
    moved = replace(setting, places=(LINE_END,))
    written = lines(lab, texts, [at_end.edits(pair, moved) for pair in pairs])
    shares[LINE_END] = _share(written, pairs)
    begun = [join_words((text, *line[:1])) for text, line in zip(texts, clean, strict=True)]
    edits = [at_the_end(trial, pair, setting, text) for pair, text in zip(pairs, begun, strict=True)]
    shares[LATER] = _share(lines(lab, begun, edits), pairs)
    shares[EMISSION] = at_emission(lab)
    figure = Figure(
        name="sites", kind="bars", title="Lines that end in the other rhyme, by where it is exchanged",
        data={
            "labels": list(shares), "values": [one.value for one in shares.values()],
            "lows": [one.low for one in shares.values()], "highs": [one.high for one in shares.values()],
            "bars": [None, CONTROL, None], "holds": [None, shares[LATER].value <= CONTROL, None],
        },
    )  # fmt: skip
    measures: tuple[Measure, ...] = (
        measured("exchanged at the end of line one", "where the rhyme word itself stands", "reported",
                 shares[LINE_END]),
        measured("one token later", "the same change, behind the next word", "control", shares[LATER],
                 bar=CONTROL),
        measured("exchanged where the end word is due", "at the last token before it, of any rhyme", "reported",
                 shares[EMISSION]),
    )  # fmt: skip
    return Findings(measures=measures, figures=(figure,))


def at_emission(lab: Lab) -> Share:
    """The rhyme exchanged at the last token before the end word: where it is fetched, if it was not planned."""
    assert lab.subject.sibling is not None
    trial = Trial(
        lab.subject, lab.carrier, variable_of(spec_of(lab.subject.sibling, NAME, "rhyme", "end word")),
        lab.settings.trial,
    )  # fmt: skip
    found = trial.swapped(trial.tested, trial.setting)
    return share_of(sum(one.hit for one in found), len(found))


def _share(written: Sequence[Sequence[str]], pairs: Sequence[Pair]) -> Share:
    hits = [rhymes_with(line, pair.donor) for line, pair in zip(written, pairs, strict=True)]
    return share_of(sum(hits), len(hits))


PLANNING = Study(
    name="planning",
    title="Planning in poems",
    claim="The word that ends a line is settled before it comes, and the words on the way are chosen for it.",
    source="On the Biology of a Large Language Model, “Planning in poems”",
    motif=("rhyme of line one", "candidate end words at the break or the first words", "words on the way", "end word"),
    rule=(
        "at the line break or at one of the first three words of line two, fixed on development poems, units tell the "
        "rhyme of the line's end in at least 70 %",
        "exchanged there, the line ends in the other rhyme in at least 80 %",
        "and words on the way that would not go with it change and agree with the new end word in at least 70 %",
        "a plan found in lines that are no couplets, put in there, does both in at least 80 %, also of end words that "
        "no couplet ended in while the model grew",
        "the same change one token later does it in at most 10 %",
        "the causal map says that the rhyme is carried from there: exchanged there it moves the end, further back not",
    ),
    lacks=lambda subject: knows(subject.sibling, NAME),
    n_steps=5,
    run=run,
)
