"""Text under edits, token by token through the cache, is that of running the whole text anew."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from silverstain.errors import UsageError
from silverstain.interventions import (
    DirectionEdit,
    Edit,
    Onward,
    PatternEdit,
    Regime,
    VectorEdit,
    generate,
    intervene,
    stream,
)

from ..attribution.conftest import PROMPT, tiny_dictionary, tiny_model  # noqa: TID252 - no package to be named

REGIMES = (
    Regime(),
    Regime(base="current"),
    Regime(attention="frozen", held_layers=(1,)),
    Regime(attention="frozen", norms="frozen", held_layers=(0, 1, 2)),
)


def edits_for(model) -> list:
    vector = tuple(torch.randn(model.d_model, generator=torch.Generator().manual_seed(2)).tolist())
    return [
        Edit(op="add", features=((0, 3), (1, 4)), value=3.0),
        Edit(op="ablate", features=((1, 2),), positions=(-1,)),
        Edit(op="set", features=((2, 5),), positions=Onward(-2), value=2.0),
        VectorEdit(op="scale", positions=Onward(3), value=1.5),
        VectorEdit(op="ablate", layer=1, positions=Onward(4)),
        DirectionEdit(op="set", layer=0, direction=vector, value=1.0),
        PatternEdit(op="set", heads=((1, 1),), positions=Onward(-1), keys=(2,), value=0.4),
    ]


def slowly(model, dictionary, prompt, n, edits, regime) -> list[int]:
    """The likeliest next token of the whole edited text, n times; positions from the end are the prompt's."""
    fixed = []
    for edit in edits:
        at = edit.positions
        if isinstance(at, Onward) and at.first < 0:
            at = Onward(at.first + len(prompt))
        elif isinstance(at, tuple):
            at = tuple(p % len(prompt) for p in at)
        fixed.append(replace(edit, positions=at))
    ids = list(prompt)
    held = {"attention": regime.attention, "base": regime.base, "norms": regime.norms}
    for _ in range(n):
        done = intervene(model, dictionary, ids, fixed, held_layers=regime.held_layers, **held)
        ids.append(int(done.edited_logits[-1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("regime", REGIMES, ids=["added", "iterative", "constrained", "direct"])
def test_with_the_cache_as_without_it(model, dictionary, prompt, regime):
    edits = edits_for(model)
    wanted = slowly(model, dictionary, prompt, 6, edits, regime)
    assert generate(model, prompt, 6, dictionary=dictionary, edits=edits, regime=regime) == wanted
    assert wanted != generate(model, prompt, 6)


@pytest.mark.parametrize("shape", ["gpt2", "gemma2", "mistral", "gpt_neox"])
def test_with_the_cache_as_without_it_on_other_architectures(shape):
    model, dictionary = tiny_model(shape, torch.float32), tiny_dictionary("cross-layer-skip", torch.float32)
    edits = edits_for(model)
    wanted = slowly(model, dictionary, PROMPT, 5, edits, Regime())
    assert generate(model, PROMPT, 5, dictionary=dictionary, edits=edits) == wanted


def test_tokens_come_one_by_one_and_leave_the_model_alone_in_between(model, dictionary, prompt):
    before = model.logits(torch.tensor(prompt))
    edits = edits_for(model)
    calls = []
    hook = model.block(0).register_forward_pre_hook(lambda _m, args: calls.append(args[0].shape[1]))
    found = []
    for token in islice(stream(model, prompt, dictionary=dictionary, edits=edits), 3):
        found.append(token)
        n_passes = len(calls)
        torch.testing.assert_close(model.logits(torch.tensor(prompt)), before)
        del calls[n_passes:]
    hook.remove()
    assert calls == [len(prompt), 1, 1], "each token is run once, and only when it is asked for"
    assert found == generate(model, prompt, 3, dictionary=dictionary, edits=edits)


def test_seeds_and_temperature_decide_what_is_drawn(model, dictionary, prompt):
    edits = edits_for(model)

    def drawn(seed, temperature):
        return generate(model, prompt, 8, dictionary=dictionary, edits=edits, seed=seed, temperature=temperature)

    assert drawn(1, 1.0) == drawn(1, 1.0)
    assert len({tuple(drawn(seed, 1.0)) for seed in range(4)}) > 1
    assert drawn(0, 1e-4) == drawn(5, 0.0), "a cold draw is the likeliest token"


def test_text_ends_where_it_is_told_to_and_where_the_model_does(model, prompt):
    plain = generate(model, prompt, 5)
    assert generate(model, prompt, 5, stop=plain[2]) == plain[: plain.index(plain[2]) + 1]
    assert len(generate(model, prompt, 10_000)) == model.max_positions - len(prompt)


def test_what_cannot_be_generated_is_said_before_the_first_token(model, dictionary, prompt):
    with pytest.raises(UsageError, match="temperature is -1"):
        stream(model, prompt, temperature=-1)
    with pytest.raises(UsageError, match="give the dictionary they belong to"):
        stream(model, prompt, edits=edits_for(model))
    outside = [Edit(op="ablate", features=((0, 1),), positions=(6,))]
    with pytest.raises(UsageError, match="at position 6, but the prompt has 6 tokens"):
        stream(model, prompt, dictionary=dictionary, edits=outside)


def test_layers_that_are_not_there_cannot_be_held():
    model, dictionary = tiny_model("llama"), tiny_dictionary("per-layer")
    edit = Edit(op="ablate", features=((0, 1),))
    with pytest.raises(UsageError, match="held_layers names"):
        generate(model, PROMPT, 2, dictionary=dictionary, edits=[edit], regime=Regime(held_layers=(99,)))
