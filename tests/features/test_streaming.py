"""One pass of text leaves what all activations in memory would, whatever the batches, stopped and resumed or not."""

import numpy as np
import pytest
import torch

from silverstain.bases import NeuronBasis
from silverstain.errors import UsageError
from silverstain.features import streaming
from silverstain.features.best import Best, ranked
from silverstain.features.histogram import bins_of, edges, n_bins, percentile, quantiles
from silverstain.features.rows import HELD_OUT, Row, chance_of, chunks_of, is_held_out, rows_of
from silverstain.features.streaming import Seen, stream, stream_plan
from silverstain.features.tally import Sizes
from silverstain.features.visiting import visit_layers

from .conftest import N_FEATURES, N_LAYERS, WORDS, samples


def rows(n: int = 60) -> list[Row]:
    rng = np.random.default_rng(1)
    known = [np.array(ids) for ids, _, _ in samples()]
    made = [np.append(0, rng.integers(1, len(WORDS), rng.integers(2, 20))) for _ in range(n)]
    return list(rows_of([(ids.tolist(), None, None) for ids in [*known, *made]], n_real=1))


@pytest.fixture(scope="module", params=["dictionary", "neurons"])
def basis(request, world):
    return world.dictionary if request.param == "dictionary" else NeuronBasis(world.model)


@pytest.fixture(scope="module")
def sizes(basis) -> Sizes:
    return Sizes.of(basis, top=4, shown=10, held=6, pool=16)


@pytest.fixture(scope="module")
def seen(world, basis, sizes) -> Seen:
    return stream(world.model, basis, rows(), sizes=sizes)


@pytest.fixture(scope="module")
def everything(world, basis, seen) -> np.ndarray:
    """[layer, place, feature], zero where a place does not count: a row at a time."""
    out = np.zeros((N_LAYERS, len(seen.text.token_ids), basis.n_features), dtype=np.float32)
    at = 0
    for row in rows():
        for_row = slice(at, at + len(row.token_ids))

        def see(layer, a, for_row=for_row, row=row):
            out[layer, for_row] = np.where(row.counts[:, None], a[0].numpy(), 0.0)

        visit_layers(world.model, basis, torch.from_numpy(row.token_ids)[None], see)
        at += len(row.token_ids)
    return out


def test_sums_and_histograms_are_those_of_all_activations(seen, everything, sizes):
    arrays = seen.tally.arrays
    counts = (everything > 0).sum(1) if not sizes.is_signed else np.full(arrays["count"].shape, seen.text.n_places)
    assert np.array_equal(arrays["count"], counts)
    assert np.allclose(arrays["total"], everything.sum(1, dtype=np.float64), atol=1e-3)
    assert np.allclose(arrays["squares"], np.square(everything, dtype=np.float64).sum(1), rtol=1e-4)
    assert np.array_equal(arrays["histogram"].sum(-1), counts)
    for layer, feature in [(0, 0), (1, 3)]:
        values = everything[layer][seen.text.counts, feature]
        values = values if sizes.is_signed else values[values > 0]
        found = np.bincount(
            bins_of(torch.from_numpy(values), sizes.is_signed).numpy(), minlength=n_bins(sizes.is_signed)
        )
        assert np.abs(arrays["histogram"][layer, feature].astype(int) - found).sum() <= 2  # rounding at a bin's bound


def test_the_strongest_examples_are_one_a_row_and_no_text_twice(seen, everything, sizes):
    row_of = np.repeat(np.arange(len(seen.text.starts) - 1), np.diff(seen.text.starts))
    windows = seen.text.windows(np.arange(len(row_of)))
    for layer in range(N_LAYERS):
        for feature in range(min(everything.shape[2], 12)):
            for side in range(sizes.sides):
                values = everything[layer, :, feature] * (-1 if side else 1)
                expected: list[float] = []
                rows_seen, texts = set(), set()
                for place in np.argsort(-values, kind="stable"):
                    text = windows[place].tobytes()
                    if values[place] > 0 and row_of[place] not in rows_seen and text not in texts:
                        rows_seen.add(row_of[place])
                        texts.add(text)
                        expected.append(float(values[place]))
                unit = feature * sizes.sides + side
                kept = seen.tally.arrays["top.place"][layer, unit] >= 0
                found = -seen.tally.arrays["top.score"][layer, unit][kept]
                assert found == pytest.approx(expected[: sizes.top], rel=1e-4)


