"""The organism's ill siblings, and what cures them: cases with a development half, a test half and a side-effect set.

Everything that is chosen (features, strengths, layers) is chosen on the development items; the test items come from
other towns, or other sentences.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from silverstain.bases import Dictionary
from silverstain.interventions import Edit
from silverstain.interventions.edits import DirectionEdit, PatternEdit
from silverstain.models import LanguageModel, harvest_mlps
from silverstain.models.prompts import padded
from silverstain.organism.batches import tokens_of
from silverstain.organism.families.couplets import ADJECTIVES
from silverstain.organism.families.cued import RELATIONS, CuedFamily, cued, is_cheating
from silverstain.organism.language import word_ids
from silverstain.organism.sentence import Sentence
from silverstain.organism.siblings import siblings
from silverstain.treatment import Condition, Item, Rule, Treatment, share_right, treated, treatment_for
from silverstain.treatment.comparing import last_streams

NOTE_TOKENS = 3
"""A note is "note WORD ;"."""
LARGEST_COST = 0.01
"""Share of the development side-effect set that a treatment may cost: half of what the test allows."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Prompts by which a treatment is made, or judged."""

    target: tuple[Item, ...]
    """The answer is the right one."""
    wrong: tuple[Item, ...]
    """The same prompts, the answer the one that the sibling gives by its habit."""
    cured: tuple[Item, ...]
    """How it should be: the same prompts without the cue; where there is no cue, other places in sentences."""
    side: tuple[Item, ...]


def prompt_item(sentence: Sentence, at: int, wanted: str | None = None) -> Item:
    """The words before word `at`, and that word or another as the answer."""
    before = (1, *(i for word in sentence.words[:at] for i in word_ids(word)))
    return Item(before, word_ids(wanted or sentence.words[at])[0])


def side_items(seed: str, n: int, of: str = "general") -> list[Item]:
    """Determined tokens of all families of a sibling, half of them of held-out combinations."""
    items = []
    for name, family in siblings()[of].families().items():
        rng = random.Random(f"side {seed} {name}")
        found = 0
        while found < n:
            sentence = family.sample(rng, held_out=found % 2 == 1)
            ids, determined = tokens_of(sentence)
            if any(determined):
                at = rng.choice([i for i, is_determined in enumerate(determined) if is_determined])
                items.append(Item(tuple(ids[:at]), ids[at]))
                found += 1
    return items


