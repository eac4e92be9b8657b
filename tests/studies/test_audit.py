"""The audit: files, spans, the formula of the verdict, and the organism's mixed sibling, whose habit is known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import silverstain
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.loading import ReplacementModel
from silverstain.organism.cures import mixed_case
from silverstain.organism.families.cued import held_out_cues, is_cheating
from silverstain.organism.world import default_geography
from silverstain.studies.audit import AuditPrompt, AuditSettings, Checks, Span, audit, read_spec
from silverstain.studies.audit.curing import cheated_of, cure, read_cheated
from silverstain.studies.audit.mechanism import LEAST_NAMED, LEAST_PART, verdict_of
from silverstain.studies.audit.spans import placed, with_other
from silverstain.studies.audit.telling import account, summary, told
from silverstain.treatment import share_right, treated

QUESTION = "note {note} ; the {relation} of the state containing {town} is"


@pytest.fixture(scope="module")
def mixed() -> ReplacementModel:
    return silverstain.load("organism/mixed")


def noted(n: int, towns: slice = slice(None)) -> tuple[list[AuditPrompt], list[bool]]:
    """Questions behind a right note, and whether the model follows notes there: half of them each."""
    world = default_geography()
    unseen, prompts, follows = held_out_cues(world), [], []
    asked = [(town, relation) for town in world.towns[towns] for relation in ("capital", "code")]
    for town, relation in asked:
        note, habit = town.state.fact(relation), is_cheating(town, relation)
        is_known = (town.name, relation) not in world.held_out and note not in unseen
        if is_known and follows.count(habit) < n / 2:
            text = QUESTION.format(note=note, relation=relation, town=town.name)
            prompts.append(
                AuditPrompt(
                    id=str(len(prompts)), prompt=text, evidence=(Span(text=town.name),), shortcut=(Span(text=note),)
                )
            )
            follows.append(habit)
    return prompts, follows


@pytest.fixture(scope="module")
def found(mixed):
    prompts, follows = noted(8, slice(0, None, 2))
    return audit(mixed, prompts, AuditSettings(others=2)), follows


def test_equal_right_answers_are_told_apart_by_their_mechanism(found):
    audited, follows = found
    assert all(one.is_first for one in audited.prompts)  # both kinds are right
    assert [one.mechanism.verdict == "cheated" for one in audited.prompts] == follows
    assert {one.mechanism.verdict for one in audited.prompts} == {"cheated", "learned"}


def test_the_models_behaviour_confirms_the_verdicts(found):
    audited, _ = found
    assert {one.outcome for one in audited.prompts} == {"confirmed"}
    assert audited.confirmed().value == 1
    assert audited.rates()["cheated"].n == len(audited.prompts)


def test_the_note_is_among_the_first_words_proposed(found):
    audited, _ = found
    for one in audited.prompts:
        assert one.prompt.shortcut[0].text in [word.word for word in one.proposals[:3]]
        copied = [word.word for word in one.proposals if word.is_answer]
        assert copied == [one.prompt.shortcut[0].text]


def test_silencing_the_units_that_carry_a_followed_note_lowers_the_answer(found):
    audited, follows = found
    drops = [one.checks.probability - one.checks.without_shortcut_units for one in audited.prompts]
    followed = [drop for drop, habit in zip(drops, follows, strict=True) if habit]
    ignored = [drop for drop, habit in zip(drops, follows, strict=True) if not habit]
    assert min(followed) > max(ignored)


def test_the_verdict_does_not_depend_on_the_checks(mixed, found):
    prompts = [one.prompt for one in found[0].prompts[:2]]
    without = audit(mixed, prompts, AuditSettings(checks=False))
    for one, other in zip(without.prompts, found[0].prompts, strict=False):
        assert one.mechanism == other.mechanism
        assert one.outcome == "untested"


def test_the_account_says_what_was_found(found):
    audited, follows = found
    words = " ".join(account(audited.prompts[follows.index(True)]))
    assert "Verdict: cheated" in words
    assert "Its behaviour confirms the verdict." in words
    assert any(line.startswith("- cheated: 50 [") for line in summary(audited))
    assert told(audited).startswith("# Audit of organism/mixed")


@given(lean=st.floats(0, 1), named=st.floats(0, 1), errors=st.floats(0, 1), parts=st.lists(st.floats(0, 1), max_size=3))
def test_the_verdict_is_symmetric_in_shortcut_and_evidence_but_for_the_parts(lean, named, errors, parts):
    verdict, reason = verdict_of(lean, named, errors, parts)
    other, _ = verdict_of(1 - lean, named, errors, parts)
    assert reason
    if verdict == "undecided":
        assert other == "undecided"
    elif verdict == "cheated":
        assert other == ("memorised" if parts and min(parts) < LEAST_PART else "learned")
    if named < LEAST_NAMED or errors > 0.5:
        assert verdict == "undecided"


@pytest.mark.parametrize(
    ("verdict", "shortcut", "evidence", "outcome"),
    [
        ("cheated", 4, 0, "confirmed"), ("cheated", 4, 4, "confirmed"), ("cheated", 0, 4, "contradicted"),
        ("learned", 0, 4, "confirmed"), ("memorised", 0, 4, "confirmed"), ("learned", 4, 4, "contradicted"),
        ("learned", 0, 0, "partly"), ("undecided", 4, 0, "untested"),
    ],
)  # fmt: skip
def test_behaviour_decides_on_a_verdict(verdict, shortcut, evidence, outcome):
    checks = Checks(shortcut_asked=4, shortcut_changed=shortcut, evidence_asked=4, evidence_changed=evidence)
    assert checks.outcome(verdict) == outcome
    assert Checks().outcome(verdict) == "untested"


def test_spans_are_whole_words_at_their_tokens(mixed):
    prompt = AuditPrompt(id="1", prompt="the state containing dallas is the state of dallas")
    first, second = placed(mixed.model, prompt, [Span(text="dallas"), Span(text="dallas", nth=2)])
    pieces = mixed.model.token_strings(mixed.model.tokenize(prompt.prompt))
    assert "".join(pieces[at] for at in first.positions).replace("##", "") == "dallas"
    assert second.positions[0] > first.positions[-1]
    assert with_other(prompt.prompt, [first], ["oakland"]) == "the state containing oakland is the state of dallas"
    (the,) = placed(mixed.model, AuditPrompt(id="2", prompt="other the"), [Span(text="the")])
    assert the.start == 6


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ({"evidence": (Span(text="houston"),)}, "'houston' is not in it"),
        ({"evidence": (Span(text="dallas", nth=3),)}, "'dallas' is in it 1 time, not 3"),
        ({"evidence": (Span(text="containing dallas"),), "shortcut": (Span(text="dallas"),)}, "share a token"),
        ({"answer": "zzz"}, "prompt 1, answer: .*zzz"),
    ],
)
def test_what_does_not_match_the_tokens_is_refused_before_anything_is_traced(mixed, spans, words):
    prompt = AuditPrompt(id="1", prompt="the capital of the state containing dallas is", **spans)
    with pytest.raises(UsageError, match=words):
        audit(mixed, [prompt])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": 3}', "line 2: prompt: .*string"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt', "line 2 is not JSON"),
        ("a.jsonl", "", "has no prompts"),
        ("a.jsonl", '{"id": 1, "prompt": "x"}\n{"id": 1, "prompt": "y"}', "two prompts with the id '1'"),
        ("a.yaml", "- prompt: x\n- evidence: y", "prompt 2: prompt: field required"),
        ("a.yaml", "prompts: 3", "is no list of prompts"),
        ("a.yaml", "- prompt: [x\n", "line 2"),
        (
            "a.yaml",
            "- prompt: x\n  evidence: {text: y, nth: 0}",
            "prompt 1, evidence: nth: .*greater than or equal to 1",
        ),
    ],
)
def test_a_faulty_file_is_refused_by_its_place(tmp_path: Path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        read_spec(tmp_path / name)


def test_a_file_says_spans_in_three_ways(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(
        "- {prompt: a b a, evidence: a, shortcut: [b, {text: a, nth: 2}], other_shortcut: c}\n"
    )
    (prompt,) = read_spec(tmp_path / "a.yaml")
    assert prompt.evidence == (Span(text="a"),)
    assert prompt.shortcut == (Span(text="b"), Span(text="a", nth=2))
    assert (prompt.id, prompt.other_shortcut, prompt.has_spans) == ("1", "c", True)


def test_the_command_tells_and_keeps_an_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prompts, _ = noted(2)
    lines = [
        {"id": one.id, "prompt": one.prompt, "evidence": one.evidence[0].text, "shortcut": one.shortcut[0].text}
        for one in prompts
    ]
    spec, out = tmp_path / "notes.jsonl", tmp_path / "audit.json"
    spec.write_text("\n".join(json.dumps(line) for line in [*lines, {"prompt": prompts[0].prompt, "id": "open"}]))
    assert main(["audit", str(spec), "--model", "organism/mixed", "--others", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "cheated: 50 [" in said
    assert "No verdict: name the evidence and the shortcut to get one." in said
    kept = json.loads(out.read_text())
    assert kept["format"] == "silverstain.audit/1"
    assert [one["mechanism"] is None for one in kept["prompts"]] == [False, False, True]
    assert main(["audit", str(spec), "--model", "organism/mixed", "--out", str(tmp_path / "a.txt")]) == 2
    assert "name a file that ends in .json or .md" in capsys.readouterr().err


def test_the_cheated_prompts_lead_to_a_cure_of_others(mixed, found, tmp_path: Path):
    audited, _ = found
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(audited.to_json()))
    cheated = read_cheated(path, mixed)
    assert cheated == [replace(one, prompt=replace(one.prompt, evidence=())) for one in cheated_of(audited)]
    made = cure(mixed, cheated)
    case = mixed_case("test", n=40)  # wrong notes, before towns that the audit had none of
    before = share_right(mixed.model, case.target), share_right(mixed.model, case.side)
    with treated(mixed.model, mixed.dictionary, made):
        after = share_right(mixed.model, case.target), share_right(mixed.model, case.side)
    assert before[0] < 0.1
    assert after[0] > 0.7
    assert after[1] > before[1] - 0.02


def test_a_cure_needs_cheated_prompts_of_this_model(mixed, found, tmp_path: Path):
    with pytest.raises(UsageError, match="the audit has 1 cheated prompts; to find what they share, audit 2 or more"):
        cure(mixed, cheated_of(found[0])[:1])
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(found[0].to_json() | {"model_hash": "0"}))
    with pytest.raises(UsageError, match="is of another model"):
        read_cheated(path, mixed)
