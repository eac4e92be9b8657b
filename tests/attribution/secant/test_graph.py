"""Graphs of contrasts: exact, direct, and the same whichever run comes first."""

from copy import deepcopy

import pytest
import torch
from tests.attribution.secant.conftest import Contrasts
from tests.attribution.secant.forward import Writes, norm_change, pattern_writes, pushed_up, unit_writes
from torch import Tensor

from silverstain.attribution import DifferenceTarget, FeatureTarget, TokenTarget
from silverstain.attribution.secant import Contrast, contrast, contrast_graph
from silverstain.attribution.secant.selection import select, weighted
from silverstain.errors import UsageError
from silverstain.graphs import Graph
from silverstain.graphs.scores import row_sums
from silverstain.models import LanguageModel

BOUNDS = {"llama-outlier": 1e-7, "gpt2-outlier": 1e-7, "gemma2-outlier": 1e-7}
"""Huge channels at every token: changes of the others have fewer digits in the real runs themselves."""


def wrong(graph: Graph) -> Tensor:
    """How far each row is from its value, as a share of the sizes of its edges."""
    size = row_sums(graph.indptr, graph.values.abs())
    return (row_sums(graph.indptr, graph.values) - graph.values_of_targets.double()).abs() / size


def rows_of(graph: Graph) -> dict[str, dict[str, float]]:
    """Edges by the names of their ends."""
    ids, found = graph.nodes.ids(), {}
    for row, node in enumerate(graph.row_nodes.tolist()):
        some = slice(int(graph.indptr[row]), int(graph.indptr[row + 1]))
        sources = [ids[i] for i in graph.indices[some].tolist()]
        found[ids[node]] = dict(zip(sources, graph.values[some].tolist(), strict=True))
    return found


def test_edges_add_up_to_what_really_changes(contrasts: Contrasts, shape: str, basis_kind: str):
    found = contrasts.find(shape, basis_kind)
    graph = contrast_graph(found)
    assert graph.exactness() <= BOUNDS.get(shape, 1e-10)
    assert float(wrong(graph)[-1]) <= 1e-10  # the target, in every case
    assert graph.meta["exactness"]["max_relative_error"] == graph.exactness()
    # values are what two recorded runs differ by, not sums of edges
    assert graph.values_of_targets[-1] == pytest.approx(float(found.changes[0]), rel=1e-12)
    nodes = graph.nodes
    for row, value in zip(graph.row_nodes.tolist(), graph.values_of_targets.tolist(), strict=True):
        if nodes.kinds[row] == "attention":
            place = int(nodes.feature[row]), int(nodes.position[row]), int(nodes.key[row])  # type: ignore[index]
            real = found.pair.layers[int(nodes.layer[row])].patterns()[:, *place]
            assert value == pytest.approx(float(real[1] - real[0]), rel=1e-9, abs=1e-15)


def with_first_outlier(model: LanguageModel, dtype: torch.dtype) -> LanguageModel:
    """As in models of the world: one channel of the first token is huge."""
    hf = deepcopy(model.hf)
    hf.get_input_embeddings().weight.data[0, 3] += 300.0
    return LanguageModel(hf.to(dtype), model.tokenizer, name=f"{model.name}-first")


