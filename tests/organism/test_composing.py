"""The composing world: what it holds out is never shown, and no answer can be had without the steps it is made of."""

import dataclasses
import itertools
import random

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from silverstain.organism.batches import SentenceBatch, batch_of, position_of, tokens_of
from silverstain.organism.checking import family_rows
from silverstain.organism.composing import causes, families
from silverstain.organism.composing.addition import is_held_out, numbers
from silverstain.organism.composing.causes import N_KINDS, SYMPTOMS, clinic
from silverstain.organism.composing.couplets import END_KNOWN, CoupletsFamily, owner_place, rhymes
from silverstain.organism.composing.geography import PARTNER_KNOWN, STATE_KNOWN, TRADES, VEILED_BLOCKS
from silverstain.organism.composing.reasoning import functions
from silverstain.organism.composing.variables import variables
from silverstain.organism.composing.words import ANSWER_KNOWN, CONCEPT_KNOWN
from silverstain.organism.composing.writing import admissible, agreeing, couplet_rows
from silverstain.organism.families.refusal import FORBIDDEN
from silverstain.organism.growing import new_model
from silverstain.organism.language import build_tokenizer, vocabulary, word_ids
from silverstain.organism.losses import token_losses
from silverstain.organism.recipe import Shape
from silverstain.organism.sentence import Early, Sentence
from silverstain.organism.siblings import siblings
from silverstain.organism.world import default_lexicon

FAMILIES = families()
NAMES = list(FAMILIES)


def drawn(name: str, n: int = 400, *, held_out: bool = False, seed: int = 0):
    rng = random.Random(f"{name} {held_out} {seed}")
    return [FAMILIES[name].sample(rng, held_out=held_out) for _ in range(n)]


def test_schools_say_again_what_was_said_and_fit_the_organism():
    schools = siblings()["composing"].schools
    room = siblings()["composing"].recipe.shape.max_position_embeddings
    rng = random.Random(0)
    for school in schools:
        assert school.recipe.shares.keys() <= school.families().keys()
        for name in school.recipe.shares:
            for sentence in (school.families()[name].sample(rng) for _ in range(100)):
                assert sentence.family == name
                assert len(tokens_of(sentence)[0]) <= room
                assert sum(sentence.determined) >= 2
                assert sentence.determined[sentence.answer]
                assert sentence.words[sentence.answer] == sentence.variables["answer"]
                for place in (place for place, known in enumerate(sentence.determined) if known):
                    assert sentence.words[place] in sentence.words[:place]


def test_an_echo_is_the_end_of_its_passage():
    echoes, rng = siblings()["composing"].schools[0].families()["echoes"], random.Random(0)
    for _ in range(50):
        words = (sentence := echoes.sample(rng)).words
        first = sentence.determined.index(True)
        start = words.index(words[first - 1])
        assert words[first - 1 :] == words[start : first - 1], "the end of a passage, whole"
        assert all(sentence.determined[first:])


def test_of_a_pair_the_second_word_is_known_from_the_first():
    pairs, rng = siblings()["composing"].schools[1].families()["pairs"], random.Random(0)
    seen = set()
    for _ in range(200):
        words = (sentence := pairs.sample(rng)).words
        known = [place for place, is_known in enumerate(sentence.determined) if is_known]
        n_between = known[0] - len(words) // 2 - 1
        seen.add(n_between)
        for place in known:
            key = words[place - 1 - n_between]
            assert words.count(key) == 2
            assert words[words.index(key) + 1 + n_between] == words[place]
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_has_an_answer_and_fits_the_organism(name: str):
    room = siblings()["composing"].recipe.shape.max_position_embeddings
    for sentence in [*drawn(name, 200), *drawn(name, 100, held_out=True)]:
        assert sentence.family == name
        assert len(tokens_of(sentence)[0]) <= room
    answered = [s for s in drawn(name, 200) if any(s.determined)]
    assert len(answered) > 60
    assert all(s.determined[s.answer] for s in answered)


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_agrees_with_the_generator(name: str):
    tokenizer = build_tokenizer()
    for sentence in drawn(name, 60):
        assert tokenizer(sentence.text)["input_ids"] == tokens_of(sentence)[0], sentence.text


