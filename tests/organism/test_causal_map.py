"""The causal map: pairs that differ in one variable, probes on held-out combinations, exchanges of the stream."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from silverstain.cli.organism import variables_table
from silverstain.errors import UsageError
from silverstain.organism.causal_map import CausalMap, PlacesOfStage, Site, VariableMap
from silverstain.organism.growing import new_model
from silverstain.organism.interchange import exchanged, next_logits_from, says_one_of, stages, streams
from silverstain.organism.language import build_tokenizer
from silverstain.organism.mapping import Words, causal_map
from silverstain.organism.parts import fitted_part, random_differences
from silverstain.organism.probing import (
    SHRINKAGE,
    bags_of_tokens,
    balanced_accuracy,
    best_look_up,
    folds_of,
    read_linearly,
)
from silverstain.organism.recipe import Shape
from silverstain.organism.variables import VariableSpec, variables
from silverstain.organism.variables.pairs import Case
from silverstain.organism.world import default_geography
from silverstain.statistics import Share, share_of

N_LAYERS = 2
SPECS = {spec.name: spec for spec in variables()}
MAPPED = [spec for spec in SPECS.values() if spec.variable in ("state", "carry", "kinds left open", "cause", "concept")]


@pytest.fixture(scope="module")
def model():
    shape = Shape(hidden_size=16, intermediate_size=32, num_hidden_layers=N_LAYERS, num_attention_heads=2)
    return new_model(shape, 0).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def small_map(model, tokenizer) -> CausalMap:
    return causal_map(model, tokenizer, n=4, only=MAPPED)


# pairs


@pytest.mark.parametrize("name", SPECS)
def test_a_pair_differs_in_the_variable_and_in_nothing_that_is_named(name: str):
    spec = SPECS[name]
    for pair in spec.pairs(12, 0):
        assert len(pair.base.words) == len(pair.donor.words) == len(spec.roles)
        assert pair.base.value != pair.donor.value
        assert pair.base.words != pair.donor.words
        assert not pair.counterfactual & pair.base.answers
        assert pair.among is None or pair.counterfactual | pair.base.answers <= pair.among


def test_pairs_depend_on_the_seed_and_the_variable_alone():
    spec = next(iter(SPECS.values()))
    assert spec.pairs(5, 0) == spec.pairs(5, 0)
    assert spec.pairs(5, 0) == spec.pairs(8, 0)[:5]
    assert spec.pairs(5, 0) != spec.pairs(5, 1)


def test_every_family_of_the_world_has_a_variable():
    from silverstain.organism.families import families

    assert {spec.family for spec in SPECS.values()} == set(families())


def test_one_piece_of_the_donors_name_never_makes_the_counterfactual():
    names = {town.name: town for town in default_geography().towns}
    for pair in SPECS["geography: state (two hops)"].pairs(60, 0):
        relation = pair.base.words[1]
        base, donor = names[pair.base.words[6]], names[pair.donor.words[6]]
        for spelled in (base.prefix + donor.suffix, donor.prefix + base.suffix):
            assert spelled not in pair.donor.words
            if spelled in names:
                assert names[spelled].state.fact(relation) not in pair.counterfactual


def test_one_digit_of_the_donor_never_flips_the_carry():
    for pair in SPECS["addition: carry (calc)"].pairs(60, 0):
        (a, b), (c, d) = ((int(case.words[2]), int(case.words[4])) for case in (pair.base, pair.donor))
        assert (a // 10, b // 10) == (c // 10, d // 10)
        assert pair.counterfactual == {str(c + d)[0]} != {str(a + b)[0]}
        for tens, ones in itertools.product((a - a % 10,), (a % 10, c % 10)):
            other = b if ones != a % 10 else d
            assert str(tens + ones + b - b % 10 + other % 10)[0] == str(a + b)[0]


def test_a_variable_that_hardly_occurs_says_so():
    spec = VariableSpec(family="f", variable="v", form="never", roles=(), draw=lambda rng: None)
    with pytest.raises(AssertionError, match=re.escape("f: v (never) hardly ever draws a pair")):
        spec.pairs(1, 0)


# exchanges


def random_ids(n: int, n_pos: int, seed: int) -> torch.Tensor:
    return torch.randint(3, 300, (n, n_pos), generator=torch.Generator().manual_seed(seed))


def test_exchanging_an_embedding_is_the_same_as_typing_the_other_token(model):
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    stream, _ = streams(model, donor)
    for position in range(6):
        typed = base.clone()
        typed[:, position] = donor[:, position]
        mixed = exchanged(streams(model, base)[0][0], [position], stream[0][:, [position]])
        torch.testing.assert_close(next_logits_from(model, mixed, 0), streams(model, typed)[1])


def test_exchanging_the_last_stream_of_the_last_token_gives_the_donors_answer(model):
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    stream, logits = streams(model, donor)
    mixed = exchanged(streams(model, base)[0][-1], [5], stream[-1][:, [5]])
    torch.testing.assert_close(next_logits_from(model, mixed, len(stream) - 1), logits)


def test_running_on_from_a_stream_is_the_whole_run_and_leaves_the_model_as_it_was(model):
    modules = list(model.modules())
    stream, logits = streams(model, random_ids(5, 6, 0))
    assert len(stream) == len(stages(N_LAYERS)) == N_LAYERS + 2
    for stage in range(len(stream)):
        torch.testing.assert_close(next_logits_from(model, stream[stage], stage), logits)
    assert list(model.modules()) == modules
    assert not any(module._forward_hooks for module in model.modules())


def test_running_on_from_an_exchanged_stream_is_a_run_with_a_hook_that_exchanges_it(model):
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    (own, _), (other, _) = streams(model, base), streams(model, donor)
    block, places = model.model.layers[0], [1, 3]
    hook = block.register_forward_hook(lambda module, inputs, output: exchanged(output, places, other[2][:, places]))
    with torch.no_grad():
        slow = model(input_ids=base).logits[:, -1]
    hook.remove()
    torch.testing.assert_close(next_logits_from(model, exchanged(own[2], places, other[2][:, places]), 2), slow)


def test_every_token_of_a_prompt_has_a_name():
    words = Words(build_tokenizer())
    case = Case(words=("calc", ":", "434", "+", "15", "="), value="0", combination="", answers=frozenset())
    names = words.roles(case, ("calc", ":", "a", "+", "b", "="))
    assert names == ("calc", ":", "a hundreds", "a tens", "a ones", "+", "b tens", "b ones", "=")
    assert len(names) == len(words.prompt(case)) - 1, "the start has none"


def test_what_attention_gathered_is_exchanged_before_any_mlp(model):
    """m0 by hand: the first block's attention adds what makes its sum the donor's at one place."""
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    (own, _), (other, _) = streams(model, base), streams(model, donor)
    difference = other[1][:, 4] - own[1][:, 4]

    def add(module, inputs, output):
        added = output[0].clone()
        added[:, 4] += difference
        return (added, *output[1:])

    hook = model.model.layers[0].self_attn.register_forward_hook(add)
    with torch.no_grad():
        slow = model(input_ids=base).logits[:, -1]
    hook.remove()
    torch.testing.assert_close(next_logits_from(model, exchanged(own[1], [4], other[1][:, [4]]), 1), slow)


# parts


def coded(n: int = 600, n_values: int = 6, d: int = 12, seed: int = 0):
    """Cases whose first three dimensions hold a code of their value, and whose fourth varies much more."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(n_values, 3, generator=generator)
    values = torch.arange(n) % n_values
    x = 0.1 * torch.randn(n, d, generator=generator)
    x[:, :3] += codes[values]
    x[:, 3] += 5 * torch.randn(n, generator=generator)
    return x, values, codes


