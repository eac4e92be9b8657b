"""Choosing features when there is no room for all, and going on after an interruption."""

from pathlib import Path

import pytest
import torch
from tests.measuring import operations_of, peak_of

from silverstain.attribution import DirectionTarget, plan_trace, trace
from silverstain.attribution.edges import GRADIENT_BYTES
from silverstain.attribution.plan import REACHED
from silverstain.errors import UsageError
from silverstain.graphs import Graph, influence, target_weights
from silverstain.models import record
from silverstain.resuming import ResumeStore

BUDGET = 12


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silverstain.attribution.budget.SMALLEST_ROUND", 5)


def same(left: Graph, right: Graph) -> None:
    assert left.nodes.ids() == right.nodes.ids()
    torch.testing.assert_close(left.matrix().toarray(), right.matrix().toarray(), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("kind", ["per-layer", "cross-layer-skip"])
def test_rows_found_again_are_those_kept_while_ranking(tiny, kind: str, monkeypatch: pytest.MonkeyPatch):
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    kept = trace(model, dictionary, tiny.prompt, max_features=BUDGET)
    monkeypatch.setattr("silverstain.attribution.budget.KEPT_BYTES", 0)
    again = trace(model, dictionary, tiny.prompt, max_features=BUDGET)
    same(kept, again)
    assert kept.meta["unexplained_influence"] == pytest.approx(again.meta["unexplained_influence"])


@pytest.mark.usefixtures("rounds")
def test_what_is_left_unexplained_is_the_influence_of_features_without_rows(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    small = trace(model, dictionary, tiny.prompt, max_features=BUDGET, targets=[4])
    whole = trace(model, dictionary, tiny.prompt, targets=[4])
    chosen = set(small.nodes.ids()[:BUDGET])
    has_row = torch.tensor([i in chosen for i in whole.nodes.ids()])
    shares = torch.where(has_row[whole.targets] | (target_weights(whole)[whole.targets] > 0), 1.0, 0.0)
    from silverstain.graphs import edge_shares

    rests = influence(whole, edge_shares(whole) * shares)
    waiting = rests[whole.nodes.is_kind("feature") & ~has_row].sum()
    assert small.meta["unexplained_influence"] == pytest.approx(float(waiting), rel=1e-5)


@pytest.mark.usefixtures("rounds")
def test_shares_that_are_not_kept_count_as_unexplained(tiny, monkeypatch: pytest.MonkeyPatch):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    exact = trace(model, dictionary, tiny.prompt, max_features=BUDGET)
    monkeypatch.setattr("silverstain.attribution.budget.SHARES_BYTES", 0)  # five shares a row
    rough = trace(model, dictionary, tiny.prompt, max_features=BUDGET)
    assert rough.meta["unexplained_influence"] > exact.meta["unexplained_influence"]
    assert rough.nodes.count()["feature"] == BUDGET
    assert rough.exactness() < 1e-10


class Stopped(Exception):
    pass


@pytest.mark.usefixtures("rounds")
@pytest.mark.parametrize("budget", [None, BUDGET])
def test_an_interrupted_trace_goes_on_where_it_stopped(
    tiny, tmp_path: Path, budget: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("silverstain.attribution.edges.TOGETHER", 1)
    model, dictionary = tiny.model("llama"), tiny.dictionary("cross-layer")
    whole = trace(model, dictionary, tiny.prompt, max_features=budget)
    swept: list[int] = []

    def counted(flow, sources, targets):
        if len(swept) == limit:
            raise Stopped
        swept.append(len(targets))
        return edges_of_group(flow, sources, targets)

    from silverstain.attribution.edges import edges_of_group

    monkeypatch.setattr("silverstain.attribution.edges.edges_of_group", counted)
    limit, folder = 4, tmp_path / "parts"
    with pytest.raises(Stopped):
        trace(model, dictionary, tiny.prompt, max_features=budget, resume=folder)
    assert list(folder.glob("*.safetensors"))
    done, limit = sum(swept), -1
    swept.clear()
    same(trace(model, dictionary, tiny.prompt, max_features=budget, resume=folder), whole)
    n_rows = len(whole.row_nodes) * (1 if budget is None else 2)  # a cross-layer budget finds its rows again
    assert sum(swept) == n_rows - done
    assert not folder.exists()


def test_shares_kept_while_ranking_are_never_taken_for_rows(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.attribution.edges.TOGETHER", 1)
    monkeypatch.setattr("silverstain.attribution.budget.SMALLEST_ROUND", 1000)
    monkeypatch.setattr("silverstain.resuming.PATIENCE", -1.0)
    model, dictionary = tiny.model("llama"), tiny.dictionary("cross-layer")
    up = DirectionTarget(name="up", vector=torch.ones(model.d_model), layer=2)  # attention brings all features to it
    every = trace(model, dictionary, tiny.prompt, targets=[up])
    resumed = trace(model, dictionary, tiny.prompt, targets=[up], max_unexplained=1e-9, resume=tmp_path / "parts")
    assert len(resumed.nodes.ids()) == len(every.nodes.ids())
    assert resumed.exactness() < 1e-10
    same(resumed, every)


def test_only_what_a_trace_kept_is_deleted(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.resuming.PATIENCE", -1.0)
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt, resume=folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_keep_parts_is_a_usage_error(tiny, tmp_path: Path):
    model, dictionary, place = tiny.model("llama"), tiny.dictionary("per-layer"), tmp_path / "parts"
    place.write_text("mine")
    with pytest.raises(UsageError, match="parts is a file"):
        trace(model, dictionary, tiny.prompt, resume=place)
    place.unlink()
    store = ResumeStore(place, "a trace")
    store.put("key", {"values": torch.ones(1)})
    store.flush()
    next(place.iterdir()).write_bytes(b"damaged")
    with pytest.raises(UsageError, match="or delete it and begin again"):
        ResumeStore(place, "a trace")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
def test_a_budget_on_a_gpu_is_that_on_the_processor(tiny, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    monkeypatch.setattr("silverstain.resuming.PATIENCE", -1.0)
    here, there = tiny.model("llama"), tiny.model.__wrapped__("llama")
    there.hf.cuda()
    expected = trace(here, tiny.dictionary(kind), tiny.prompt, max_features=BUDGET)
    for _ in range(2):  # the second time from what was kept
        monkeypatch.setattr(ResumeStore, "discard", lambda _: None)
        found = trace(there, tiny.dictionary(kind), tiny.prompt, max_features=BUDGET, resume=tmp_path / kind)
        same(found, expected)


def test_what_is_kept_twice_is_kept_once_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.resuming.PATIENCE", -1.0)
    store = ResumeStore(tmp_path / "parts", "a sweep")
    for key, value in (("a", 1.0), ("a", 2.0), ("b", 3.0)):
        store.put(key, {"values": torch.tensor([value])})
    again = ResumeStore(tmp_path / "parts", "a sweep")
    found = {key: again.get(key) for key in ("a", "b", "c")}
    assert found["c"] is None
    assert {key: kept["values"].tolist() for key, kept in found.items() if kept} == {"a": [1.0], "b": [3.0]}
    again.put("c", {"values": torch.tensor([4.0])})  # its file is not written over one that is there
    assert again.get("a") is not None
    again.discard()
    assert not (tmp_path / "parts").exists()


def test_rows_of_another_run_are_not_taken(tmp_path: Path, tiny):
    nothing = torch.zeros(1, dtype=torch.long)
    rows = {"indptr": torch.tensor([0, 1]), "columns": torch.tensor([2]), "values": torch.ones(1)}
    first = ResumeStore(tmp_path / "parts", "one")
    first.put(first.key("all", nothing), rows)
    first.flush()
    again, other = ResumeStore(tmp_path / "parts", "one"), ResumeStore(tmp_path / "parts", "two")
    found = again.get(again.key("all", nothing))
    assert found is not None
    assert torch.equal(found["columns"], rows["columns"])
    assert again.get(again.key("few", nothing)) is None
    assert other.get(other.key("all", nothing)) is None


def test_bfloat16_products_move_edges_by_less_than_a_hundredth(tiny):
    model, dictionary = tiny.model("llama"), tiny.dictionary("per-layer")
    exact = trace(model, dictionary, tiny.prompt)
    rough = trace(model, dictionary, tiny.prompt, products=torch.bfloat16)
    difference = (rough.matrix() - exact.matrix()).toarray()
    size = (difference**2).sum() ** 0.5 / (exact.matrix().toarray() ** 2).sum() ** 0.5
    assert 1e-6 < size < 1e-2
    assert rough.meta["settings"]["products"] == "bfloat16"


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
def test_a_plan_counts_what_the_graph_has(tiny, kind: str):
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    for budget in (None, BUDGET):
        graph = trace(model, dictionary, tiny.prompt, max_features=budget)
        planned = plan_trace(model, dictionary, tiny.prompt, max_features=budget)
        assert (planned.nodes, planned.rows) == (graph.n_nodes, len(graph.row_nodes))
        assert planned.active == graph.meta["active_features"]
        assert planned.tokens == graph.nodes.count()["token"]
        assert planned.expanded == graph.nodes.count()["feature"]


@pytest.mark.parametrize("budget", [None, BUDGET])
@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
def test_a_plan_has_the_operations_that_the_sweeps_take(tiny, kind: str, budget: int | None):
    """Within a factor of two, although attention and norms of so small a model are no products of matrices."""
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    _, recording = operations_of(lambda: record(model, tiny.prompt))
    _, taken = operations_of(lambda: trace(model, dictionary, tiny.prompt, max_features=budget))
    planned = plan_trace(model, dictionary, tiny.prompt, max_features=budget)
    assert (taken - recording) / 2 < planned.operations < 2 * (taken - recording)


@pytest.mark.parametrize(("kind", "budget"), [("per-layer", None), ("cross-layer", 120)])
def test_a_plan_has_room_for_what_a_trace_holds(tiny, kind: str, budget: int | None):
    """On a prompt long enough for the rows to be the most of it; the room for gradients is fixed, and left out."""
    model, dictionary = tiny.model("llama"), tiny.dictionary(kind)
    prompt = [0, *(7 * i % 39 + 1 for i in range(31))]
    planned = plan_trace(model, dictionary, prompt, max_features=budget).bytes - GRADIENT_BYTES
    graph, held = peak_of(lambda: trace(model, dictionary, prompt, max_features=budget))
    assert graph.values.nbytes + graph.indices.nbytes < held < planned < 5 * held


def test_a_plans_seconds_are_its_operations_at_the_rate_of_the_machine(tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("silverstain.attribution.plan.rate_of", lambda *_: 1e6)
    planned = plan_trace(tiny.model("llama"), tiny.dictionary("per-layer"), tiny.prompt)
    assert planned.seconds == pytest.approx(planned.operations / (1e6 * REACHED))
