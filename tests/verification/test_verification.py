"""Predictions and measurements of `verify`, each against a slow and obvious way to the same number."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.interventions.conftest import random_dictionary
from torch import Tensor

from silverstain.attribution import record_run, trace
from silverstain.bases import Dictionary
from silverstain.bases.substitutes import DictionarySubstitute
from silverstain.errors import UsageError
from silverstain.graphs import Graph, Group
from silverstain.interventions import Edit, Readouts, Regime, intervene, sweep
from silverstain.models import LanguageModel, MlpCall, attention_through, mlps_through
from silverstain.verification import Claim, Dose, agreement, divided, inhibited_features, verdict, verify
from silverstain.verification.arithmetic import direct_error
from silverstain.verification.baselines import by_gradient, gradients
from silverstain.verification.controls import random_edits, shuffled
from silverstain.verification.endpoints import endpoints_of
from silverstain.verification.graph_run import GraphRun, graph_run
from silverstain.verification.linear import reached, total_effects
from silverstain.verification.perturbations import passed_on


@pytest.fixture(scope="module")
def tested(model: LanguageModel, dictionary: Dictionary, prompt: list[int]) -> GraphRun:
    return graph_run(model, dictionary, trace(model, dictionary, prompt, targets=[3, 4]))


def some_features(graph: Graph, n: int = 6) -> list[int]:
    """Feature nodes spread over the layers, the last layer left out."""
    found = (graph.nodes.is_kind("feature") & (graph.nodes.layer < 2)).nonzero().flatten().tolist()
    return found[:: max(1, len(found) // n)]


TARGETS_ALONE = torch.zeros(0, dtype=torch.long)


def test_the_measured_effect_is_that_of_the_edited_model(tested: GraphRun, prompt: list[int]):
    nodes, readouts = tested.graph.nodes, tested.readouts(TARGETS_ALONE)
    for node in some_features(tested.graph):
        layer, position, feature = (int(c[node]) for c in (nodes.layer, nodes.position, nodes.feature))
        for attention in ("live", "frozen"):
            edit = Edit(op="set", features=((layer, feature),), positions=(position,), value=-0.5)
            strength = -0.5 / float(nodes.activation[node])
            run = intervene(tested.model, tested.basis, prompt, [edit], attention=attention, base="current")
            change = (run.edited_logits - run.baseline_logits)[-1].double()
            expected = change[[3, 4]] - change.mean()
            edits = [tested.scaled([node], strength)]
            measured = tested.measured(edits, readouts, attention=attention).targets.double()
            assert torch.allclose(measured[0], expected, atol=1e-5)


def replaced_by_hand(tested: GraphRun, nodes: list[int], strength: float) -> Tensor:
    """Final reads when every MLP is the dictionary plus its recorded error, patterns as recorded, norms live."""
    columns, recording, model = tested.graph.nodes, tested.run.recording, tested.model
    substitute, held = DictionarySubstitute(tested.basis), {}
    for node in nodes:
        layer, position, feature = (int(c[node]) for c in (columns.layer, columns.position, columns.feature))
        held.setdefault(layer, []).append((position, feature, strength * float(columns.activation[node])))
    pending: dict[int, Tensor] = {}

    def replaced(call: MlpCall) -> Tensor:
        x = call.read[0]
        written = substitute.writes(call.layer, x, recording.token_ids)
        now = tested.basis.encode_layer(call.layer, x)
        for position, feature, value in held.get(call.layer, ()):
            row = tested.basis.decoder_rows(call.layer, torch.tensor([feature]))[0]
            written[position] += (value - now[position, feature]) * row
        for k in range(written.shape[1]):
            into = call.layer + k
            pending[into] = pending.get(into, 0) + written[:, k]
        out = pending.pop(call.layer) + tested.errors[call.layer]
        out[: model.n_real] = recording.mlp_outputs[call.layer, : model.n_real]
        return out[None]

    # position 0 keeps its real MLP, so its features write nothing to later layers either
    real_writes = substitute.writes

    def writes(layer: int, x: Tensor, ids: Tensor) -> Tensor:
        out = real_writes(layer, x, ids)
        out[: model.n_real] = 0
        return out

    substitute.writes = writes  # type: ignore[method-assign]
    with (
        torch.no_grad(),
        mlps_through(model, replaced, reads_at=tested.basis.reads_at),
        attention_through(model.hf, lambda layer, old: recording.patterns[layer].expand_as(old)),
    ):
        return model.hf(input_ids=recording.token_ids[None], use_cache=False).logits[0, -1]


@pytest.mark.parametrize("strength", [0.0, -2.0, 3.0])
def test_the_prediction_is_the_replaced_model_run_by_hand(tested: GraphRun, strength: float):
    readouts = tested.readouts(TARGETS_ALONE)
    clean = replaced_by_hand(tested, [], 1.0)
    assert torch.allclose(clean, tested.run.recording.logits[-1], atol=1e-4)  # errors make up for what is missed
    chosen = some_features(tested.graph)
    for nodes in [[node] for node in chosen] + [chosen[:3]]:
        change = (replaced_by_hand(tested, nodes, strength) - clean).double()
        predicted = tested.predicted([tested.scaled(nodes, strength)], readouts).targets.double()
        assert torch.allclose(predicted[0], change[[3, 4]] - change.mean(), atol=1e-4)


def test_edges_are_the_frozen_model_where_no_threshold_is_crossed(tested: GraphRun):
    """A feature moved by a thousandth wakes and silences nothing: then paths and local replacement agree."""
    graph = tested.graph
    features = graph.nodes.is_kind("feature").nonzero().flatten()
    readouts, chosen = tested.readouts(features), some_features(graph)
    edits = [tested.scaled([node], 0.999) for node in chosen]
    values = tested.predicted(edits, readouts, norms="frozen").all
    nodes = torch.cat([features, torch.arange(graph.n_nodes)[graph.nodes.span("logit")]])
    shares = [torch.full((1,), -0.001, dtype=torch.float64)] * len(chosen)
    total, _ = total_effects(graph, [torch.tensor([node]) for node in chosen], shares)
    later = graph.nodes.layer[nodes] > 1  # a source is no target of itself
    assert torch.allclose(values[:, later].double(), total[:, nodes][:, later], atol=2e-5)


def test_path_sums_are_a_matrix_inverse(tested: GraphRun):
    graph = tested.graph
    dense = torch.from_numpy(graph.matrix().toarray()).double()
    passing = torch.where(graph.nodes.is_kind("feature"), 1 / graph.nodes.activation.double(), 0.0)
    step = dense * passing  # a change of the source's value, not of its share
    inverse = torch.linalg.inv(torch.eye(graph.n_nodes, dtype=torch.float64) - step)
    chosen = some_features(graph)
    total, direct = total_effects(
        graph, [torch.tensor([n]) for n in chosen], [torch.full((1,), -1.0, dtype=torch.float64)] * len(chosen)
    )
    span = graph.nodes.span("logit")
    for row, node in enumerate(chosen):
        by_hand = -inverse[:, node] * float(graph.nodes.activation[node])
        assert torch.allclose(total[row, span], by_hand[span], atol=1e-6)
        assert torch.allclose(direct[row, span], -dense[span, node], atol=1e-6)


def test_direct_edges_are_an_arithmetic_check_that_can_fail(tested: GraphRun):
    sources, _ = endpoints_of(tested.graph, [], 16)
    assert direct_error(tested, sources) < 1e-5
    wrong = replace(tested, graph=replace(tested.graph, values=tested.graph.values * 1.01))
    assert direct_error(wrong, sources) > 1e-3


def test_the_arithmetic_of_linearised_norms_is_checked_with_linearised_norms(tested: GraphRun, prompt: list[int]):
    graph = trace(tested.model, tested.basis, prompt, targets=[3, 4], norms="linearised")
    sources, _ = endpoints_of(graph, [], 16)
    assert direct_error(graph_run(tested.model, tested.basis, graph), sources) < 1e-5
    settings = {**graph.meta["settings"], "norms": "frozen"}
    wrong = graph.with_meta({**graph.meta, "settings": settings})
    assert direct_error(graph_run(tested.model, tested.basis, wrong), sources) > 1e-2


def test_what_is_reached_follows_kept_edges_only(tested: GraphRun):
    graph = tested.graph
    source = some_features(graph)[0]
    everything = reached(graph, [torch.tensor([source])])
    assert bool(everything[0, graph.nodes.span("logit")].any())
    cut = replace(graph, node_mask=torch.ones(graph.n_nodes, dtype=torch.bool), edge_mask=graph.indices != source)
    assert not bool(reached(cut, [torch.tensor([source])]).any())


def test_the_gradient_is_the_slope_of_the_measured_effect(tested: GraphRun):
    readouts = tested.readouts(TARGETS_ALONE)
    gradient = gradients(tested, readouts, [1.0])
    for node in some_features(tested.graph, 3):
        edits = [tested.scaled([node], strength) for strength in (1.01, 0.99)]
        small = tested.measured(edits, readouts, attention="live").targets
        slope = (small[0] - small[1]) / 0.02
        assert torch.allclose(by_gradient(tested, [node], gradient), -slope, atol=2e-3)


def test_random_controls_are_as_long_as_what_they_control_for(tested: GraphRun):
    node = some_features(tested.graph)[0]
    layer, feature = int(tested.graph.nodes.layer[node]), tested.graph.nodes.feature[node].long()
    own = float(tested.graph.nodes.activation[node]) * tested.basis.decoder_rows(layer, feature[None])[0]
    controls = random_edits(tested, [node], 3, torch.Generator().manual_seed(0))
    assert len(controls) == 3
    for edits in controls:
        assert [edit.layer for edit in edits] == list(tested.basis.targets(layer))
        lengths = torch.stack([torch.tensor(edit.donor).norm() for edit in edits])
        assert torch.allclose(lengths, own.norm(dim=1), rtol=1e-4)


def test_no_active_feature_keeps_its_decoder_rows(tested: GraphRun):
    other, nodes = shuffled(tested, torch.Generator().manual_seed(0)), tested.graph.nodes
    features = nodes.feature[nodes.is_kind("feature") & (nodes.layer == 0)].long().unique()
    assert len(features) > 1
    before, after = tested.basis.decoder_rows(0, features), other.decoder_rows(0, features)
    assert not bool((before == after).flatten(1).all(1).any())
    assert torch.allclose(before.sum(0), after.sum(0), atol=1e-5)  # exchanged, not invented


@pytest.mark.parametrize(
    ("predicted", "measured", "frozen", "expected"),
    [
        (-2.0, -1.5, -1.6, "confirmed"),
        (-2.0, -0.8, -0.8, "refuted"),  # less than half
        (-2.0, 1.5, 1.5, "refuted"),
        (-2.0, 0.01, 0.01, "refuted"),  # nothing where something was said
        (0.05, -0.05, -0.05, "untested"),
        (-2.0, -2.0, -0.5, "attention decides"),
        (float("nan"), -2.0, -2.0, "untested"),
    ],
)
def test_verdicts_follow_the_rules(predicted: float, measured: float, frozen: float, expected: str):
    assert verdict(predicted, measured, frozen, (-0.1, 0.1)) == expected


def claim(predicted: float, measured: float, **given: object) -> Claim:
    facts = {
        "kind": "node → logit", "source": "0_1_2", "target": "austin", "distance": 2, "indirect": 0.6,
        "predicted": predicted, "by_edges": -predicted, "by_thresholds": predicted**3, "measured": measured,
        "frozen": measured, "interval": (-0.1, 0.1), "control": 0.05, "shuffled": 1.0,
        "doses": (Dose(strength=0.0, predicted=predicted, measured=measured, frozen=measured),),
        "baselines": {"activation": 1.0 / (1.0 + abs(measured))},
    }  # fmt: skip
    return Claim(**{**facts, **given})  # type: ignore[arg-type]


def test_a_claim_is_printed_in_the_notation_and_keeps_its_ids():
    made = claim(-0.5, -0.25)
    assert str(made) == "L0.F1@2 → austin: predicted -0.50, measured -0.25, untested"
    assert repr((made,)) == f"(Claim({made}),)"
    assert (made.source, made.source_name, made.to_json()["source"]) == ("0_1_2", "L0.F1@2", "0_1_2")
    between = claim(1, 1, kind="group → group", source="0_1_2", target="texas\n")  # a label that looks like an id
    assert str(between) == "0_1_2 → texas\\n: predicted +1.00 ×, measured +1.00 ×, untested"


def test_agreement_is_of_predictions_as_they_are():
    measured = np.linspace(-3, 2, 20)
    found = agreement([claim(2 * value, value) for value in measured])
    assert found.n == 20
    assert found.spearman == pytest.approx(1.0)
    assert found.slope == pytest.approx(0.5)
    assert found.r2 == pytest.approx(1 - (measured**2).sum() / ((measured - measured.mean()) ** 2).sum())
    assert found.by["activation"] == pytest.approx(-1.0)
    assert np.isnan(found.by["shuffled decoder"])  # it says the same of every claim
    assert np.isnan(agreement([claim(1.0, 1.0)]).spearman)


def test_claims_are_divided_by_way_and_distance():
    parts = divided([claim(1.0, 1.0), claim(1.0, 1.0, indirect=0.2, distance=1)])
    assert {name: len(part) for name, part in parts.items()} == {
        "node → logit": 2,
        "node → logit, mostly indirect": 1,
        "node → logit, mostly direct": 1,
        "node → logit, 1 layers apart": 1,
        "node → logit, 2 layers apart": 1,
    }


def test_verify_reports_nodes_and_groups(model: LanguageModel, dictionary: Dictionary, prompt: list[int]):
    graph = trace(model, dictionary, prompt, targets=[3]).prune(node_share=0.95)
    assert graph.node_mask is not None
    kept = (graph.nodes.is_kind("feature") & graph.node_mask).nonzero().flatten()
    low, high = (kept[graph.nodes.layer[kept] == layer].tolist() for layer in (0, 2))
    groups = [Group(label="low", members=tuple(low)), Group(label="high", members=tuple(high))]
    steps: list[tuple[int, int]] = []
    found = verify(
        model, dictionary, graph, groups=groups, n_controls=3, max_claims=10, on_progress=lambda *at: steps.append(at)
    )
    kinds = {claim.kind for claim in found.claims}
    assert kinds == {"node → logit", "node → node", "group → logit", "group → group"}
    assert sum(claim.kind == "node → node" for claim in found.claims) == 10
    assert [dose.strength for dose in found.claims[0].doses] == [0.0, -1.0, -2.0, 2.0]
    assert steps[-1][0] == steps[-1][1] == len(steps)
    again = [Claim.from_json(one) for one in json.loads(json.dumps(found.to_json()))["claims"]]
    assert tuple(again) == found.claims
    assert found.direct_error < 1e-5


def test_graphs_of_something_else_are_refused_in_one_line(
    model: LanguageModel, dictionary: Dictionary, prompt: list[int]
):
    graph = trace(model, dictionary, prompt, targets=[3])
    other = graph.with_meta({**graph.meta, "dictionary": {"name": "other", "hash": "0123"}})
    with pytest.raises(UsageError, match="another dictionary"):
        verify(model, dictionary, other)
    with pytest.raises(UsageError, match="which tokens"):
        verify(model, dictionary, graph.with_meta({}))
    longer = record_run(model, dictionary, [*prompt, 3])
    with pytest.raises(UsageError, match="another model, dictionary or prompt"):
        verify(model, dictionary, graph, run=longer)
    with pytest.raises(UsageError, match="at least 2"):
        verify(model, dictionary, graph, n_controls=1)
    with pytest.raises(UsageError, match="not a claim"):
        Claim.from_json({"kind": "node → logit"})


def test_inhibited_features_are_inactive_and_their_edges_are_first_order(
    model: LanguageModel, dictionary: Dictionary, prompt: list[int]
):
    """From a source of the layer below no MLP lies between: the edge is all that happens once attention is frozen."""
    graph = trace(model, dictionary, prompt, targets=[3])
    tested, nodes = graph_run(model, dictionary, graph), graph.nodes
    found = inhibited_features(model, dictionary, graph, n=30, n_edges=10)
    assert found
    assert all(one.score >= other.score for one, other in itertools.pairwise(found))
    ids, places = nodes.ids(), tuple((one.layer, one.position, one.feature) for one in found)
    sources = sorted({ids.index(edge.source) for one in found for edge in one.edges})
    away = sweep(
        model, dictionary, prompt, [tested.scaled([source], 0.0) for source in sources],
        regime=Regime(attention="frozen", base="current"), readouts=Readouts(features=places),
    ).pre_activations.change  # fmt: skip
    checked = 0
    for k, inhibited in enumerate(found):
        x = tested.run.recording.mlp_inputs[inhibited.layer, inhibited.position]
        before = dictionary.pre_activations(inhibited.layer, x)[inhibited.feature]
        assert float(before) == pytest.approx(inhibited.before, abs=1e-5)
        assert inhibited.before <= inhibited.threshold
        assert inhibited.wakes == (inhibited.awake > 0)
        for edge in inhibited.edges:
            source = ids.index(edge.source)
            if int(nodes.layer[source]) == inhibited.layer - 1:
                checked += 1
                assert edge.weight == pytest.approx(-float(away[sources.index(source), k]), abs=1e-4)
    assert checked


def test_where_no_feature_can_be_none_is_found(model: LanguageModel, dictionary: Dictionary, prompt: list[int]):
    graph = trace(model, dictionary, prompt, targets=[3])
    assert inhibited_features(model, dictionary, graph, positions=[0]) == ()
    last = inhibited_features(model, dictionary, graph, positions=[-1])
    assert last == inhibited_features(model, dictionary, graph, positions=[len(prompt) - 1])


def test_an_inhibited_feature_is_active_when_the_feature_that_inhibits_it_is_taken_away(
    model: LanguageModel, prompt: list[int]
):
    """Planted: a feature of layer 1 whose bias is such that only one feature's write keeps it below its threshold."""
    base = random_dictionary(is_cross_layer=False)
    graph = trace(model, base, prompt, targets=[3])
    tested, nodes = graph_run(model, base, graph), graph.nodes
    last = len(prompt) - 1
    holder = next(
        n for n in range(graph.n_nodes) if int(nodes.layer[n]) == 0 and int(nodes.position[n]) == last and n < 999
    )
    x = tested.run.recording.mlp_inputs[1, last]
    write = base.decoder_rows(0, nodes.feature[holder].long()[None])[0, 0]
    planted = base.n_features - 1
    W_enc, b_enc = base.W_enc(1).clone(), base.b_enc(1).clone()
    W_enc[planted] = -write / write.norm()  # it reads against what the holder writes
    probe = with_layer_1(base, W_enc, b_enc)
    read = Readouts(features=((1, last, planted),))
    held = [Edit(op="ablate", features=((0, int(nodes.feature[holder])),), positions=(last,))]
    without = sweep(model, probe, prompt, [held], regime=Regime(base="current"), readouts=read)
    without = without.pre_activations.after[0, 0]
    clean = W_enc[planted] @ x + b_enc[planted]
    assert float(without) > float(clean) + 1e-3
    b_enc[planted] += 0.1 - (clean + without) / 2  # the threshold is half-way
    dictionary = with_layer_1(base, W_enc, b_enc)
    found = inhibited_features(model, dictionary, trace(model, dictionary, prompt, targets=[3]), n=40)
    inhibited = next(one for one in found if (one.layer, one.feature) == (1, planted))
    assert inhibited.wakes
    own = [edge for edge in inhibited.edges if edge.source == nodes.ids()[holder]]
    assert own
    assert own[0].weight < 0
    assert own[0].is_sign_right


