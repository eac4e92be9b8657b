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
from silverstain.organism.causal_map import CausalMap, Site, VariableMap
from silverstain.organism.growing import new_model
from silverstain.organism.interchange import exchanged, means_elsewhere, next_logits_from, says_one_of, streams
from silverstain.organism.language import build_tokenizer
from silverstain.organism.mapping import causal_map
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
from silverstain.organism.world import default_geography
from silverstain.statistics import Share

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
        mixed = exchanged(streams(model, base)[0][0], position, stream[0, :, position])
        torch.testing.assert_close(next_logits_from(model, mixed, 0), streams(model, typed)[1])


def test_exchanging_the_last_stream_of_the_last_token_gives_the_donors_answer(model):
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    stream, logits = streams(model, donor)
    mixed = exchanged(streams(model, base)[0][N_LAYERS], 5, stream[N_LAYERS, :, 5])
    torch.testing.assert_close(next_logits_from(model, mixed, N_LAYERS), logits)


def test_running_on_from_a_stream_is_the_whole_run_and_leaves_the_model_as_it_was(model):
    modules = list(model.modules())
    stream, logits = streams(model, random_ids(5, 6, 0))
    for layer in range(N_LAYERS + 1):
        torch.testing.assert_close(next_logits_from(model, stream[layer], layer), logits)
    assert list(model.modules()) == modules
    assert not any(module._forward_hooks for module in model.modules())


def test_running_on_from_an_exchanged_stream_is_a_run_with_a_hook_that_exchanges_it(model):
    base, donor = random_ids(5, 6, 0), random_ids(5, 6, 1)
    (own, _), (other, _) = streams(model, base), streams(model, donor)
    block = model.model.layers[0]
    hook = block.register_forward_hook(lambda module, inputs, output: exchanged(output, 3, other[1, :, 3]))
    with torch.no_grad():
        slow = model(input_ids=base).logits[:, -1]
    hook.remove()
    torch.testing.assert_close(next_logits_from(model, exchanged(own[1], 3, other[1, :, 3]), 1), slow)


def test_a_mean_is_of_the_same_value_in_other_combinations():
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    classes, groups = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 2, 2])
    means = means_elsewhere(x, classes, groups, torch.arange(5))
    assert means.flatten().tolist() == [4, 4, 1.5, 12, 12]


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


def test_a_map_has_every_layer_and_token_of_every_variable(small_map: CausalMap):
    assert [found.name for found in small_map.variables] == [spec.name for spec in MAPPED]
    for found in small_map.variables:
        assert len(found.sites) == (N_LAYERS + 1) * len(found.roles)
        assert {site.layer for site in found.sites} == set(range(N_LAYERS + 1))


def test_a_site_is_found_by_layer_and_role(small_map: CausalMap):
    found = small_map.of("geography", "state")
    site = found.at(1, "town last piece")
    assert (site.layer, site.role) == (1, "town last piece")
    with pytest.raises(KeyError, match="has no token 'river'; it has the, relation"):
        found.at(1, "river")


def test_before_base_and_donor_part_an_exchange_is_none(small_map: CausalMap):
    found = small_map.of("geography", "state")
    assert all(found.at(layer, "relation").interchange == found.unexchanged for layer in range(N_LAYERS + 1))


def test_the_last_token_after_the_last_block_says_what_the_donor_says(small_map: CausalMap):
    for found in small_map.variables:
        if "another" not in found.form:  # there the donor's own answer is another one
            assert found.at(N_LAYERS, found.roles[-1]).interchange.value == pytest.approx(found.donor_right.value)


def test_a_map_is_the_same_after_saving(small_map: CausalMap, tmp_path):
    small_map.save(tmp_path / "causal-map.json")
    assert CausalMap.load(tmp_path / "causal-map.json") == small_map


def test_a_cut_map_is_refused_in_one_line(small_map: CausalMap, tmp_path):
    path = tmp_path / "causal-map.json"
    path.write_text('{"format": "silverstain.causal-map/1", "variables": [{}]}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot read .*causal-map") as error:
        CausalMap.load(path)
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_another_world_is_refused(model, tokenizer):
    spec = SPECS["geography: state (two hops)"]
    foreign = build_tokenizer()
    foreign.encode = lambda word, add_special_tokens=True: [foreign.unk_token_id]
    with pytest.raises(UsageError, match="does not know 'the' of the small world"):
        causal_map(model, foreign, n=2, only=[spec])


def test_the_best_site_is_the_earliest_that_is_as_good():
    def measure(value: float) -> Share:
        return Share(value=value, low=0, high=1, n=100)

    sites = tuple(
        Site(layer=layer, role=role, probe=measure(p), interchange=measure(i), mean_interchange=measure(0))
        for layer, role, p, i in [(0, "a", 0.2, 0), (0, "b", 0.1, 0.1), (1, "a", 0.97, 0.9), (1, "b", 0.98, 1.0)]
    )
    chance = measure(0)
    found = VariableMap(
        family="f", variable="v", form="w", n_values=2, roles=("a", "b"), base="", donor="", counterfactual="",
        base_right=chance, donor_right=chance, unexchanged=chance, bag_of_tokens=chance, best_look_up={}, sites=sites,
    )  # fmt: skip
    assert (found.one_token.role, found.best_probe.role, found.best_interchange.role) == ("a", "a", "b")
    assert "1 b" in variables_table(CausalMap(model_hash="", n=1, seed=0, variables=(found,)))
