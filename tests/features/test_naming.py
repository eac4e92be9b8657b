"""Labels are rules that can be tested, and tests tell good ones from others without asking a model."""

import json
import warnings

import numpy as np
import pytest

from silverstain.bases import NeuronBasis
from silverstain.errors import Remark, UsageError
from silverstain.features.assembling import assemble
from silverstain.features.chance import ChanceAccuracy
from silverstain.features.label_tests import Contexts, score_rule
from silverstain.features.naming import is_a_guess, label_cards
from silverstain.features.neuronpedia import neuronpedia_labels
from silverstain.features.rows import BEFORE, WIDTH
from silverstain.features.rule_learning import learn_rule
from silverstain.features.rules import TokenClasses, matches, rule_text
from silverstain.features.streaming import TextSeen, stream

from .stub_server import served
from .test_streaming import rows

STRINGS = ["<bos>", " the", " town", " Austin", " 42", ".", "ing", " NASA", "\n", *(f" w{i}" for i in range(40))]
CLASSES = TokenClasses(STRINGS)


def windows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, len(STRINGS), (n, WIDTH))


def test_tokens_fall_into_classes_by_their_text():
    named = {name: [STRINGS[i] for i in np.flatnonzero(members)] for name, members in CLASSES.members.items()}
    assert named["a number"] == [" 42"]
    assert named["punctuation"][:2] == ["<bos>", "."] or named["punctuation"] == ["."]
    assert named["the rest of a word"] == ["ing"]
    assert named["a word in capitals"] == [" NASA"]
    assert " Austin" in named["a capitalised word"]
    assert named["a line break"] == ["\n"]


@pytest.mark.parametrize(
    "rule",
    [
        {"all": [{"at": 0, "tokens": [3, 2]}]},
        {"all": [{"at": -1, "tokens": [5]}]},
        {"all": [{"at": 0, "class": "a number"}]},
        {"all": [{"before": [3, 7]}]},
        {"all": [{"at": 0, "tokens": [1, 2, 3, 4]}, {"before": [7, 8, 9]}]},
    ],
    ids=str,
)
def test_a_rule_that_made_the_contexts_is_found_again(rule):
    text = windows(6000)
    holds = matches(rule, text, CLASSES)
    active, others = text[holds][:96], text[~holds][:800]
    found = learn_rule(active, others, CLASSES, float(holds.mean()))
    assert found is not None
    test = windows(3000, seed=1)
    held = matches(rule, test, CLASSES)
    scores = score_rule(
        found.rule,
        Contexts(active=test[held], others=test[~held], moved=test[~held], density=float(held.mean())),
        CLASSES,
    )
    assert scores.detection is not None
    assert scores.detection > 0.85
    assert found.accuracy == pytest.approx(scores.detection, abs=0.12)  # what is expected is what comes


@pytest.fixture(scope="module")
def random_text() -> TextSeen:
    ids = np.random.default_rng(3).integers(1, len(STRINGS), 6000).astype(np.int32)
    return TextSeen(token_ids=ids, counts=np.ones(len(ids), dtype=bool), starts=np.arange(0, 6001, 20))


@pytest.fixture(scope="module")
def chance(random_text: TextSeen) -> ChanceAccuracy:
    return ChanceAccuracy(random_text, windows(800, seed=2), CLASSES)


@pytest.mark.parametrize("n", [6, 48])
def test_places_at_random_are_almost_never_named(chance: ChanceAccuracy, n: int):
    found = [learn_rule(windows(n, seed=100 + i), windows(800, seed=900 + i), CLASSES, 0.02) for i in range(60)]
    above = [one is not None and one.accuracy > chance.bar(n, 800) for one in found]
    assert sum(above) <= 2
    assert any(one is not None and one.accuracy > 0.52 for one in found)  # the search does find something


def test_fewer_examples_have_a_higher_bar(chance: ChanceAccuracy):
    bars = [chance.bar(n, 800) for n in (6, 24, 48)]
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > bars[-1] + 0.05
    assert chance.bar(24, 800) == chance.bar(27, 800)  # rounded down


def test_a_unit_that_is_active_through_a_few_rows_is_one_example_a_row(random_text: TextSeen, chance: ChanceAccuracy):
    burst = np.concatenate([np.arange(20 * row + 8, 20 * row + 14) for row in range(0, 300, 20)])
    inside = learn_rule(random_text.windows(burst), windows(800, seed=2), CLASSES, 0.01)
    assert inside is not None
    assert inside.accuracy > chance.bar(len(burst), 800)  # words of a row give its places away …
    alone = random_text.one_a_row(burst)
    assert alone.tolist() == [20 * row + 8 for row in range(0, 300, 20)]
    fair = learn_rule(random_text.windows(alone), windows(800, seed=2), CLASSES, 0.01)
    assert fair is None or fair.accuracy <= chance.bar(len(alone), 800)  # … and are no evidence