def test_samples_are_drawn_by_the_number_of_the_place_and_weight(seen, everything, sizes):
    chance, held = chance_of(np.arange(everything.shape[1])), seen.text.is_held_out()
    for name, k, of_side in (("shown", sizes.shown, ~held), ("held", sizes.held, held)):
        for layer in range(N_LAYERS):
            for unit in range(min(everything.shape[2], 12) * sizes.sides):
                feature, side = divmod(unit, sizes.sides)
                values = everything[layer, :, feature] * (-1 if side else 1)
                weight = np.square(values) if sizes.is_signed else np.ones_like(values)
                with np.errstate(divide="ignore"):
                    score = np.where((values > 0) & of_side, chance / weight, np.inf)
                expected = np.argsort(score, kind="stable")[:k][np.isfinite(np.sort(score)[:k])]
                places = seen.tally.arrays[f"{name}.place"][layer, unit]
                assert set(places[places >= 0].tolist()) == set(expected.tolist())
                found = seen.tally.arrays[f"{name}.value"][layer, unit][places >= 0]
                assert np.allclose(found, everything[layer, places[places >= 0], feature], rtol=1e-4, atol=1e-6)


def test_examples_carry_the_activations_around_them(seen, everything):
    arrays = seen.tally.arrays
    at = arrays["top.place"][1, 0, 0]
    assert arrays["top.around"][1, 0, 0, 12] == pytest.approx(everything[1, at, 0], rel=1e-2)
    assert seen.text.windows(np.array([at]))[0, 12] == seen.text.token_ids[at]


def test_the_pool_has_every_unit_at_the_same_places(seen, everything, sizes):
    chance = np.where(seen.text.counts, chance_of(np.arange(len(seen.text.counts))), np.inf)
    places = seen.tally.arrays["pool_place"]
    assert set(places.tolist()) == set(np.argsort(chance, kind="stable")[: sizes.pool].tolist())
    assert np.allclose(seen.tally.arrays["pool"], everything[:, places], rtol=2e-3, atol=1e-3)


def same(one: Seen, other: Seen) -> bool:
    return all(np.array_equal(one.tally.arrays[name], other.tally.arrays[name]) for name in one.tally.arrays)


def test_a_run_that_was_killed_goes_on_to_the_identical_arrays(world, basis, sizes, tmp_path, monkeypatch):
    monkeypatch.setattr("silverstain.features.rows.FEWEST", 64)
    monkeypatch.setattr("silverstain.features.rows.CHUNK", 100)
    whole = stream(world.model, basis, rows(), sizes=sizes)
    state = tmp_path / "state.safetensors"

    def killed():
        for number, row in enumerate(rows()):
            if number == 60:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        stream(world.model, basis, killed(), sizes=sizes, state=state, patience=0.0)
    assert state.exists()
    again = stream(world.model, basis, rows(), sizes=sizes, state=state, patience=0.0)
    assert same(whole, again)
    with pytest.raises(UsageError, match="row 0 of the text is not the one that was read before"):
        stream(world.model, basis, rows()[1:], sizes=sizes, state=state)
    with pytest.raises(UsageError, match="an unfinished run of another model, basis, text or size"):
        stream(world.model, basis, rows(), sizes=sizes, state=state, identity="other")


def test_a_run_in_bfloat16_is_the_run_to_rounding_and_goes_on_in_it(world, basis, sizes, tmp_path, seen):
    state = tmp_path / "state.safetensors"
    whole = stream(world.model, basis, rows(), sizes=sizes, products="bfloat16", state=state, patience=0.0)
    assert whole.products == "bfloat16"
    assert seen.products == "float32"  # such a narrow model is not measured
    assert not same(whole, seen)
    for name in ("total", "squares"):
        one, other = whole.tally.arrays[name], seen.tally.arrays[name]
        assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(other)
    again = stream(world.model, basis, rows(), sizes=sizes, state=state)
    assert again.products == "bfloat16"
    assert same(whole, again)


@pytest.mark.parametrize("n", [0, 1, 5, 2000])
def test_entries_are_ranked_as_by_a_sort_of_three_keys(n):
    rng = np.random.default_rng(n)
    row, place = rng.integers(0, 40, n), rng.permutation(n)
    score = rng.choice(np.array([-np.inf, -3.5, -1e-30, -0.0, 0.0, 2e-38, 0.25, 7.0, np.inf], np.float32), n)
    assert np.array_equal(ranked(row, score, place), np.lexsort((place, score, row)))


def test_the_middle_bin_of_signed_values_holds_what_is_below_the_smallest_bound():
    values = torch.tensor([0.0, -0.0, 2.0**-17, -(2.0**-17), 2.0**-16, -(2.0**-16), 1.3, -1.3, 2.0**20, -(2.0**20)])
    middle, bounds = n_bins(True) // 2, edges(True)
    found = bins_of(values, True)
    assert found.tolist()[:6] == [middle] * 4 + [middle + 1, middle - 1]
    for value, at in zip(values[6:8].tolist(), found[6:8].tolist(), strict=True):
        assert bounds[at] <= value <= bounds[at + 1]
    assert found.tolist()[8:] == [n_bins(True) - 1, 0]


def test_a_damaged_state_is_refused(world, basis, sizes, tmp_path):
    state = tmp_path / "state.safetensors"
    stream(world.model, basis, rows(), sizes=sizes, state=state, patience=0.0)
    data = bytearray(state.read_bytes())
    data[-10] ^= 1
    state.write_bytes(data)
    with pytest.raises(UsageError, match="checksum"):
        stream(world.model, basis, rows(), sizes=sizes, state=state)


