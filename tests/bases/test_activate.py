"""One place decides which features are active; whoever asks gets what brute force gives, TopK included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.interventions.conftest import D_MODEL, N_FEATURES, N_LAYERS
from tests.interventions.conftest import model as model
from tests.interventions.conftest import prompt as prompt
from torch import Tensor

from silverstain.attribution import record_run, trace
from silverstain.bases import Dictionary
from silverstain.bases.substitutes import DictionarySubstitute
from silverstain.interventions import Donor, Edit, Readouts, Regime, check_active, intervene, sweep
from silverstain.models import LanguageModel, MlpCall, mlps_through, record
from silverstain.treatment import Condition, Rule, treated, treatment_for
from silverstain.verification import graph_run, inhibited_features

KINDS = ("relu", "jumprelu", "topk", "topk with thresholds")
"""A BatchTopK dictionary is kept as a JumpReLU one: its batch's threshold a feature."""


def dictionary_of(kind: str, *, is_cross_layer: bool = False, seed: int = 0) -> Dictionary:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    layers, width = range(N_LAYERS), (N_FEATURES,)
    reach = [(N_LAYERS - i,) if is_cross_layer else () for i in layers]
    has_threshold = kind in ("jumprelu", "topk with thresholds")
    return Dictionary.from_tensors(
        W_enc=[draw(N_FEATURES, D_MODEL) for _ in layers],
        b_enc=[draw(N_FEATURES) for _ in layers],
        W_dec=[draw(N_FEATURES, *reach[i], D_MODEL) for i in layers],
        b_dec=[draw(D_MODEL) for _ in layers],
        threshold=[0.1 + torch.rand(width, generator=generator) * 0.3 for _ in layers] if has_threshold else None,
        k=[2, 3, 1] if "topk" in kind else None,
        name=kind,
    )


def by_hand(dictionary: Dictionary, layer: int, x: Tensor) -> Tensor:
    """Activations of one input [d_model], feature by feature."""
    before = [float(w @ x + b) for w, b in zip(dictionary.W_enc(layer), dictionary.b_enc(layer), strict=True)]
    threshold = dictionary.threshold(layer)
    least = [0.0] * len(before) if threshold is None else threshold.tolist()
    margins = [value - bar for value, bar in zip(before, least, strict=True)]
    order = sorted(range(len(before)), key=lambda f: -margins[f])
    allowed = set(order) if dictionary.k is None else set(order[: dictionary.k[layer]])
    return torch.tensor([before[f] if f in allowed and margins[f] > 0 else 0.0 for f in range(len(before))])


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), layer=st.integers(0, N_LAYERS - 1))
def test_activations_are_those_found_feature_by_feature(kind: str, seed: int, layer: int):
    dictionary = dictionary_of(kind, seed=seed)
    x = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(seed))
    wanted = torch.stack([by_hand(dictionary, layer, row) for row in x])
    torch.testing.assert_close(dictionary.encode_layer(layer, x), wanted, atol=1e-5, rtol=1e-5)
    features = torch.randint(N_FEATURES, (5,), generator=torch.Generator().manual_seed(seed))
    found = dictionary.activations_at(layer, x[None], torch.zeros(5).long(), torch.arange(5), features)
    torch.testing.assert_close(found, wanted[torch.arange(5), features], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), layer=st.integers(0, N_LAYERS - 1))
def test_a_feature_is_active_exactly_above_its_threshold_in_the_run(kind: str, seed: int, layer: int):
    dictionary = dictionary_of(kind, seed=seed)
    before = dictionary.pre_activations(layer, torch.randn(D_MODEL, generator=torch.Generator().manual_seed(seed)))
    threshold = dictionary.thresholds_in(layer, before)
    assert torch.equal(before > threshold, dictionary.activate(layer, before) != 0)
    for feature in range(0, N_FEATURES, 5):  # moved alone: just above it is active, just below it is not
        for step, is_active in ((1e-3, True), (-1e-3, False)):
            moved = before.clone()
            moved[feature] = threshold[feature] + step
            assert bool(dictionary.activate(layer, moved)[feature] != 0) == is_active


def edited_by_hand(
    model: LanguageModel, dictionary: Dictionary, ids: list[int], held: tuple[int, int, int], value: float
):
    """(every layer's input under one feature set to a value in the running pass, logits): written out."""
    layer, position, feature = held
    pending: dict[int, Tensor] = {}
    reads: dict[int, Tensor] = {}

    def mlp(call: MlpCall) -> Tensor:
        reads[call.layer] = call.read[0]
        if call.layer == layer:
            now = by_hand(dictionary, layer, call.read[0, position])[feature]
            row = dictionary.decoder_rows(layer, torch.tensor([feature]))[0]
            for k, part in enumerate(row):
                pending[layer + k] = (value - now) * part
        out = call.real(call.x).clone()
        if call.layer in pending:
            out[0, position] += pending.pop(call.layer)
        return out

    with torch.no_grad(), mlps_through(model, mlp):
        return reads, model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