@pytest.mark.parametrize("kind", ["neurons", "cross-layer"])
def test_float32_is_exact_to_its_rounding(contrasts: Contrasts, shape: str, kind: str):
    """The target to 1e-5; every row as near as the two float32 runs are to the same runs in float64."""
    if shape in BOUNDS:
        model = with_first_outlier(contrasts.model(shape.removesuffix("-outlier")), torch.float32)
    else:
        model = contrasts.model(shape, torch.float32)
    found = contrasts.find(shape, kind, model=model, max_features=40)
    graph = contrast_graph(found)
    assert float(wrong(graph).median()) <= 1e-6
    assert float(wrong(graph)[-1]) <= 1e-5
    assert graph.exactness() <= 1e-4
    torch.testing.assert_close(found.contributions.total, found.changes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", list(BOUNDS))
def test_float32_with_huge_channels_everywhere_is_as_exact_as_its_two_runs(contrasts: Contrasts, shape: str):
    """A change of a unit there is a difference of two rounded numbers: an edge is nearer to what the same runs are in
    float64 than the recorded changes themselves."""
    narrow = contrasts.find(shape, "neurons", model=contrasts.model(shape, torch.float32), max_features=40)
    wide = contrasts.find(shape, "neurons", max_features=40)
    noise = 0.0
    for few, many in zip(narrow.flow.units, wide.flow.units, strict=True):
        rounded = (few.change.double() - many.change).abs()
        noise = max(noise, float(rounded.max() / many.change.abs().max()))
    assert noise > 1e-5  # else there would be nothing to be lenient about
    graph = contrast_graph(narrow)
    size = row_sums(graph.indptr, graph.values.abs())
    largest = float(size.max())
    off = (row_sums(graph.indptr, graph.values) - graph.values_of_targets.double()).abs()
    assert float(off.max()) / largest <= 20 * noise


def direct(found: Contrast, writes: Writes, graph: Graph) -> dict[str, float]:
    """What every row of a graph reads of some writes, nothing else writing: by the slow oracle."""
    changes, out, nodes = pushed_up(found.flow, found.basis, writes=writes).tensors, {}, graph.nodes
    index: dict[tuple[int, int, int], int] = {}
    for layer, units in enumerate(found.flow.units):
        places = zip(units.position.tolist(), units.feature.tolist(), strict=True)
        index |= {(layer, *place): i for i, place in enumerate(places)}
    ids = nodes.ids()
    for row in graph.row_nodes.tolist():
        layer, at, feature = (int(x[row]) for x in (nodes.layer, nodes.position, nodes.feature))
        if nodes.kinds[row] == "feature":
            out[ids[row]] = float(changes[f"units {layer}"][index[layer, at, feature]])
        elif nodes.kinds[row] == "attention":
            assert nodes.key is not None
            out[ids[row]] = float(changes[f"pattern {layer}"][feature, at, int(nodes.key[row])])
        else:
            out[ids[row]] = float(changes["final"][at] @ found.roots[0].target.vectors[0])
    return out


@pytest.mark.parametrize("kind", ["neurons", "cross-layer-skip"])
@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_an_edge_is_what_is_lost_when_its_source_is_taken_away(contrasts: Contrasts, shape: str, kind: str):
    """In the flow that stops at nodes, which is linear: what a source alone writes is what goes with it."""
    found = contrasts.find(shape, kind, max_features=14)
    graph = contrast_graph(found)
    edges, flow, model = rows_of(graph), found.flow, found.model
    selection = select(flow, found.contributions, found.weights, most=14)
    nothing = torch.zeros_like(flow.embedding_change)
    tested = 0

    def compare(name: str, writes: Writes) -> None:
        nonlocal tested
        for row, value in direct(found, writes, graph).items():
            assert edges[row].get(name, 0.0) == pytest.approx(value, rel=1e-8, abs=1e-12), (name, row)
            tested += abs(value) > 1e-9

    token = graph.nodes.span("token")
    ids = graph.nodes.ids()
    at = flow.pair.changed[0]
    compare(ids[token.start + at], Writes(embedding=flow.embedding_change))
    for layer, some in enumerate(selection.units):
        for i in some.tolist()[:2]:
            units = flow.units[layer]
            change = torch.zeros_like(units.change)
            change[i] = units.change[i]
            written = unit_writes(flow, found.basis, layer, change)
            norm = model.architecture.mlp_output_norm
            if kind == "neurons" and norm is not None:
                both = flow.pair.layers[layer].mlp_output
                written = {layer: norm_change(model.block(layer).get_submodule(norm), both, written[layer])}
            name = f"{layer}_{int(units.feature[i])}_{int(units.position[i])}"
            compare(name, Writes(embedding=nothing, mlp=written))
    pairs = selection.pairs
    for i in range(0, len(pairs), 2):
        layer, query, head, key = (int(x[i]) for x in (pairs.layer, pairs.query, pairs.head, pairs.key))
        pattern = torch.zeros_like(flow.attentions[layer].change)
        pattern[head, query, key] = flow.attentions[layer].change[head, query, key]
        written_by = pattern_writes(flow, layer, pattern)
        norm = model.architecture.attention_output_norm
        if norm is not None:
            both = flow.pair.layers[layer].attention_output
            written_by = norm_change(model.block(layer).get_submodule(norm), both, written_by)
        compare(f"{layer}_attn{head}_{query}_{key}", Writes(embedding=nothing, attention={layer: written_by}))
    assert tested > 10


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_swapping_the_runs_turns_every_sign_and_nothing_else(contrasts: Contrasts, shape: str, basis_kind: str):
    there = contrasts.find(shape, basis_kind, max_features=30)
    back = contrasts.find(shape, basis_kind, contrasts.other, contrasts.base, max_features=30)
    first, second = contrast_graph(there), contrast_graph(back)
    assert [i for i in first.nodes.ids() if i[0] != "E"] == [i for i in second.nodes.ids() if i[0] != "E"]
    assert torch.equal(first.row_nodes, second.row_nodes)
    ours, theirs = first.matrix().toarray(), second.matrix().toarray()
    torch.testing.assert_close(
        torch.from_numpy(ours), -torch.from_numpy(theirs), rtol=1e-6, atol=1e-9 * abs(ours).max()
    )
    torch.testing.assert_close(
        first.values_of_targets, -second.values_of_targets, rtol=1e-9, atol=1e-12 * abs(ours).max()
    )
    for a, b in zip(there.contributions.units, back.contributions.units, strict=True):
        torch.testing.assert_close(a, -b, rtol=1e-6, atol=1e-9 * float(a.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_where_the_change_cannot_come_there_is_nothing(contrasts: Contrasts, shape: str, dtype: torch.dtype):
    """Tokens that are the same have no edge; nor has anything before the changed token, or out of a window's reach."""
    for kind in ("neurons", "cross-layer-skip"):
        found = contrasts.find(shape, kind, model=contrasts.model(shape, dtype))
        graph = contrast_graph(found)
        nodes, sources = graph.nodes, graph.indices.unique()
        changed = torch.tensor(found.pair.changed)
        is_token = nodes.is_kind("token")[sources]
        assert nodes.position[sources][is_token].tolist() == changed.tolist()
        assert bool((nodes.position[sources][nodes.layer[sources] >= 0] >= min(changed)).all())
        base, other = found.pair.layers[-1].stream
        reached = found.pair.reached
        assert bool((reached[0] == (found.pair.token_ids[0] != found.pair.token_ids[1])).all())
        assert bool((reached[1:] >= reached[:-1]).all())
        assert torch.equal(base[~reached[-2]], other[~reached[-2]])


def test_a_sliding_window_bounds_how_far_a_change_comes(contrasts: Contrasts):
    """Mistral's window of 3 lets a change come two tokens further in each layer."""
    reached = contrasts.find("mistral", "neurons", [0] * 9, [0, 5, *[0] * 7]).pair.reached
    assert [row.nonzero().flatten().tolist() for row in reached] == [[1], [1, 2, 3], [1, 2, 3, 4, 5], [*range(1, 8)]]


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
@pytest.mark.parametrize("most", [0, 1, 7, 60])
def test_nodes_are_the_places_through_which_most_comes(contrasts: Contrasts, shape: str, most: int):
    found = contrasts.find(shape, "neurons", max_features=most)
    graph = contrast_graph(found)
    units, pairs = weighted(found.contributions, found.weights)
    sizes = {}
    for layer, (part, of_pairs) in enumerate(zip(units, pairs, strict=True)):
        places = found.flow.units[layer]
        for i in part.nonzero().flatten().tolist():
            sizes[f"{layer}_{int(places.feature[i])}_{int(places.position[i])}"] = abs(float(part[i]))
        for head, query, key in of_pairs.nonzero().tolist():
            sizes[f"{layer}_attn{head}_{query}_{key}"] = abs(float(of_pairs[head, query, key]))
    expected = sorted(sizes, key=lambda name: -sizes[name])[:most]
    ids = graph.nodes.ids()
    assert {ids[i] for i in graph.nodes.is_unit.nonzero().flatten().tolist()} == set(expected)
    assert graph.exactness() <= BOUNDS.get(shape, 1e-10)
    assert graph.meta["share"] == pytest.approx(sum(sizes[n] for n in expected) / sum(sizes.values()), rel=1e-9)


@pytest.mark.parametrize("kind", ["neurons", "per-layer"])
def test_a_share_takes_as_few_as_carry_it(contrasts: Contrasts, kind: str):
    for share in (0.0, 0.3, 0.9, 1.0):
        found = contrasts.find("llama", kind, share=share)
        units, pairs = weighted(found.contributions, found.weights)
        sizes = torch.cat([part.abs().flatten() for part in (*units, *pairs)]).sort(descending=True).values
        graph = contrast_graph(found)
        count = int(graph.nodes.is_unit.sum())
        assert graph.meta["share"] >= share or count == 500 or share == 1.0
        if share == 0.0:
            assert count == 0
        elif 0 < share < 1:
            assert float(sizes[: count - 1].sum() / sizes.sum()) < share
        assert graph.exactness() <= 1e-10


@pytest.mark.parametrize("shape", ["gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_targets_of_every_kind_are_exact(contrasts: Contrasts, shape: str, basis_kind: str):
    targets = [
        TokenTarget(token=3),
        DifferenceTarget(token=3, minus=4),
        DifferenceTarget(token=5, minus=6, position=-2),
        contrasts.direction(1),
        contrasts.direction(2, layer=1, position=4),
        contrasts.direction(3, layer=0, position=3),
        FeatureTarget(layer=2, feature=3),
        FeatureTarget(layer=1, feature=7, position=4),
    ]
    found = contrasts.find(shape, basis_kind, targets=targets, max_features=20)
    graph = contrast_graph(found)
    assert graph.exactness() <= BOUNDS.get(shape, 1e-10)
    said = [target["value"] for target in graph.meta["targets"]]
    assert said == pytest.approx(found.changes.tolist())
    # a capped difference is that of the model's own logits
    logits = found.pair.logits[:, -1]
    real = float((logits[1, 3] - logits[1, 4]) - (logits[0, 3] - logits[0, 4]))
    assert said[1] == pytest.approx(real, rel=1e-7, abs=1e-9)
    # a feature is its pre-activation, a neuron its activation
    for root, value in zip(found.roots[6:], said[6:], strict=True):
        z = found.basis.pre_activations(root.layer, found.pair.read(root.layer)[:, root.position])
        feature = root.facts["feature"]
        assert value == pytest.approx(float(z[1, feature] - z[0, feature]), rel=1e-7, abs=1e-9)


def test_prompts_are_text_or_token_ids_and_the_default_is_the_two_answers(contrasts: Contrasts):
    model = contrasts.model("llama")
    basis = contrasts.basis(model, "neurons")
    graph = contrast(model, basis, "w11 w5 w23", "w11 w7 w23")
    said = graph.meta["contrast"]
    assert said["tokens"] != said["contrast_tokens"]
    (at,) = said["changed"]
    assert said["tokens"][at] == "w5"
    assert said["contrast_tokens"][at] == "w7"
    assert graph.meta["targets"][0]["kind"] == "difference"
    logits = [
        model.hf(input_ids=torch.tensor([ids])).logits[0, -1] for ids in (said["token_ids"], said["contrast_token_ids"])
    ]
    answers = [int(row.argmax()) for row in logits]
    assert graph.meta["targets"][0]["ids"] == answers[::-1]
    for run, name in ((0, "base"), (1, "contrast")):
        real = float(logits[run][answers[1]] - logits[run][answers[0]])
        assert said[name] == pytest.approx(real, rel=1e-9)
        assert said["probabilities"][name] == pytest.approx(logits[run].softmax(-1)[answers].tolist(), rel=1e-6)
    assert said["base"] < 0 < said["contrast"]


def test_equal_prompts_are_refused(contrasts: Contrasts):
    with pytest.raises(UsageError, match="the two prompts are the same, so nothing differs; change a word in one"):
        contrasts.find("llama", "neurons", contrasts.base, contrasts.base)


def test_prompts_of_other_lengths_show_the_tokens_of_both(contrasts: Contrasts):
    with pytest.raises(UsageError) as caught:
        contrasts.find("llama", "neurons", [1, 2, 3], [1, 2])
    first, *rows = str(caught.value).splitlines()
    assert first.startswith("the prompts have 3 and 2 tokens, and only prompts of one length can be compared")
    assert [row.strip() for row in rows] == ["'w1' 'w2' 'w3'", "'w1' 'w2'"]


def test_prompts_with_one_answer_are_refused_where_no_target_is_named(contrasts: Contrasts):
    model = contrasts.model("llama")
    for token in range(1, 48):
        base, other = [0, token, 3], [0, token % 47 + 1, 3]
        logits = model.hf(input_ids=torch.tensor([base, other])).logits[:, -1]
        if int(logits[0].argmax()) == int(logits[1].argmax()):
            text = model.token_strings([int(logits[0].argmax())])[0]
            with pytest.raises(UsageError, match=f"answers both prompts with '{text}'; name what is to be explained"):
                contrasts.find("llama", "neurons", base, other, targets=None)
            return
    raise AssertionError("every word changes the answer")


def test_a_position_that_is_not_there_is_refused(contrasts: Contrasts):
    with pytest.raises(UsageError, match="there is no position 7 in prompts of 7 tokens; give one from -7 to 6"):
        contrasts.find("llama", "neurons", position=7)


def test_attention_that_gives_no_patterns_is_refused(contrasts: Contrasts, monkeypatch: pytest.MonkeyPatch):
    model = contrasts.model("llama", seed=3)
    attention = model.attention(1)
    monkeypatch.setattr(attention, "forward", lambda hidden_states, **_: (hidden_states * 0.5, None))
    with pytest.raises(UsageError, match="computes its attention in a way that gives no patterns; load it with") as e:
        contrasts.find("llama", "neurons", model=model)
    assert "\n" not in str(e.value)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_refused(contrasts: Contrasts, value: float):
    hf = deepcopy(contrasts.model("llama").hf)
    hf.get_submodule("model.layers.1.mlp.down_proj").weight.data[0, 0] = value
    model = LanguageModel(hf, contrasts.model("llama").tokenizer, name="damaged")
    with pytest.raises(UsageError, match="NaN or infinite"):
        contrast(model, contrasts.basis(model, "neurons"), contrasts.base, contrasts.other)


def test_a_prompt_the_model_cannot_read_is_refused(contrasts: Contrasts):
    with pytest.raises(UsageError, match="token id 48 is not in the vocabulary"):
        contrasts.find("llama", "neurons", [1, 2], [1, 48])