def test_scores_of_a_perfect_rule_a_guess_and_too_little():
    rule = {"all": [{"at": 0, "tokens": [3]}]}
    active, others = windows(40), windows(200, seed=1)
    active[:, BEFORE] = 3
    others[:, BEFORE] = 2
    perfect = score_rule(rule, Contexts(active=active, others=others, moved=others, density=0.01), CLASSES)
    assert (perfect.detection, perfect.fuzzing, perfect.intruder, perfect.precision, perfect.recall) == (1, 1, 1, 1, 1)
    assert perfect.contrast is None  # no other context has its token
    everywhere = score_rule({"all": []}, Contexts(active=active, others=others, moved=others, density=0.01), CLASSES)
    assert (everywhere.detection, everywhere.fuzzing) == (0.5, 0.5)
    assert everywhere.intruder == pytest.approx(0.2)
    assert everywhere.precision == pytest.approx(0.01)
    little = score_rule(rule, Contexts(active=active[:3], others=others, moved=others, density=0.01), CLASSES)
    assert little.detection is None
    assert little.precision is None


def test_the_intruder_test_is_the_chance_of_pointing_at_it():
    rule = {"all": [{"at": 0, "tokens": [3]}]}
    rng = np.random.default_rng(0)
    active, others = windows(400), windows(400, seed=1)
    active[:, BEFORE] = np.where(rng.random(400) < 0.7, 3, 2)
    others[:, BEFORE] = np.where(rng.random(400) < 0.2, 3, 2)
    hits, false = (active[:, BEFORE] == 3).mean(), (others[:, BEFORE] == 3).mean()
    right = 0.0
    for _ in range(20000):
        holds = np.append(rng.random(4) < hits, rng.random() < false)
        lowest = np.flatnonzero(holds == holds.min())
        right += (4 in lowest) / len(lowest)
    found = score_rule(rule, Contexts(active=active, others=others, moved=others, density=0.1), CLASSES)
    assert found.intruder == pytest.approx(right / 20000, abs=0.01)


@pytest.mark.parametrize(
    "rule", [{}, {"all": "x"}, {"all": [{"at": 99, "tokens": [1]}]}, {"all": [{"at": 0, "class": "x"}]},
             {"all": [{"at": 0, "tokens": ["the"]}]}, {"all": [3]}], ids=str,
)  # fmt: skip
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(UsageError, match=r"this is no (rule|condition)|a rule names tokens by their ids"):
        matches(rule, windows(3), CLASSES)


def test_a_rule_is_told_in_words():
    rule = {"all": [{"at": 0, "tokens": [3, 2]}, {"before": [7]}, {"at": -1, "class": "a number"}]}
    assert rule_text(rule, CLASSES) == 'on "Austin", "town", with "NASA" before, after a number'


@pytest.fixture(scope="module", params=["dictionary", "neurons"])
def labelled(request, world):
    basis = world.dictionary if request.param == "dictionary" else NeuronBasis(world.model)
    seen = stream(world.model, basis, rows(200))
    return label_cards(assemble(seen, world.model, basis), seen, world.model, basis, shuffles=10), seen, basis


def test_cards_are_labelled_with_scores_and_evidence(labelled):
    cards, _, _ = labelled
    labels = [some for some in cards.table["labels"].to_pylist() if some]
    assert labels
    for some in labels:
        for label in some:
            evidence = json.loads(label["evidence"])
            assert set(evidence) == {"rule", "shown", "by_chance", "contexts"}
            assert label["sign"] in (1, -1)
            assert set(json.loads(label["scores"])) >= {"detection", "contrast", "fuzzing", "intruder", "precision"}
    scores = [some[0]["score"] for some in labels if some[0]["score"] is not None]
    assert np.mean(scores) > 0.6
    assert cards.meta["random_label_detection"] == pytest.approx(0.5, abs=0.15)
    assert cards.meta["random_label_detection"] < np.mean(scores)


# a language model behind an address


def answering(content: str):
    return lambda path, body, n: (200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}]})  # fmt: skip


@pytest.fixture
def explainer():
    pytest.importorskip("openai")
    from silverstain.features.explainer import Explainer

    return Explainer