def test_a_part_makes_one_value_into_another_and_leaves_alone_what_varies_otherwise():
    x, values, codes = coded()
    part = fitted_part(x, values, 6)
    of, to = torch.arange(6), torch.arange(6).roll(1)
    difference = part.difference(of, to, 3)
    torch.testing.assert_close(difference[:, :3], codes[to] - codes[of], rtol=0.05, atol=0.05)
    assert difference[:, 3:].abs().max() < 0.1 * 5  # a tenth of how much the fourth varies
    assert part.sizes == (1, 2, 4, 5)


def test_the_largest_part_is_the_difference_of_means():
    x, values, _ = coded()
    means = torch.stack([x[values == value].mean(0) for value in range(6)])
    whole = fitted_part(x, values, 6).difference(torch.arange(5), torch.arange(1, 6), 5)
    torch.testing.assert_close(whole, means[1:] - means[:-1], rtol=1e-3, atol=1e-3)


def test_a_value_that_was_never_fitted_moves_nothing():
    x, values, _ = coded()
    part = fitted_part(x, values, 7)
    assert not part.coordinates[6].any()


def test_a_random_push_is_as_long_and_drawn_from_what_varies():
    x = coded()[0]
    differences = torch.randn(400, 12, generator=torch.Generator().manual_seed(1))
    drawn = random_differences(differences, x, 0)
    torch.testing.assert_close(drawn.norm(dim=1), differences.norm(dim=1))
    assert drawn[:, 3].abs().mean() > 3 * drawn[:, 5:].abs().mean()


def test_an_answer_is_looked_for_among_the_words_that_compete():
    logits = torch.tensor([[3.0, 2.0, 1.0]]).repeat(2, 1)
    wanted = torch.tensor([[False, True, False]]).repeat(2, 1)
    among = torch.tensor([[True, True, True], [False, True, True]])
    assert says_one_of(logits, wanted, among).tolist() == [False, True]