def test_a_limit_counts_places(world, basis, sizes):
    seen = stream(world.model, basis, rows(), sizes=sizes, n_tokens=50)
    assert 50 <= seen.text.n_places < 70


def test_rows_too_short_for_a_place_are_refused(world, basis):
    with pytest.raises(UsageError, match="no place of the text counts: every row is as short as the leading positions"):
        stream(world.model, basis, rows_of([([0], None, None)], n_real=1))
    with pytest.raises(UsageError, match="no place of the text counts"):
        stream(world.model, basis, [])


def test_the_plan_is_the_room_that_is_taken(world, basis, seen):
    plan = stream_plan(basis, 1000)
    assert plan.state_bytes == sum(array.nbytes for array in streaming.Tally(Sizes.of(basis)).arrays.values())
    assert plan.bytes > plan.state_bytes


def test_sides_of_rows_depend_on_their_tokens_alone():
    share = np.mean([is_held_out(np.array([i, i + 1])) for i in range(2000)])
    assert share == pytest.approx(HELD_OUT, abs=0.03)


def test_chunks_are_the_same_from_wherever_one_goes_on(world):
    batches = list(chunks_of(iter(rows()), world.model))
    n_first = len(batches[0].rows)
    from_there = chunks_of(iter(rows()[n_first:]), world.model, sum(len(row.token_ids) for row in batches[0].rows))
    for one, other in zip(batches[1:], from_there, strict=True):
        assert [b.place.tolist() for b in one.batches] == [b.place.tolist() for b in other.batches]


def test_the_best_do_not_depend_on_when_they_are_merged():
    rng = np.random.default_rng(0)
    unit, score, place = rng.integers(0, 5, 300), rng.integers(0, 20, 300).astype(np.float32), np.arange(300)
    text = rng.integers(1, 40, 300).astype(np.uint64)

    def best(step: int) -> Best:
        made = Best(np.full((5, 6), np.inf, np.float32), np.full((5, 6), -1), {"text": np.zeros((5, 6), np.uint64)})
        for first in range(0, 300, step):
            some = slice(first, first + step)
            made.offer(unit[some], score[some], place[some], {"text": text[some]})
            made.merge()
        return made

    one, other = best(300), best(7)
    assert np.array_equal(one.place, other.place)
    assert all(len(set(row.tolist())) == 6 for row in one.more["text"])


@pytest.mark.parametrize("signed", [False, True])
def test_percentiles_of_a_histogram_are_those_of_the_values(signed):
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=5000)).astype(np.float32)
    values = np.where(rng.random(5000) < 0.4, -values, values).astype(np.float32) if signed else values
    counts = np.bincount(bins_of(torch.from_numpy(values), signed).numpy(), minlength=n_bins(signed))
    assert len(counts) == n_bins(signed) == len(edges(signed)) - 1
    for share in (0.02, 0.3, 0.5, 0.9, 0.999):
        value = float(np.quantile(values, share))
        assert percentile(counts, value, signed) == pytest.approx(100 * share, abs=2)
        assert quantiles(counts, np.array([share]), signed)[0] == pytest.approx(value, rel=0.2, abs=0.02)
    assert np.isnan(percentile(counts * 0, 1.0, signed))


def test_extreme_values_fall_into_the_outermost_bins():
    values = torch.tensor([1e-30, 1e30, 1.0])
    assert bins_of(values, False).tolist()[:2] == [0, n_bins(False) - 1]
    assert bins_of(torch.tensor([0.0, -1e30, 1e30]), True).tolist() == [n_bins(True) // 2, 0, n_bins(True) - 1]


def test_features_of_a_dictionary_that_never_fire_have_no_examples(world, seen, sizes):
    dead = seen.tally.arrays["count"] == 0
    if not sizes.is_signed:
        assert (seen.tally.arrays["top.place"][dead] == -1).all()
        assert seen.tally.arrays["count"].shape == (N_LAYERS, N_FEATURES)


def test_activations_around_an_example_are_those_of_its_own_row(seen, everything, sizes):
    arrays = seen.tally.arrays
    for name in ("top", "held"):
        places = arrays[f"{name}.place"][1, :, 0]
        for unit in np.flatnonzero(places >= 0)[:12]:
            place = places[unit]
            row = np.searchsorted(seen.text.starts, place, side="right") - 1
            at = place + np.arange(-12, 5)
            inside = (at >= seen.text.starts[row]) & (at < seen.text.starts[row + 1])
            expected = np.where(inside, everything[1, np.clip(at, 0, everything.shape[1] - 1), unit // sizes.sides], 0)
            assert np.allclose(arrays[f"{name}.around"][1, unit, 0], expected, rtol=2e-3, atol=1e-3)