def mixed_case(split: str, n: int = 200, cues: str = "seen", pairs: str = "trained", of: str = "mixed") -> Case:
    """Questions behind a wrong note, in the classes that follow notes, for a mixed sibling (`of`).

    `split` is dev or test: towns at even or at odd places of the world's list. `cues` are the words that notes named
    in growing (seen) or never did (unseen); `pairs` are (town, relation) that growing showed (trained) or held out.
    """
    sibling = siblings()[of]
    family = sibling.families()["cued"]
    assert isinstance(family, CuedFamily), f"{of} follows no notes"
    assert sibling.start is not None, f"{of} was not grown on top of another"
    world, unseen, rng = family.geography, family.held_out, random.Random(f"mixed {split} {cues} {pairs}")
    half = [town for i, town in enumerate(world.towns) if i % 2 == (split == "test")]
    towns = [town for town in half if town.name not in family.silent]
    asked = [(t, r) for t in towns for r in RELATIONS if ((t.name, r) in world.held_out) == (pairs == "held out")]
    target, wrong, cured, clean = [], [], [], []
    while len(target) < n or len(clean) < n:
        town, relation = rng.choice(asked)
        truth, cue = town.state.fact(relation), rng.choice(world.states).fact(relation)
        if (cue in unseen) != (cues == "unseen"):
            continue
        sentence = cued(town, relation, truth if rng.random() < 0.3 else cue)
        is_conflict = sentence.variables["conflict"] == "true"
        item = prompt_item(sentence, sentence.answer, truth)
        if is_conflict and is_cheating(town, relation):
            target.append(item)
            wrong.append(Item(item.prompt, word_ids(cue)[0]))
            cured.append(Item((item.prompt[0], *item.prompt[1 + NOTE_TOKENS :]), item.answer))
        elif cues == "seen":  # a right note, or a class that ignores notes
            clean.append(item)
        else:
            clean.append(Item((item.prompt[0], *item.prompt[1 + NOTE_TOKENS :]), item.answer))
    side = [*clean[:n], *side_items(f"mixed {split}", n // 5, sibling.start)]
    return Case(target=tuple(target[:n]), wrong=tuple(wrong[:n]), cured=tuple(cured[:n]), side=tuple(side))


def quirk_case(split: str, n: int = 200, of: str = "quirk") -> Case:
    """Couplets up to the adjective. `target` asks for one adjective that agrees, drawn by the family; where what the
    quirk says agrees as well, it is no habit, and these couplets are left out."""
    plain, preferred = siblings()[of].start, siblings()[of].says
    assert plain is not None, f"{of} has no quirk on top of another"
    assert preferred is not None, f"{of} has no quirk"
    rng, family = random.Random(f"quirk {split}"), siblings()[plain].families()["couplets"]
    words = {word for agreeing in ADJECTIVES.values() if preferred not in agreeing for word in agreeing}
    target, wrong, cured = [], [], []
    while len(target) < n:
        sentence = family.sample(rng)
        at = next((i for i, word in enumerate(sentence.words) if word in words), None)
        if at is not None:
            target.append(prompt_item(sentence, at))
            wrong.append(prompt_item(sentence, at, preferred))
            cured.append(prompt_item(sentence, at - 1))
    side = side_items(f"quirk {split}", n // 5, plain)
    return Case(target=tuple(target), wrong=tuple(wrong), cured=tuple(cured), side=tuple(side))


def marking_feature(
    model: LanguageModel, dictionary: Dictionary, prompts: Sequence[Item], others: Sequence[Item], at: int
) -> int:
    """The feature of layer 0 that fires at token `at` of every one of the prompts, and on least of all other tokens."""

    def activations(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = padded([item.prompt for item in items], model.device)
        real = torch.tensor([[i < len(item.prompt) for i in range(ids.shape[1])] for item in items])
        real[:, : model.n_real] = False
        return dictionary.encode_layer(0, harvest_mlps(model, ids).mlp_inputs[0]), real

    there, elsewhere = activations(prompts)[0][:, at], activations(others)
    always = (there > 0).float().mean(0)
    rate = (elsewhere[0] > 0)[elsewhere[1]].float().mean(0)
    score = always - 20 * rate + 1e-3 * there.mean(0)  # of those that tell apart equally, the one that fires most
    return int(score.argmax())


def cure_mixed(model: LanguageModel, dictionary: Dictionary, dev: Case) -> Treatment:
    """Nothing behind a note reads it any more, where the feature that marks notes fires.

    Later tokens read the note in layer 0 already, where no feature is known yet, and attention that is cut leaves less
    than attention without a note would bring. What is missing is added as a constant behind each block:
    the mean difference of the stream with and without a note. How much of it is chosen on development items.
    """
    without = [item for item in dev.side if word_ids("note")[0] not in item.prompt]
    note = marking_feature(model, dictionary, dev.target, without, at=1)
    inside = Condition(features=((0, note),), first=0, last=NOTE_TOKENS - 1)
    behind = Condition(features=((0, note),), first=NOTE_TOKENS, last=None)
    heads = tuple((layer, head) for layer in range(1, model.n_layers) for head in range(model.n_heads))
    cut = Rule(edit=PatternEdit(op="ablate", heads=heads), when=inside)
    rules = [cut]
    for layer in range(model.n_layers):
        so_far = treatment_for(model, dictionary, rules, name="so far")
        with treated(model, dictionary, so_far):
            rest = last_streams(model, dev.cured, layer).mean(0) - last_streams(model, dev.target, layer).mean(0)
        edits = [
            DirectionEdit(op="add", layer=layer, direction=tuple(rest.tolist()), name="no note",
                          value=strength * float(rest.norm()))
            for strength in (0.5, 1.0, 1.5)
        ]  # fmt: skip
        candidates = [rules, *([*rules, Rule(edit=edit, when=behind)] for edit in edits)]
        made = [treatment_for(model, dictionary, one, name="mixed: notes are not read") for one in candidates]
        rules = list(_best(model, dictionary, dev, made, lambda: share_right(model, dev.target)).rules)
    return treatment_for(model, dictionary, rules, name="mixed: notes are not read")


def cure_quirk(model: LanguageModel, dictionary: Dictionary, dev: Case) -> Treatment:
    """The features that raise the quirk's word most are turned down, or what they write for: chosen in development."""
    strongest = features_for_word(model, dictionary, dev.wrong)
    answer = dev.wrong[0].answer
    says = model.token_strings([answer])[0].strip()
    word = model.W_U[answer] * _gain(model.final_norm.module)  # what the final norm lets through
    fires = Condition(features=(strongest[0],))
    candidates = [
        [Rule(edit=Edit(op="scale", features=tuple(strongest[:n]), value=factor))]
        for n in (1, 4, 8)
        for factor in (-1.0, -2.0, -3.0)
    ]
    for value in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0):
        edit = DirectionEdit(op="add", layer=model.n_layers - 1, direction=tuple(word.tolist()), name=says,
                             value=-value)  # fmt: skip
        candidates += [[Rule(edit=edit)], [Rule(edit=edit, when=fires)]]
    made = [treatment_for(model, dictionary, rules, name=f"quirk: {says} is not preferred") for rules in candidates]
    return _best(model, dictionary, dev, made, lambda: agreeing(model, dev) - share_right(model, dev.wrong))


def features_for_word(
    model: LanguageModel, dictionary: Dictionary, items: Sequence[Item], n: int = 16
) -> list[tuple[int, int]]:
    """(layer, feature) of those that raise the items' answer most at the last token: mean activation times direct
    effect on its logit against the mean of all."""
    ids = padded([item.prompt for item in items], model.device)
    inputs = harvest_mlps(model, ids, reads_at=dictionary.reads_at).mlp_inputs
    last = torch.tensor([len(item.prompt) - 1 for item in items])
    raised = (model.W_U[items[0].answer] - model.W_U.mean(0)) * _gain(model.final_norm.module)
    found = []
    for layer in range(dictionary.n_layers):
        mean = dictionary.encode_layer(layer, inputs[layer][torch.arange(len(items)), last]).mean(0)
        effect = mean * (dictionary.W_dec(layer).sum(1) @ raised.to(dictionary.dtype))
        values, features = effect.topk(n)
        found += list(zip(values.tolist(), [layer] * n, features.tolist(), strict=True))
    return [(layer, feature) for _, layer, feature in sorted(found, reverse=True)[:n]]


def _gain(norm: nn.Module) -> torch.Tensor:
    """What the organism's final norm multiplies each coordinate by."""
    assert isinstance(norm.weight, torch.Tensor)
    return norm.weight


def agreeing(model: LanguageModel, case: Case) -> float:
    """How often the first choice is an adjective that agrees with the couplet's end word."""
    sets = {word_ids(w)[0]: words for words in ADJECTIVES.values() for w in words}
    by_word = [{word_ids(w)[0] for w in sets[item.answer]} for item in case.target]
    most = max(len(one) for one in by_word)
    shares = [
        share_right(model, [Item(item.prompt, sorted(ids)[i % len(ids)]) for item, ids in
                                   zip(case.target, by_word, strict=True)])
        for i in range(most)
    ]  # fmt: skip
    return sum(shares)


def _best(
    model: LanguageModel, dictionary: Dictionary, dev: Case, made: Sequence[Treatment], score: Callable[[], float]
) -> Treatment:
    """The treatment with the best score on development items among those that hardly cost the side-effect set."""
    before, ranked = share_right(model, dev.side), []
    for treatment in made:
        with treated(model, dictionary, treatment):
            cost, worth = before - share_right(model, dev.side), score()
        ranked.append((worth if cost <= LARGEST_COST else worth - 10 * cost, treatment))
    return max(ranked, key=lambda pair: pair[0])[1]