def with_layer_1(base: Dictionary, W_enc: Tensor, b_enc: Tensor) -> Dictionary:
    layers = range(base.n_layers)
    return Dictionary.from_tensors(
        W_enc=[W_enc if at == 1 else base.W_enc(at) for at in layers],
        b_enc=[b_enc if at == 1 else base.b_enc(at) for at in layers],
        W_dec=[base.W_dec(at)[:, 0] for at in layers],
        b_dec=list(base.b_dec),
        threshold=[torch.full((base.n_features,), 0.1) for _ in layers],
        name="planted",
    )


def test_a_perfect_replacement_passes_changes_on_as_the_model_does(model: LanguageModel, prompt: list[int]):
    """With its MLPs' own outputs given back (attention frozen, tiny changes of the last MLP but one) only what lies
    between can differ; where no MLP lies between, nothing does."""
    dictionary = random_dictionary(is_cross_layer=False)
    tested = graph_run(model, dictionary, trace(model, dictionary, prompt, targets=[3]))
    found = passed_on(tested, n=2, generator=torch.Generator().manual_seed(0))
    assert {one.way for one in found} == {"encoder", "random", "feature"}
    assert {(one.layer, one.distance) for one in found} == {(0, 1), (0, 2), (1, 1)}
    assert all(one.error > 1e-3 for one in found), "its features are random: it passes nothing on as the model does"
    hook = model.mlp_writer(2).register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    try:  # the last MLP adds nothing, and a dictionary that writes nothing there replaces it perfectly
        empty = Dictionary.from_tensors(
            W_enc=[dictionary.W_enc(at) for at in range(3)],
            b_enc=[dictionary.b_enc(at) for at in range(3)],
            W_dec=[dictionary.W_dec(at)[:, 0] * (at < 2) for at in range(3)],
            b_dec=list(dictionary.b_dec),
            threshold=[torch.full((dictionary.n_features,), 0.1) for _ in range(3)],
            name="nothing last",
        )
        tested = graph_run(model, empty, trace(model, empty, prompt, targets=[3]))
        for one in passed_on(tested, n=2, generator=torch.Generator().manual_seed(0)):
            if one.layer == 1:
                assert one.cosine == pytest.approx(1.0, abs=1e-3)
                assert one.error < 1e-3
                assert one.error_frozen > one.error
    finally:
        hook.remove()