def test_a_language_models_label_stands_beside_the_others_with_the_same_tests(world, labelled, explainer):
    _, seen, basis = labelled
    answer = 'Sure! {"label": "the end of a <b>sentence</b>", "tokens": [".", "is"]}'
    with served(answering(answer)) as (url, asked):
        asker = explainer(url, "m", most=3)
        made = label_cards(assemble(seen, world.model, basis), seen, world.model, basis, explainer=asker, shuffles=10)
    found = [label for some in made.table["labels"].to_pylist() for label in some or () if label["kind"] == "model"]
    assert 1 <= len(found) <= 6
    assert len(asked) == len(found)
    assert found[0]["text"] == "the end of a <b>sentence</b>"
    assert json.loads(found[0]["scores"]).get("detection") is not None
    assert any(label["kind"] != "model" for some in made.table["labels"].to_pylist() for label in some or ())


@pytest.mark.parametrize("trouble", ["down", "slow", "nonsense", "error", "shape"])
def test_an_endpoint_in_trouble_is_asked_again_and_then_left_alone(explainer, trouble):
    content = "I would rather not."
    answers = {
        "nonsense": answering(content),
        "error": lambda path, body, n: (500, {"error": "no"}),
        "shape": lambda path, body, n: (200, {"choices": []}),
    }
    answer = answers.get(trouble, answering('{"label": "x", "tokens": []}'))
    with served(answer, delay=1.0 if trouble == "slow" else 0.0) as (url, asked):
        url = "http://127.0.0.1:9" if trouble == "down" else url
        asker = explainer(url, "m", timeout=0.2 if trouble == "slow" else 5.0)
        with pytest.warns(Remark, match="gave no usable label 3 times in a row"):
            assert [asker.explain([(["a"], 0)]) for _ in range(6)] == [None] * 6
    assert asker.is_lost
    assert asker.n_failed == 3
    assert len(asked) == (0 if trouble == "down" else 6)


def test_one_bad_answer_is_asked_again(explainer):
    good = '{"label": "fine", "tokens": ["a"]}'
    with served(lambda path, body, n: answering("?" if n == 0 else good)(path, body, n)) as (url, asked):
        found = explainer(url, "m").explain([(["a"], 0)])
    assert found is not None
    assert (found.text, len(asked)) == ("fine", 2)


# Neuronpedia's interface


def page(path, body, n):
    if path.endswith("/404"):
        return 404, {}
    return 200, {"explanations": [{"description": "towns\u202e of Texas", "explanationModelName": "m", "scores": []}]}


def test_labels_of_neuronpedia_are_asked_for_once(tmp_path):
    with served(page) as (url, asked):
        given = {"model": "gemma-2-2b", "source": "gemmascope-16k", "cache": tmp_path, "url": url, "wait": 0.0}
        found = neuronpedia_labels([(3, 17), (3, 404)], **given)
        again = neuronpedia_labels([(3, 17), (3, 404)], **given)
    assert asked == ["/api/feature/gemma-2-2b/3-gemmascope-16k/17", "/api/feature/gemma-2-2b/3-gemmascope-16k/404"]
    assert found == again
    assert list(found) == [(3, 17)]
    assert found[3, 17][0]["kind"] == "neuronpedia"
    assert "\u202e" not in found[3, 17][0]["text"]


@pytest.mark.parametrize("trouble", ["down", "slow", "nonsense"])
def test_neuronpedia_in_trouble_leaves_what_is_there(tmp_path, trouble):
    answer = page if trouble != "nonsense" else (lambda path, body, n: (200, "<html>"))
    with served(answer, delay=1.0 if trouble == "slow" else 0.0) as (url, asked):
        url = "http://127.0.0.1:9" if trouble == "down" else url
        with pytest.warns(Remark, match="gave no answer 3 times in a row"):
            found = neuronpedia_labels(
                [(0, i) for i in range(6)], model="m", source="s", cache=tmp_path, url=url, wait=0.0, timeout=0.2
            )
    assert found == {}
    assert len(asked) <= 6


def test_names_that_could_lead_elsewhere_are_refused(tmp_path):
    with warnings.catch_warnings(), pytest.raises(UsageError, match="is no name of Neuronpedia"):
        neuronpedia_labels([(0, 0)], model="../x", source="s", cache=tmp_path)


def test_what_is_hardly_more_than_a_guess_stands_behind_other_labels():
    labels = [
        {"text": "writes b", "evidence": '{"shown": 0.5}'}, {"text": "on a", "evidence": '{"shown": 0.7}'},
        {"text": "by hand", "evidence": "{}"},
    ]  # fmt: skip
    assert [label["text"] for label in sorted(labels, key=is_a_guess)] == ["on a", "by hand", "writes b"]
