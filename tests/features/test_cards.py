"""A feature made to stand for something known is called by that name."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from silverstain.bases import ActiveUnits
from silverstain.errors import UsageError
from silverstain.features import Cards, build_cards, direct_effects, places_of_kind
from silverstain.features.building import cards_from
from silverstain.features.firings import collect_firings
from silverstain.features.labels import group_label_of, label_of
from silverstain.models import record
from silverstain.storage import read_tensors, save_tensors_whole

from .conftest import CAPITALS, N_FEATURES, N_LAYERS, TOWNS, WORDS, samples

RULES = {
    (0, 0): lambda word, _next, _values: 1.0 if word == "capital" else 0.0,
    (0, 1): lambda word, _next, _values: 2.0 if word == "dal…" else 0.0,
    (0, 2): lambda word, _next, values: 1.5 if values["state"] == "texas" and word in (*TOWNS, "texas") else 0.0,
    (0, 3): lambda word, _next, _values: 1.0 if word in TOWNS else 0.0,
    (0, 4): lambda word, _next, _values: {"the": 3.0, "of": 1.0, "is": 2.0, ".": 0.5}.get(word, 0.0),
    (1, 0): lambda _word, following, _values: 1.0 if following == "austin" else 0.0,
    (1, 1): lambda _word, following, _values: 1.0 if following in CAPITALS.values() else 0.0,
    (1, 2): lambda word, following, values: 1.0 if following in CAPITALS.values() else 0.0,  # fires so, says nothing
}
LABELS = {
    (0, 0): "the word capital",
    (0, 1): "the piece dal…",
    (0, 2): "state = texas",
    (0, 3): "a town",
    (1, 0): "says austin",
    (1, 1): "says a capital",
}


@pytest.fixture(scope="module")
def cards(world) -> Cards:
    return cards_from(world.model, world.dictionary, world.corpus, world.firings(RULES))


@pytest.mark.parametrize(("at", "label"), LABELS.items())
def test_a_feature_is_called_by_what_it_stands_for(cards, at, label):
    card = cards.card(*at)
    assert card is not None
    assert card.label == label == cards.label(*at)
    assert card.f1 > 0.8
    assert card.precision > 0.99


def test_a_feature_that_no_class_fits_is_named_by_the_words_it_is_most_active_on(cards):
    card = cards.card(0, 4)
    assert card is not None
    assert (card.kind, card.label) == ("mixed", 'on "the", "is", "of"')
    assert cards.group_label(0, 4) is None


def test_a_feature_that_fires_before_capitals_without_pushing_them_does_not_say_them(cards):
    assert not cards.label(1, 2).startswith("says")


def test_weak_stray_firings_do_not_cost_a_name(world):
    def noisy(word, following, values):
        return 0.05 if word == "the" else RULES[0, 2](word, following, values)

    cards = cards_from(world.model, world.dictionary, world.corpus, world.firings({(0, 2): noisy}))
    assert cards.label(0, 2) == "state = texas"


def test_numbers_of_a_card_are_those_of_the_firings(world, cards):
    card = cards.card(0, 4)
    places = [word for place, word in enumerate(world.words.current) if world.corpus.counted[place]]
    fires = [{"the": 3.0, "of": 1.0, "is": 2.0, ".": 0.5}[word] for word in places if word in ("the", "of", "is", ".")]
    assert card.density == pytest.approx(len(fires) / len(places))
    assert card.mean_activation == pytest.approx(np.mean(fires), rel=1e-5)
    assert card.max_activation == 3.0
    assert all(example.tokens[example.index] == "the" and example.activation == 3.0 for example in card.examples)
    assert len({example.tokens for example in card.examples}) == len(card.examples) == 5


def test_output_tokens_are_the_ends_of_the_direct_effects(world, cards):
    effects = direct_effects(world.model, world.dictionary, 0, torch.tensor([4]))[0]
    row = world.dictionary.decoder_rows(0, torch.tensor([4]))[0, 0]
    slow = torch.stack([(world.model.final_norm.weight * row) @ unembed for unembed in world.model.W_U])
    torch.testing.assert_close(effects, slow - slow.mean(), atol=1e-5, rtol=1e-5)
    card = cards.card(0, 4)
    for listed, ends in ((card.promotes, effects.topk(5)), (card.suppresses, effects.topk(5, largest=False))):
        assert [token for token, _ in listed] == [WORDS[token] for token in ends.indices.tolist()]
        assert [effect for _, effect in listed] == pytest.approx(ends.values.tolist(), rel=1e-3)
    assert cards.card(1, 0).promotes[0][0] == "austin"


def test_cards_read_back_the_same_and_are_small(cards, tmp_path):
    cards.save(tmp_path / "cards.safetensors")
    again = Cards.load(tmp_path / "cards.safetensors")
    assert [card.label for card in again] == [card.label for card in cards]
    one, other = next(iter(cards)), next(iter(again))
    assert one.examples[0].tokens == other.examples[0].tokens
    assert other.mean_activation == pytest.approx(one.mean_activation)
    assert again.meta == cards.meta
    assert (tmp_path / "cards.safetensors").stat().st_size < 400 * len(cards) + 4000
    again.save(tmp_path / "twice.safetensors")
    first, second = (read_tensors(tmp_path / f"{name}.safetensors") for name in ("cards", "twice"))
    assert first[1] == second[1]
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])


def test_a_file_that_holds_no_cards_is_refused(tmp_path):
    save_tensors_whole(tmp_path / "x.safetensors", {"a": torch.zeros(2)}, {"format": "silverstain.other/1"})
    with pytest.raises(UsageError, match=re.escape("holds no feature cards (silverstain.cards/1)")):
        Cards.load(tmp_path / "x.safetensors")


def test_unknown_features_are_refused_and_those_that_never_fire_have_no_card(cards):
    assert cards.card(1, 7) is None
    assert cards.label(1, 7) == "L1.F7"
    with pytest.raises(UsageError, match=re.escape("There is no L2.F0: this dictionary has 2 layers of 8 features")):
        cards.card(2, 0)


def test_cards_are_found_by_the_words_of_their_labels(cards):
    assert {card.label for card in cards.search("Capital")} >= {"the word capital", "says a capital"}
    assert cards.search("texas", limit=1)[0].label == "state = texas"


def test_cards_of_another_dictionary_are_refused(cards, world):
    cards.check_fits(world.dictionary)
    other = world.dictionary.from_tensors(
        W_enc=torch.ones(1, 2, 3), b_enc=torch.ones(1, 2), W_dec=torch.ones(1, 2, 3), b_dec=torch.ones(1, 3)
    )
    with pytest.raises(UsageError, match="These cards describe the dictionary"):
        cards.check_fits(other)


def test_active_features_of_a_kind_are_those_whose_card_names_a_value_of_it(cards):
    column = torch.tensor
    active = ActiveUnits(
        layer=column([0, 0, 1]), position=column([3, 4, 4]), feature=column([0, 2, 0]),
        activation=column([1.0, 1.0, 1.0]), n_layers=N_LAYERS, n_positions=6,
    )  # fmt: skip
    assert places_of_kind(cards, active, "state") == [(0, 4, 2)]
    assert places_of_kind(cards, active, "state", positions=[3]) == []
    assert places_of_kind(cards, active, "town") == []


def test_firings_are_those_of_each_sentence_by_itself(world):
    """Padding and batching change nothing."""
    found = collect_firings(world.model, world.dictionary, world.corpus, batch_size=5)
    assert len(found.key)
    table = {
        (key, place): strength
        for key, place, strength in zip(
            found.key.tolist(), found.place.tolist(), found.activation.tolist(), strict=True
        )
    }
    assert list(table) == sorted(table)
    for sentence in (0, 7, 20):
        start = int(world.corpus.starts[sentence])
        active = world.dictionary.encode(record(world.model, world.corpus.ids_of(sentence).tolist()).mlp_inputs)
        wanted = {
            (layer * N_FEATURES + feature, start + position): strength
            for layer, position, feature, strength in zip(
                active.layer.tolist(), active.position.tolist(), active.feature.tolist(), active.activation.tolist(),
                strict=True,
            )
        }  # fmt: skip
        here = {at: s for at, s in table.items() if start <= at[1] < int(world.corpus.starts[sentence + 1])}
        assert here.keys() == wanted.keys()
        assert list(here.values()) == pytest.approx([wanted[at] for at in here], rel=1e-4, abs=1e-5)


def test_cards_are_built_from_plain_tuples_with_progress(world):
    told: list[tuple[int, int]] = []
    given = samples()
    cards = build_cards(
        world.model, world.dictionary, iter(given), batch_size=16, on_progress=lambda *n: told.append(n)
    )
    assert told[-1] == (len(given), len(given))
    assert cards.meta["sentences"] == len(given)
    assert all(card.label for card in cards)


@pytest.mark.parametrize(
    ("kind", "subject", "label", "group"),
    [
        ("word", "dallas", "the word dallas", "dallas"),
        ("word", "dal…", "the piece dal…", "dal…"),
        ("next", "austin", "says austin", "say austin"),
        ("next class", "capital", "says a capital", "say a capital"),
        ("next class", "answer", "says an answer", "say an answer"),
        ("value", "state = texas", "state = texas", "state = texas"),
        ("word class", "town", "a town", "a town"),
        ("mixed", 'on "is"', 'on "is"', None),
    ],
)
def test_labels_and_group_labels(kind, subject, label, group):
    assert (label_of(kind, subject), group_label_of(kind, subject)) == (label, group)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, x: t.update(key=t["key"].flip(0)), "not in order"),
        (lambda t, x: t.update(kind=t["kind"] + 99), "no known kind"),
        (lambda t, x: t.update(fit=t["fit"][:, :3].contiguous()), "different shapes"),
        (lambda t, x: t.update(density=t["density"][:-1].clone()), "the column 'density' has the shape"),
        (lambda t, x: t.update(support=t["support"].float()), "the column 'support' is of type"),
        (lambda t, x: t.update(promoted=torch.full_like(t["promoted"].int(), 10**6)), "the token 1000000 has no text"),
        (lambda t, x: x.update(subjects=x["subjects"][:-1]), "it names"),
        (lambda t, x: x.update(n_features="24"), "n_features"),
        (lambda t, x: x["tokens"].update({"\x1b[2J": "a"}), r"tokens\.\\x1b"),
        (lambda t, x: x.pop("centre"), "centre: field required"),
    ],
)
def test_cards_that_are_damaged_behind_their_format_are_named(tmp_path, change, words):
    tensors, header = read_tensors(Path(__file__).parents[1] / "former" / "cards.safetensors")
    text = json.loads(header["text"])
    change(tensors, text)
    save_tensors_whole(tmp_path / "cards.safetensors", tensors, {**header, "text": json.dumps(text)})
    with pytest.raises(UsageError, match=words) as caught:
        Cards.load(tmp_path / "cards.safetensors")
    assert "cards.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)