# probes


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_the_linear_reader_is_the_librarys_discriminant(seed: int):
    rng = np.random.default_rng(seed)
    classes = torch.tensor(rng.integers(0, 3, 60))
    x = torch.tensor(rng.normal(size=(60, 4)) + rng.normal(size=(3, 4))[classes.numpy()])
    folds = torch.arange(60) % 3
    mine = read_linearly(x, classes, folds, 3)
    for fold in range(3):
        kept, tested = (folds != fold).numpy(), (folds == fold).numpy()
        mean, spread = x.numpy()[kept].mean(0), x.numpy()[kept].std(0)
        z = (x.numpy() - mean) / spread
        members = [z[kept & (classes == c).numpy()] for c in range(3)]
        within = sum(np.cov(member.T, bias=True) * len(member) for member in members) / kept.sum()
        shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(4)
        library = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3, covariance_estimator=Fixed(shrunk))
        assert mine[tested].tolist() == library.fit(z[kept], classes.numpy()[kept]).predict(z[tested]).tolist()


class Fixed:
    """A covariance given beforehand, in the form the library asks for."""

    def __init__(self, covariance: np.ndarray) -> None:
        self.covariance_ = covariance

    def fit(self, x: np.ndarray) -> "Fixed":
        return self


def test_a_combination_is_never_fitted_and_tested_at_once():
    values = [f"v{i % 5}" for i in range(200)]
    combinations = [f"{i % 5} {i % 8}" for i in range(200)]
    folds = folds_of(values, combinations, 0)
    for names, n_folds in ((combinations, 1), (values, 4)):
        for name in set(names):
            assert len({int(fold) for fold, other in zip(folds, names, strict=True) if other == name}) == n_folds


def test_a_value_that_only_the_combination_tells_is_not_read_from_its_parts():
    """The exclusive or of two bits: a look-up of one token and the bag of both stay at chance."""
    bits = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(50, 1)
    classes, tokens = bits.sum(1) % 2, bits + torch.tensor([0, 2])
    assert best_look_up(tokens[:, 0], classes, 2) == pytest.approx(0.5)
    given = read_linearly(bags_of_tokens(tokens), classes, torch.arange(200) % 4, 2)
    assert (given == classes).double().mean() <= 0.5


def test_balanced_accuracy_counts_rare_values_as_much_as_common_ones():
    classes = torch.tensor([0] * 90 + [1] * 10)
    measured = balanced_accuracy(classes == 0, classes, torch.arange(100), 2, 0)
    assert measured.value == pytest.approx(0.5)
    assert measured.low <= 0.5 <= measured.high


def test_cases_of_one_combination_widen_the_interval():
    right = torch.tensor([True, False] * 20)
    classes = torch.zeros(40, dtype=torch.long)
    alone = balanced_accuracy(right, classes, torch.arange(40), 1, 0)
    together = balanced_accuracy(right, classes, torch.arange(40) % 2, 1, 0)
    assert together.high - together.low > alone.high - alone.low


# the map


def test_a_map_has_every_stage_and_token_of_every_variable(small_map: CausalMap):
    assert [found.name for found in small_map.variables] == [spec.name for spec in MAPPED]
    for found in small_map.variables:
        assert len(found.sites) == (N_LAYERS + 2) * len(found.roles)
        assert [places.stage for places in found.places] == list(stages(N_LAYERS)) == ["embedding", "m0", "r1", "r2"]


def test_a_site_is_found_by_stage_and_role(small_map: CausalMap):
    found = small_map.of("geography", "state")
    site = found.at("r1", "town last piece")
    assert (site.stage, site.role) == ("r1", "town last piece")
    with pytest.raises(KeyError, match="has no 'river' at 'r1'; it has the, relation"):
        found.at("r1", "river")


def test_before_base_and_donor_part_an_exchange_is_none(small_map: CausalMap):
    found = small_map.of("geography", "state")
    assert all(found.at(stage, "relation").part.value == 0 for stage in stages(N_LAYERS))


def test_a_donor_that_is_asked_the_same_gives_the_counterfactual_by_itself(small_map: CausalMap):
    assert not small_map.of("geography", "state", "two hops").donor_differs
    assert small_map.of("geography", "state", "two hops, donor asked another relation").donor_differs


def test_a_map_is_the_same_after_saving(small_map: CausalMap, tmp_path):
    small_map.save(tmp_path / "causal-map.json")
    assert CausalMap.load(tmp_path / "causal-map.json") == small_map


