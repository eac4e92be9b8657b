"""Experiments on the running model, as the page asks for them."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.explorer.conftest import OAKLAND
from tests.explorer.serving import done, events_of, refusal

from silverstain.explorer.live import Live
from silverstain.explorer.server import application
from silverstain.graphs import Graph, Story
from silverstain.graphs.kinds import FEATURE


@pytest.fixture(scope="module")
def client(folder: Path, live: Live) -> Iterator[TestClient]:
    with TestClient(application(folder, live), base_url="http://127.0.0.1:8400") as found:
        yield found


def ran(client: TestClient, **asked: Any) -> dict[str, Any]:
    return done(client, **{"kind": "experiment", "graph": "dallas.safetensors", "tokens": 3} | asked)["evidence"]


def members(folder: Path, label: str) -> list[str]:
    groups = Story.load(folder / "dallas.story.json").groups
    return list(next(group.members for group in groups if group.label == label))


def test_the_swap_of_the_demo_is_done_again_from_its_story(client: TestClient, folder: Path):
    (swap,) = Story.load(folder / "dallas.story.json").evidence
    result = swap["result"]
    found = ran(client, raw=result["edits"], base=result["base"], attention=result["attention"])
    assert found["says"] == ["austin", "sacramento"]
    assert found["kl"] == pytest.approx(result["kl"], rel=1e-4)
    assert not found["control"]["changed"]
    assert found["generated"]["edited"].startswith("sacramento")


def test_all_of_a_word_taken_from_a_prompt_about_another_state_gives_its_capital(client: TestClient):
    edit = {"op": "patch", "what": "position", "position": 9, "value": 1.0}
    found = ran(client, edits=[edit], donor=OAKLAND)
    assert found["says"] == ["austin", "sacramento"]
    assert found["n_changed"] > 20


def test_what_a_graph_predicts_stands_beside_what_is_measured(client: TestClient, folder: Path):
    edit = {"op": "ablate", "nodes": members(folder, "dallas is in texas")}
    rows = ran(client, edits=[edit])["compared"]["rows"]
    answer = next(row for row in rows if row["kind"] == "answer" and row["name"] == "austin")
    assert answer["predicted"] < -1
    assert answer["measured"] < -1
    moved = [row for row in rows if row["kind"] == "feature" and abs(row["predicted"]) > 0.05]
    assert moved
    assert sum(row["predicted"] * row["measured"] > 0 for row in moved) / len(moved) > 0.8


def test_what_is_told_comes_in_the_order_answers_predictions_text(client: TestClient, folder: Path):
    told = events_of(client, kind="experiment", graph="dallas.safetensors", tokens=4,
                     edits=[{"op": "scale", "value": -1, "nodes": members(folder, "dallas is in texas")}])  # fmt: skip
    kinds = [one["event"] for one in told]
    assert kinds.index("answers") < kinds.index("compared") < kinds.index("text")
    texts = [one["text"] for one in told if one["event"] == "text" and one["side"] == "edited"]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_the_same_seed_draws_the_same_text_and_another_one_another(client: TestClient, folder: Path):
    edits = [{"op": "scale", "value": 0.5, "nodes": members(folder, "relation = capital")}]
    asked = {"edits": edits, "temperature": 1.5, "tokens": 12}
    first, again, other = (ran(client, seed=seed, **asked) for seed in (3, 3, 4))
    assert first == again
    assert first["generated"] != other["generated"]


def test_a_line_that_is_cut_takes_its_own_value_from_its_target(client: TestClient, folder: Path):
    graph = Graph.load(folder / "dallas.safetensors")
    ids, kinds = graph.nodes.ids(), graph.nodes.kind
    inside = (kinds[graph.indices] == FEATURE) & (kinds[graph.targets] == FEATURE)
    stays = graph.values < 0.8 * graph.nodes.activation[graph.targets]  # what is cut to below zero ends at zero
    edge = int((graph.values.abs() * (inside & stays)).argmax())
    source, target = int(graph.indices[edge]), int(graph.targets[edge])
    found = ran(client, edits=[{"op": "ablate", "what": "edge", "nodes": [ids[target], ids[source]]}])
    (edit,) = found["edits"]
    assert edit["op"] == "add"
    assert edit["value"] == pytest.approx(-float(graph.values[edge]), rel=1e-3)


def test_attention_may_be_held_as_it_was(client: TestClient, folder: Path):
    edits = [{"op": "ablate", "nodes": members(folder, "town = dallas")}]
    live, frozen = (ran(client, edits=edits, attention=attention) for attention in ("live", "frozen"))
    assert live["kl"] != frozen["kl"]


def test_errors_and_words_are_changed_too(client: TestClient, folder: Path):
    ids = Graph.load(folder / "dallas.safetensors").nodes.ids()
    error = next(one for one in ids if "error" in one)
    word = next(one for one in ids if one.startswith("E_") and one.endswith("_7"))
    for edits, donor in (
        ([{"op": "ablate", "nodes": [error]}], ""),
        ([{"op": "patch", "nodes": [word]}], OAKLAND),
        ([{"op": "patch", "nodes": [error]}], OAKLAND),
    ):
        assert ran(client, edits=edits, donor=donor)["n_changed"] == 1


def test_units_of_one_run_of_a_contrast_are_put_into_the_other(client: TestClient, folder: Path):
    graph = Graph.load(folder / "towns.safetensors")
    reached, ids = graph.influence(), graph.nodes.ids()
    features = (graph.nodes.kind == FEATURE).nonzero().flatten()
    some = [ids[int(node)] for node in features[reached[features].argsort(descending=True)][:40]]
    found = ran(client, graph="towns.safetensors", run="base", edits=[{"op": "patch", "nodes": some}])
    (row,) = found["compared"]["rows"]
    assert row["predicted"] > 0
    assert row["measured"] > 0
    back = ran(client, graph="towns.safetensors", run="contrast", edits=[{"op": "patch", "nodes": some}])
    assert back["compared"]["rows"][0]["measured"] < 0


def one(**changes: Any) -> dict[str, Any]:
    return {"edits": [{"op": "ablate", "nodes": ["0_5_1"]} | changes]}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "there is no edit; choose a node"),
        (one(op="scale", value=1e6), "1e+06 times is out of range: the lab takes factors from −50 to 50"),
        (one(op="scale", value=float("1e308") * 10), "JSON"),
        (one(op="scale"), "scale needs a number"),
        (one(value=3.0), "ablate takes no number"),
        (one(op="grow"), "edits.0.op: input should be 'ablate', 'scale'"),
        (one(nodes=["999_999_9"]), "there is no node '999_999_9' in this graph"),
        (one(nodes=[]), "an edit names no node"),
        (one(op="patch", nodes=["3_1501_9"]), "patch and inject take from the run of another prompt; type one"),
        (one(op="set", value=1e5, nodes=["3_1501_9"]), "100000 is out of range: L3.F1501 is at"),
        (one(what="position", position=400), "there is nothing to change at position 400"),
        (one(what="position", op="set", position=9, value=1.0), "everything at a word cannot be set to one value"),
        (one(what="edge", nodes=["3_1501_9"]), "an edge has a source and a target"),
        ({"edits": [{"op": "ablate", "nodes": ["3_1501_9"]}], "tokens": 10_000}, "tokens: input should be less than"),
        ({"edits": [{"op": "ablate", "nodes": ["3_1501_9"]}], "seed": -1}, "seed: input should be greater than"),
        ({"edits": [{"op": "patch", "nodes": ["3_1501_9"]}], "donor": "qwertz flurb"}, "qwertz"),
        ({"raw": [{"op": "ablate", "features": [[9, 1]]}]}, "layers"),
        ({"raw": [{"kind": "code", "op": "ablate"}]}, "Not an edit"),
        ({"raw": ["rm -rf"]}, "raw.0: input should be a valid dictionary"),
    ],
)
def test_an_experiment_that_cannot_be_made_is_refused_in_a_sentence(client: TestClient, asked: dict, said: str):
    if said == "JSON":
        with pytest.raises(ValueError, match="JSON"):
            refusal(client, kind="experiment", graph="dallas.safetensors", **asked)
        return
    sentence = refusal(client, kind="experiment", graph="dallas.safetensors", **asked)
    assert said in sentence
    assert "\n" not in sentence


def test_a_graph_of_a_model_that_is_not_here_says_how_to_bring_it(client: TestClient, folder: Path):
    graph = Graph.load(folder / "dallas.safetensors")
    graph.with_meta({**graph.meta, "model": {"name": "somebody/else", "hash": "1"}}).save(folder / "other.safetensors")
    graph.with_meta({**graph.meta, "model": {"name": "../../etc", "hash": "1"}}).save(folder / "path.safetensors")
    asked = {"kind": "experiment", "edits": [{"op": "ablate", "nodes": ["3_1501_9"]}]}
    for name in ("other", "path"):
        assert "silverstain explore FOLDER --model MODEL" in refusal(client, graph=f"{name}.safetensors", **asked)


def test_a_feature_is_read_on_a_persons_own_text(client: TestClient):
    found = done(client, kind="activity", graph="dallas.safetensors", layer=3, feature=1501, text=OAKLAND)
    assert len(found["tokens"]) == len(found["activations"]) == 10
    there = done(client, kind="activity", graph="dallas.safetensors", layer=3, feature=1501,
                 text="the capital of the state containing dallas is")  # fmt: skip
    assert there["activations"][9] > 0


def test_the_lens_ends_with_what_the_model_says(client: TestClient):
    found = done(client, kind="lens", graph="dallas.safetensors", pins=[81])
    assert found["cells"][-1][9][0][0] == "austin"
    assert found["pinned"][-1][9][0][1] == 1
    assert found["pins"] == [{"token": "austin", "id": 81}]
    assert len(found["cells"]) == 5


def test_so_many_units_of_the_account_turn_the_answer_and_random_ones_do_not(client: TestClient):
    told = events_of(client, kind="curves", graph="towns.safetensors")
    curves = {one["method"]: dict(map(tuple, one["values"])) for one in told if one["event"] == "curve"}
    turned = told[-1]["turned"]["k"]
    assert turned is not None
    said = done(client, kind="patch", graph="towns.safetensors", k=100)
    assert said["answers"][0]["token"] == "sacramento"
    assert said["value"] == pytest.approx(curves["signed"][100], abs=1e-3)
    random = done(client, kind="patch", graph="towns.safetensors", k=turned, method="random")
    assert random["answers"][0]["token"] == "austin"
    back = done(client, kind="patch", graph="towns.safetensors", k=200, run="contrast")
    assert back["value"] < 0


def test_proposed_groups_are_of_the_graph(client: TestClient, folder: Path):
    found = done(client, kind="proposals", graph="dallas.safetensors")["groups"]
    assert found
    assert {member for group in found for member in group["members"]} <= set(
        Graph.load(folder / "dallas.safetensors").nodes.ids()
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "curves", "graph": "dallas.safetensors"}, "this graph is of one prompt"),
        ({"kind": "patch", "graph": "towns.safetensors", "k": 10**6}, "k: input should be less than"),
        ({"kind": "patch", "graph": "towns.safetensors", "k": 5, "method": "all"}, "method: input should be"),
        ({"kind": "lens", "graph": "dallas.safetensors", "pins": [10**8]}, "there is no token 100000000"),
        ({"kind": "activity", "graph": "dallas.safetensors", "layer": 99, "feature": 1, "text": "hot"}, "no L99.F1"),
        ({"kind": "activity", "graph": "dallas.safetensors", "layer": 1, "feature": 1, "text": ""}, "text: "),
        ({"kind": "lens", "graph": "cut.safetensors"}, "cannot read"),
        ({"kind": "experiment", "graph": "nothing.safetensors", "edits": []}, "there is no edit"),
        ({"kind": "lens", "graph": "nothing.safetensors"}, "the graph does not say which tokens it is of"),
    ],
)
def test_other_work_that_cannot_be_done_is_refused_in_a_sentence(
    client: TestClient, folder: Path, asked: dict[str, Any], said: str
):
    whole = (folder / "dallas.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    graph = Graph.load(folder / "dallas.safetensors")
    graph.with_meta({key: value for key, value in graph.meta.items() if key != "token_ids"}).save(
        folder / "nothing.safetensors"
    )
    sentence = refusal(client, **asked)
    assert said in sentence
    assert "\n" not in sentence