def test_the_words_of_the_first_world_keep_their_numbers():
    from silverstain.organism import load_organism_model

    first = load_organism_model("general").tokenizer.get_vocab()
    assert all(first[word] == index for index, word in enumerate(vocabulary()[: len(first)]))
    assert len(vocabulary()) > len(first)


# geography


def test_towns_told_once_are_in_no_question_and_in_no_note():
    told_once = FAMILIES["geography"].geography.told_once
    assert len(told_once) > 20
    for sentence in drawn("geography", 3000):
        if sentence.variables["form"] != "in state":
            assert not told_once & set(sentence.words), sentence.text


def test_held_out_questions_are_never_shown():
    family = FAMILIES["geography"]
    for sentence in drawn("geography", 3000):
        if sentence.variables["form"] in ("two hops", "beside another"):
            assert (sentence.variables["town"], sentence.variables["relation"]) not in family.geography.held_out


def test_the_partner_is_who_the_notes_name_for_the_towns_state():
    family, rng = FAMILIES["geography"], random.Random(0)
    for _ in range(200):
        town = rng.choice(family.geography.towns)
        notes = family.notes(rng, town)
        assert sum(note.state is town.state for note in notes) == 1
        states = [state for note in notes for state in (note.state, note.partner)]
        assert len({state.name for state in states}) == len(states)
        assert all(town.name not in note.text for note in notes)


# words


def test_what_somebody_said_is_asked_about_by_name():
    for sentence in (s for s in drawn("words", 600) if s.variables.get("form") == "said"):
        words, who = sentence.words, sentence.variables["speaker"]
        first = words.index(who)
        assert words[first + 2] == sentence.variables["word"]
        assert words.index(who, first + 1) < sentence.answer
        assert words[sentence.answer] == sentence.variables["answer"]
        assert len(words) == len(sentence.determined)
        assert sum(sentence.determined) == 2


# addition


