"""An audit in words: a few sentences a prompt, each with the figures it rests on, and a table of the rates."""

from silverstain.printable import printable
from silverstain.studies.audit.auditing import Audit, Audited

SMALLEST_TOLD = 0.01
"""Groups that pass on less of the answer's input than this are not told."""


def told(audit: Audit) -> str:
    """The whole audit as Markdown."""
    lines = [f"# Audit of {printable(audit.model)}", "", *summary(audit), ""]
    for one in audit.prompts:
        lines += [f"## {printable(one.prompt.id)}: {_heading(one)}", "", f"> {printable(one.prompt.prompt)}", ""]
        lines += [f"- {sentence}" for sentence in account(one)] + [""]
    return "\n".join(lines)


def summary(audit: Audit) -> list[str]:
    """How often each verdict was given, and how often the behaviour agrees."""
    lines = [f"- read in {printable(audit.basis)}; {len(audit.prompts)} prompts"]
    lines += [f"- {name}: {share} % of {share.n}" for name, share in audit.rates().items() if share.value > 0]
    confirmed = audit.confirmed()
    if confirmed is not None:
        lines.append(f"- the model's behaviour, asked again, agrees with {confirmed} % of {confirmed.n} verdicts")
    return lines


def account(one: Audited) -> list[str]:
    """One prompt in sentences."""
    answer = f"“{printable(one.answer)}”"
    said = "the model's first choice" if one.is_first else "not the model's first choice"
    sentences = [f"The answer looked at is {answer}, {said}."]
    words = [f"“{printable(word.word)}” {_percent(word.share)}" for word in one.proposals[:3]]
    sentences.append(f"Most of its input comes from {_listed(words)}.")
    found = one.mechanism
    if found is None:
        copied = next((word for word in one.proposals if word.is_answer), None)
        if copied is not None:
            sentences.append(f"“{printable(copied.word)}” is in the prompt and is the answer: it may have been copied.")
        return [*sentences, "No verdict: name the evidence and the shortcut to get one."]
    evidence, shortcut = (
        _listed([str(span) for span in spans]) for spans in (one.prompt.evidence, one.prompt.shortcut)
    )
    sentences.append(
        f"The shortcut {shortcut} carries {_percent(found.shortcut)} and the evidence {evidence} "
        f"{_percent(found.evidence)} of the answer's input; errors {_percent(found.errors)}."
    )
    for side, groups in (("shortcut", one.shortcut_groups), ("evidence", one.evidence_groups)):
        named = [f"“{printable(label)}” {_percent(share)}" for label, share in groups if share >= SMALLEST_TOLD]
        if named:
            sentences.append(f"Of what the {side} carries, the largest groups pass on {_listed(named)}.")
    sentences.append(f"Verdict: {found.verdict} (confidence {found.confidence:.2f}): {found.reason}.")
    return [*sentences, *_checks(one)]


def _checks(one: Audited) -> list[str]:
    checks, sentences = one.checks, []
    if checks.shortcut_asked:
        sentences.append(
            f"Asked again with another shortcut, the model's first choice is another in {checks.shortcut_changed} of "
            f"{checks.shortcut_asked}."
        )
    if checks.evidence_asked:
        sentences.append(
            f"Asked with other evidence beside another shortcut, it changes in {checks.evidence_changed} of "
            f"{checks.evidence_asked}."
        )
    silenced = [
        f"{_percent(value)} without the units that carry the {side}"
        for side, value in (("shortcut", checks.without_shortcut_units), ("evidence", checks.without_evidence_units))
        if value is not None
    ]
    if silenced:
        sentences.append(f"The answer's probability, {_percent(checks.probability)}, is {_listed(silenced)}.")
    outcomes = {
        "confirmed": "Its behaviour confirms the verdict.", "contradicted": "Its behaviour contradicts the verdict.",
        "partly": "Its behaviour is neither for the verdict nor against it.",
        "untested": "Its behaviour was not asked.",
    }  # fmt: skip
    if sentences and one.outcome == "untested":
        return sentences
    return [*sentences, outcomes[one.outcome]]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _heading(one: Audited) -> str:
    return "no verdict" if one.mechanism is None else one.mechanism.verdict


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nothing"