@pytest.mark.parametrize("is_cross_layer", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_caller_sees_the_same_active_features(model, prompt, kind: str, is_cross_layer: bool):
    dictionary, last = dictionary_of(kind, is_cross_layer=is_cross_layer), len(prompt) - 1
    recording = record(model, prompt)
    wanted = torch.stack(
        [torch.stack([by_hand(dictionary, i, x) for x in inputs]) for i, inputs in enumerate(recording.mlp_inputs)]
    )
    wanted[:, : model.n_real] = 0
    active = [tuple(place) for place in wanted.nonzero().tolist()]

    # tracing and the recorded run
    run = record_run(model, dictionary, prompt)
    columns = (run.active.layer, run.active.position, run.active.feature)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == active
    everywhere = [(i, p, f) for i in range(N_LAYERS) for p in range(len(prompt)) for f in range(0, N_FEATURES, 3)]
    found = run.activations(everywhere)
    torch.testing.assert_close(found, torch.stack([wanted[at] for at in everywhere]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.tensor(Donor(model, dictionary, prompt).activations(everywhere)), found, atol=1e-6, rtol=1e-6
    )

    # the substitute that replaces the MLPs
    x = recording.mlp_inputs[1, 1:]
    written = torch.einsum("pf, fkd -> pkd", wanted[1, 1:], dictionary.W_dec(1))
    written[:, 0] += dictionary.b_dec[1]
    substitute = DictionarySubstitute(dictionary)
    torch.testing.assert_close(substitute.writes(1, x, recording.token_ids[1:]), written, atol=1e-5, rtol=1e-5)

    # an edit of a feature, and what others become under it
    edited = next(at for at in active if at[:2] == (0, last))
    reads, logits = edited_by_hand(model, dictionary, prompt, edited, 5.0)
    edit = Edit(op="set", features=((edited[0], edited[2]),), positions=(last,), value=5.0)
    regime = Regime(base="current")
    torch.testing.assert_close(
        intervene(model, dictionary, prompt, [edit], regime).edited_logits, logits, atol=1e-4, rtol=1e-4
    )
    above = [(i, last, f) for i in (1, 2) for f in range(N_FEATURES)]
    after = torch.stack([by_hand(dictionary, i, reads[i][last])[f] for i, _, f in above])
    swept = sweep(model, dictionary, prompt, [[edit]], regime=regime, readouts=Readouts(features=tuple(above)))
    torch.testing.assert_close(swept.activations.after[0], after, atol=1e-4, rtol=1e-4)

    # what verification measures, and where inhibited features have their threshold
    graph = trace(model, dictionary, prompt, targets=[3])
    tested = graph_run(model, dictionary, graph)
    node = next(n for n in range(graph.n_nodes) if tested.place(n) == edited)
    read = Readouts(features=tuple(above), targets=tested.targets)
    strength = 5.0 / float(graph.nodes.activation[node])
    measured = tested.measured([tested.scaled([node], strength)], read, attention="live").features[0]
    before = torch.stack([wanted[at] for at in above])
    torch.testing.assert_close(before + measured, after, atol=1e-4, rtol=1e-4)
    for inhibited in inhibited_features(model, dictionary, graph, n=20):
        at = (inhibited.layer, inhibited.position, inhibited.feature)
        assert float(wanted[at]) == 0
        layer_before = dictionary.pre_activations(at[0], recording.mlp_inputs[at[0], at[1]])
        layer_before[at[2]] = inhibited.threshold + 1e-3
        assert float(dictionary.activate(at[0], layer_before)[at[2]]) != 0

    # a treatment's condition, and the check of edits that would do nothing
    rule = Rule(edit=edit_everywhere(edited), when=Condition(features=((0, edited[2]),)))
    with treated(model, dictionary, treatment_for(model, dictionary, [rule], name="t")):
        under = model.hf(input_ids=torch.tensor([prompt]), use_cache=False).logits[0]
    places = [p for i, p, f in active if (i, f) == (0, edited[2])]
    same = Edit(op="scale", features=((0, edited[2]),), positions=tuple(places), value=-1.0)
    torch.testing.assert_close(
        under, intervene(model, dictionary, prompt, [same], regime).edited_logits, atol=1e-4, rtol=1e-4
    )
    check_active(run, [same])
    silent = next(f for f in range(N_FEATURES) if float(wanted[0, last, f]) == 0)
    with pytest.raises(Exception, match="is not active"):
        check_active(run, [Edit(op="ablate", features=((0, silent),), positions=(last,))])


def edit_everywhere(place: tuple[int, int, int]) -> Edit:
    return Edit(op="scale", features=((place[0], place[2]),), value=-1.0)
