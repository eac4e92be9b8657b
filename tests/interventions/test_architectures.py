"""On every architecture: what a graph's edge says is what the intervention does, and edits reach what they name."""

import pytest
import torch

from silverstain.attribution import trace
from silverstain.bases import replaced_logits
from silverstain.interventions import Edit, intervene
from silverstain.models import LanguageModel, harvest, record

from ..attribution.conftest import PROMPT, tiny_dictionary, tiny_model  # noqa: TID252 - no package to be named
from ..zoo import ZOO  # noqa: TID252

TOKENS = [4, 9]


def before_softcap(model: LanguageModel, logits: torch.Tensor) -> torch.Tensor:
    return logits if model.softcap is None else model.softcap * torch.atanh(logits / model.softcap)


@pytest.mark.parametrize("name", ZOO)
def test_an_edge_is_what_the_direct_intervention_does_to_the_logit(name: str):
    kind = "cross-layer-skip" if name in ("gpt2", "gemma2", "gpt_neox") else "per-layer-skip"
    model, dictionary = tiny_model(name), tiny_dictionary(kind)
    graph = trace(model, dictionary, PROMPT, targets=TOKENS)
    nodes, edges = graph.nodes, torch.as_tensor(graph.matrix().toarray())
    into_logits = edges[-len(TOKENS) :, nodes.span("feature")]
    for source in into_logits.abs().sum(0).topk(3).indices.tolist():
        layer, position, feature = (int(c[source]) for c in (nodes.layer, nodes.position, nodes.feature))
        edit = Edit(op="ablate", features=((layer, feature),), positions=(position,))
        done = intervene(
            model, dictionary, PROMPT, [edit],
            attention="frozen", norms="frozen", held_layers=range(model.n_layers),
        )  # fmt: skip
        before, after = (before_softcap(model, x[-1]) for x in (done.baseline_logits, done.edited_logits))
        change = before - after
        # transformers' own attention rounds to float32 in some architectures, so the two runs differ by that
        torch.testing.assert_close(into_logits[:, source], (change - change.mean())[TOKENS], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_nothing_changed_is_the_model_itself_under_every_regime(name: str):
    model, dictionary = tiny_model(name), tiny_dictionary("per-layer")
    edit = Edit(op="scale", features=((0, 1),), value=1.0)
    for regime in ({}, {"attention": "frozen", "norms": "frozen"}, {"held_layers": (0, 1)}):
        done = intervene(model, dictionary, PROMPT, [edit], **regime)
        torch.testing.assert_close(done.edited_logits, done.baseline_logits, rtol=1e-6, atol=1e-6)
    expected = record(model, PROMPT).logits
    torch.testing.assert_close(done.baseline_logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_a_replacement_with_its_errors_is_the_model(name: str):
    model, dictionary = tiny_model(name, n_real=2), tiny_dictionary("cross-layer-skip")
    tokens = torch.tensor([PROMPT, PROMPT[::-1]])
    run = harvest(model, tokens)
    rows = [
        run.mlp_outputs[:, i]
        - dictionary.reconstruct(dictionary.encode(run.mlp_inputs[:, i], n_real=2), run.mlp_inputs[:, i])
        for i in range(len(tokens))
    ]
    errors = torch.stack(rows, dim=1)
    errors[:, :, : model.n_real] = 0
    logits = replaced_logits(model, dictionary, tokens, errors=dict(enumerate(errors)))
    torch.testing.assert_close(logits, run.logits, rtol=1e-5, atol=1e-5)