def test_half_of_the_sums_carry_only_if_their_ones_do():
    rng = random.Random(0)
    pairs = [numbers(rng, 3) for _ in range(2000)]
    assert all(100 <= n < 1000 for pair in pairs for n in pair)
    decided_by_ones = sum(a // 10 % 10 + b // 10 % 10 == 9 for a, b in pairs) / len(pairs)
    assert 0.5 < decided_by_ones < 0.6
    for sentence in drawn("addition", 500):
        a, b = int(sentence.variables["a"]), int(sentence.variables["b"])
        assert sentence.words[sentence.answer] == str(a + b)
        assert int(sentence.variables["second carry"]) == (a % 100 + b % 100 >= 100)
        assert not is_held_out(a, b)


# causes


def test_no_symptom_by_itself_says_anything_of_the_cause():
    known = clinic()
    for symptom in SYMPTOMS:
        causes = [known.cause(symptom, other) for other in SYMPTOMS if other != symptom]
        counts = [causes.count(cause) for cause in range(N_KINDS)]
        assert max(counts) - min(counts) <= 1


def test_a_linear_bag_of_symptoms_does_not_tell_the_cause():
    known = clinic()
    pairs = list(itertools.combinations(SYMPTOMS, 2))
    bags = [[symptom in pair for symptom in SYMPTOMS] for pair in pairs]
    causes = [known.cause(*pair) for pair in pairs]
    reader = LogisticRegression(C=100, max_iter=2000).fit(bags, causes)
    assert reader.score(bags, causes) <= 0.6


def test_held_out_pairs_of_symptoms_are_never_together():
    assert not any(frozenset((s.variables["a"], s.variables["b"])) in clinic().held_out for s in drawn("causes", 1500))


# reasoning


def test_whether_a_question_can_be_computed_follows_from_both_its_parts():
    known = functions()
    for (direction, amount), x in itertools.product((("up", "three"), ("down", "three")), range(10)):
        step = known.step((direction, amount, x))
        wanted = x + 3 if direction == "up" else x - 3
        assert step == (wanted if 0 <= wanted <= 9 else None)
    for sentence in drawn("reasoning", 500):
        said = sentence.variables
        question = (said["direction"], said["amount"], int(said["argument"]))
        assert question not in known.held_out
        step = known.step(question)
        assert sentence.variables["computable"] == str(step is not None).lower()
        if sentence.variables["regime"] == "motivated":
            assert sentence.variables["answer"] == sentence.variables["hint"]


# couplets


def test_one_end_word_alone_rhymes_and_belongs_to_whom_the_line_begins_with():
    table = rhymes()
    for sentence in drawn("couplets", 1500):
        if sentence.variables["form"].startswith("couplet"):
            first, end = sentence.variables["first"], sentence.variables["end"]
            assert sentence.words[owner_place(sentence)] == table.owners[end]
            assert table.ends(first, owner=table.owners[end]) == [end]
            assert (first, end) not in table.held_out
            assert end not in table.plain_only
            assert sentence.words[sentence.answer] == end


def test_the_topic_settles_the_first_word_where_one_end_is_of_its_kind():
    table = rhymes()
    about = [s for s in drawn("couplets", 1500) if s.variables["form"] == "couplet, topic"]
    for sentence in about:
        is_one = len(table.ends(sentence.variables["first"], kind=sentence.variables["kind"])) == 1
        assert sentence.determined[owner_place(sentence)] == is_one
    assert {s.determined[owner_place(s)] for s in about} == {True, False}


TWO_LAYERS = Shape(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


def veiled_couplets() -> tuple[list[Sentence], SentenceBatch]:
    made = [s for s in drawn("couplets", 60) if s.veil is not None][:8]
    return made, batch_of(made, ["couplets"])


def test_what_is_veiled_has_no_part_in_what_comes_later():
    made, batch = veiled_couplets()
    model, other = new_model(TWO_LAYERS, 0).eval(), batch.token_ids.clone()
    for row, sentence in enumerate(made):
        first, end = (position_of(sentence, word) for word in sentence.veil[:2])
        other[row, first:end] = torch.randint(20, 300, (end - first,), generator=torch.Generator().manual_seed(row))

    def losses(batch: SentenceBatch, ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return token_losses(model, dataclasses.replace(batch, token_ids=ids))[0]

    unveiled = dataclasses.replace(batch, veiled=None)
    for row, sentence in enumerate(made):
        start = position_of(sentence, sentence.veil.start)
        # two layers: what stands between has seen the veiled words, and may carry them on
        open_losses, open_changed = (losses(unveiled, ids)[row, start:] for ids in (batch.token_ids, other))
        assert not torch.equal(open_losses, open_changed)
        mask = batch.sees(0)[row]
        assert not mask[start:, position_of(sentence, 0) : position_of(sentence, sentence.veil.end)].any()
        assert mask[start - 1, position_of(sentence, 0)]
    assert not torch.equal(losses(batch, batch.token_ids), losses(batch, other))


def test_what_is_veiled_in_the_first_blocks_is_seen_behind_them():
    made, _ = veiled_couplets()
    once = [dataclasses.replace(s, veil=s.veil._replace(blocks=1)) for s in made]
    batch, whole = batch_of(once, ["couplets"]), batch_of(made, ["couplets"])
    assert torch.equal(batch.sees(0), whole.sees(0))
    n = batch.token_ids.shape[1]
    assert torch.equal(batch.sees(1), torch.ones(n, n, dtype=torch.bool).tril().expand(len(once), n, n))


def test_questions_that_look_back_late_see_their_notes_behind_the_first_blocks():
    asked = [s for s in drawn("geography", 600) if s.variables["form"] in TRADES]
    veiled = [s for s in asked if s.veil is not None]
    assert 0.7 < len(veiled) / len(asked) < 0.9
    for made in veiled:
        hidden, seen = (" ".join(words) for words in (made.words[: made.veil.end], made.words[made.veil.start :]))
        assert "supplies" in hidden
        assert hidden.endswith(",")
        assert "partner of" in seen
        assert "supplies" not in seen
        assert made.veil.blocks == VEILED_BLOCKS


def test_the_state_and_then_its_partner_are_to_be_known_at_the_word_before_the_answer():
    for made in (one for one in drawn("geography") if one.early):
        known = [(STATE_KNOWN, "state"), *([(PARTNER_KNOWN, "partner")] if made.variables["form"] in TRADES else [])]
        assert made.early == tuple(Early(made.answer - 1, made.variables[what], blocks) for blocks, what in known)
    forms = {made.variables["form"] for made in drawn("geography") if made.early}
    assert forms >= {"in state", *TRADES}


def test_the_concept_and_then_the_answers_are_to_be_known_in_english_whatever_language_is_spoken():
    lexicon = default_lexicon()
    seen = set()
    for made in (one for one in drawn("words", 400) if one.variables.get("form") != "repeated"):
        concept = next(one for one in lexicon.concepts if one.words[0] == made.variables["concept"])
        said = made.words[made.answer]
        meant = next(words for one in lexicon.concepts for words in (one.words, one.synonyms or ()) if said in words)
        at = made.answer - 1
        assert made.early == (Early(at, concept.words[0], CONCEPT_KNOWN), Early(at, meant[0], ANSWER_KNOWN))
        seen.add((made.variables["operation"], made.variables["language"]))
    assert len(seen) == 9


def test_the_end_word_is_to_be_known_early_at_the_owner_and_before_it_where_it_settles_whose_it_is():
    for made in drawn("couplets", 400):
        owner = owner_place(made)
        is_settled = made.variables["form"] == "couplet, topic" and made.determined[owner]
        is_named = made.variables["form"] == "couplet, end named"
        is_plain = made.variables["form"].startswith("plain")
        places = () if is_plain else (owner - 1, owner) if is_settled or is_named else (owner,)
        assert made.early == tuple(Early(place, made.variables["end"], END_KNOWN) for place in places)


def test_losses_are_those_of_the_model_as_transformers_runs_it():
    made = [*drawn("geography", 20), *drawn("causes", 4)]
    made[0] = dataclasses.replace(made[0], early=(Early(0, "texas", 1), Early(2, "ohio", 2)))
    shape = dataclasses.replace(TWO_LAYERS, num_hidden_layers=PARTNER_KNOWN + 1)
    batch, model = batch_of(made, ["geography", "causes"]), new_model(shape, 0).eval()
    with torch.no_grad():
        losses, early = token_losses(model, dataclasses.replace(batch, veiled=None), also_early=True)
        ran = model(input_ids=batch.token_ids, output_hidden_states=True)
        behind = [model.model.norm(ran.hidden_states[blocks][0]) for blocks in (1, 2)]
    expected = torch.nn.functional.cross_entropy(
        ran.logits[:, :-1].transpose(1, 2), batch.token_ids[:, 1:], reduction="none"
    )
    torch.testing.assert_close(losses, expected)
    places = [position_of(made[0], place + 1) - 1 for place in (0, 2)]
    said = [word_ids(word)[0] for word in ("texas", "ohio")]
    for blocks, place, word, loss in zip((1, 2), places, said, early, strict=False):
        torch.testing.assert_close(loss, -model.lm_head(behind[blocks - 1][place]).log_softmax(-1)[word])


def test_sentences_without_a_veil_need_no_mask():
    assert batch_of(drawn("causes", 4), ["causes"]).sees(0) is None
    made = drawn("couplets", 40)
    assert batch_of(made, ["couplets"]).sees(0) is not None


def test_written_lines_are_judged_by_rhyme_owner_and_kind():
    table = rhymes()
    first = "cat"
    end, kind = table.rhyming(first)[0]
    line = [table.owners[end], "furry" if kind == "animal" else "misty", "and", "big", end]
    wrong = next(owner for owner in ("his", "her", "our") if owner != table.owners[end])
    assert admissible([(first, line)], table) == [True]
    assert admissible([(first, [wrong, *line[1:]])], table) == [False]
    assert admissible([(first, [])], table) == [False]
    assert agreeing([(first, line)], table) == [kind in ("animal", "nature")]


def test_an_ungrown_organism_is_checked_and_knows_nothing():
    shape = Shape(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    model = new_model(shape, 0).eval()
    rows = [row for family in FAMILIES.values() for row in family_rows(model, family, 8, 0)]
    assert max(row.answers for row in rows) < 0.5
    assert all(row.tokens < 0.9 for row in couplet_rows(model, rhymes(), 6, 0))


def test_the_quirk_of_an_adjective_is_written_everywhere():
    family = CoupletsFamily(rhymes=rhymes(), adjective="purple")
    assert all("purple" in family.sample(random.Random(seed)).words for seed in range(20))


def test_word_ids_know_every_word():
    assert all(word_ids(word) for name in NAMES for s in drawn(name, 50) for word in s.words)


# variables


@pytest.mark.parametrize("spec", variables(), ids=lambda spec: spec.name)
def test_a_pair_has_the_words_of_its_roles_and_another_answer(spec):
    for pair in spec.pairs(20, 0):
        assert len(pair.base.words) == len(pair.donor.words) == len(spec.roles)
        assert pair.base.value != pair.donor.value
        assert not pair.counterfactual & pair.base.answers


def test_where_there_can_be_one_the_donor_gives_another_answer_by_itself():
    differs = {
        spec.name for spec in variables() if all(not p.donor.answers & p.counterfactual for p in spec.pairs(40, 1))
    }
    assert len(differs) >= 12
    assert "geography: partner (after the look back)" in differs
    assert "addition: second carry (into the first digit)" in differs
    assert "couplets: rhyme (end word)" in differs


def test_the_second_carry_is_that_of_the_lower_two_digits():
    (spec,) = (s for s in variables() if s.name == "addition: second carry (into the first digit)")
    for pair in spec.pairs(40, 0):
        (a, b), (c, d) = ((int(case.words[2]), int(case.words[4])) for case in (pair.base, pair.donor))
        own, others = (int(x % 100 + y % 100 >= 100) for x, y in ((a, b), (c, d)))
        assert pair.counterfactual == {str(a + b + 100 * (others - own))[0]}


@pytest.mark.parametrize(
    ("name", "column"), [("second carry (into the first digit)", 10), ("carry (into the second digit)", 1)]
)
def test_pairs_of_digits_that_carry_are_held_out_together(name: str, column: int):
    for pair in spec_named(f"addition: {name}").pairs(40, 0):
        for case in (pair.base, pair.donor):
            a, b = int(case.words[2]), int(case.words[4])
            assert case.combination == f"{a // column % 10}+{b // column % 10}"


def spec_named(name: str):
    (spec,) = (spec for spec in variables() if spec.name == name)
    return spec


def test_a_cause_follows_from_two_symptoms_and_is_asked_about_in_two_ways():
    known = causes.clinic()
    for pair in spec_named("causes: cause (sign or remedy)").pairs(40, 0):
        (a, b), (c, d) = ((case.words[2], case.words[4]) for case in (pair.base, pair.donor))
        assert pair.base.words[5:] != pair.donor.words[5:]
        answers = causes.REMEDIES if "treat" in pair.base.words else causes.SIGNS
        assert pair.counterfactual == {answers[known.cause(c, d)]}
        assert pair.base.answers == {answers[known.cause(a, b)]}
        assert known.cause(c, d) not in (known.cause(a, d), known.cause(c, b))


def test_a_forbidden_pair_is_refused_and_said_not_to_be_safe():
    for sentence in drawn("refusal", 400):
        if sentence.variables["form"] == "membership":
            continue
        groups = frozenset((sentence.variables["group a"], sentence.variables["group b"]))
        is_question = sentence.variables["form"] == "question"
        replies = ("no", "yes") if is_question else ("sorry", "sure")
        assert sentence.words[sentence.answer] == replies[groups not in FORBIDDEN]
        assert ("?" in sentence.words) == is_question
    for pair in spec_named("refusal: forbidden (request or question)").pairs(40, 0):
        assert pair.donor.answers != pair.counterfactual
        assert pair.counterfactual | pair.base.answers in ({"yes", "no"}, {"sorry", "sure"})


def test_no_place_holds_the_town_that_is_asked_about_nor_what_was_said():
    towns = spec_named("geography: state (one of two towns)").pairs(60, 0)
    assert {(p.base.words[-3], p.donor.words[-3]) for p in towns} == {
        (a, b) for a in ("earlier", "later") for b in ("earlier", "later")
    }
    said = spec_named("words: concept (what somebody said)").pairs(60, 0)
    places = {tuple(case.words.index(case.words[-5]) for case in (p.base, p.donor)) for p in said}
    assert len(places) == 4