def test_a_cut_map_is_refused_in_one_line(small_map: CausalMap, tmp_path):
    path = tmp_path / "causal-map.json"
    path.write_text('{"format": "silverstain.causal-map/2", "variables": [{}]}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot read .*causal-map") as error:
        CausalMap.load(path)
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_another_world_is_refused(model, tokenizer):
    spec = SPECS["geography: state (two hops)"]
    foreign = build_tokenizer()
    foreign.encode = lambda word, add_special_tokens=True: [foreign.unk_token_id]
    with pytest.raises(UsageError, match="does not know 'the' of the small world"):
        causal_map(model, foreign, n=2, only=[spec])


def share(value: float, n: int = 100) -> Share:
    return share_of(round(value * n), n)


def mapped(parts, *, probes=(0.1, 0.1, 0.3, 0.9), randoms=(0, 0, 0, 0), bag=0.2, is_answer=False) -> VariableMap:
    """A variable of a model of two blocks whose places move these shares of answers."""
    names = stages(2)
    places = tuple(
        PlacesOfStage(
            stage=name, roles=("b",), size=4, part=share(part), random=share(drawn), interchange=share(0),
            probe=share(probe),
        )
        for name, part, probe, drawn in zip(names, parts, probes, randoms, strict=True)
    )  # fmt: skip
    sites = tuple(
        Site(stage=name, role=role, probe=share(0), interchange=share(0), part=share(0))
        for name in names
        for role in ("a", "b")
    )
    chance = share(0)
    return VariableMap(
        family="f", variable="v", form="w", n_values=5, is_answer=is_answer, donor_differs=True, n_pairs=100,
        roles=("a", "b"), base="", donor="", counterfactual="", base_right=chance, donor_right=chance,
        unexchanged=chance, bag_of_tokens=share(bag), best_look_up={}, sites=sites, places=places,
    )  # fmt: skip


VERDICTS = {
    "computed": (mapped((0.1, 0.2, 0.9, 0.95), probes=(0.1, 0.1, 0.6, 0.9)), "computed", "r1"),
    "computed later": (mapped((0.1, 0.2, 0.4, 0.95)), "output", "r2"),
    "gathered": (mapped((0.1, 0.9, 0.92, 0.95)), "gathered", "m0"),
    "a single token tells it": (mapped((0.95, 0.2, 0.9, 0.95)), "gathered", "embedding"),
    "the answer": (mapped((0.1, 0.2, 0.9, 0.95), is_answer=True), "output", "r1"),
    "only behind the last block": (mapped((0.0, 0.0, 0.1, 0.9)), "output", "r2"),
    "nothing moves": (mapped((0.0, 0.0, 0.1, 0.4)), "undecided", "r2"),
    "any push does": (mapped((0.0, 0.0, 0.9, 0.9), randoms=(0, 0, 0.9, 0.9)), "undecided", "r1"),
    "a bag tells it": (mapped((0.0, 0.0, 0.9, 0.9), bag=0.95), "undecided", "r1"),
}


@pytest.mark.parametrize(("found", "kind", "stage"), VERDICTS.values(), ids=VERDICTS)
def test_a_verdict_is_above_all_floors_or_none(found: VariableMap, kind: str, stage: str):
    assert (found.verdict.kind, found.verdict.stage) == (kind, stage)


def test_the_table_says_the_verdict_and_where():
    table = variables_table(CausalMap(model_hash="", n=1, seed=0, variables=(VERDICTS["computed"][0],)))
    assert "computed" in table
    assert "r1 b" in table


def carrying(moved: dict[str, tuple[float, ...]]) -> VariableMap:
    """A map of which only the exchange of whole streams at single places matters; a row of shares for each stage."""
    share, none = lambda value: share_of(round(100 * value), 100), share_of(0, 100)
    roles = ("line-end", "came", "owner")
    sites = tuple(
        Site(stage=stage, role=role, probe=none, interchange=share(value), part=none)
        for stage, row in moved.items()
        for role, value in zip(roles, row, strict=True)
    )
    places = tuple(
        PlacesOfStage(stage=stage, roles=roles[:1], size=1, part=none, random=none, interchange=none, probe=none)
        for stage in moved
    )
    return VariableMap(
        family="couplets", variable="rhyme", form="", n_values=2, is_answer=False, donor_differs=True, n_pairs=100,
        roles=roles, base="", donor="", counterfactual="", base_right=none, donor_right=none, unexchanged=none,
        bag_of_tokens=none, best_look_up={}, sites=sites, places=places,
    )  # fmt: skip


def test_a_variable_is_carried_from_where_nothing_before_it_moves_the_answer_any_more():
    found = carrying({"embedding": (1.0, 0.0, 0.0), "r1": (0.3, 0.0, 0.9), "r2": (0.05, 0.0, 0.95)})
    assert found.carried_from("owner") == "r2"
    assert found.carried_from("came") is None
    assert found.carried_from("line-end") == "embedding"
    assert found.carried_from("owner", elsewhere=0.4) == "r1"
