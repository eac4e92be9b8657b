"""The dictionary of SmolLM2-135M that comes as a package of its own: what its files say, and that it does its work."""

import pytest
import torch

from silverstain.bases import open_dictionary
from silverstain.bases.installed import installed_dictionary
from silverstain.evaluation import evaluate_dictionary
from silverstain.known_models import is_kept
from silverstain.models import TokenBatch, load_model

NAME = "smollm2-135m"
pytestmark = pytest.mark.skipif(
    installed_dictionary(NAME) is None, reason="the package is not installed: pip install packages/silverstain-smollm2"
)
TEXT = (
    "The committee met again in the spring, and most of its members agreed that the road should be built along the "
    "river. A few of them said that the money would be better spent on the school, which had not been repaired for "
    "twenty years, and asked for another vote."
)


def test_it_is_stored_as_whole_numbers_in_less_than_95_megabytes():
    folder = installed_dictionary(NAME)
    assert (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 100e6
    )  # the wheel packs it smaller
    dictionary = open_dictionary(NAME)
    assert (dictionary.n_layers, dictionary.d_model) == (30, 576)
    assert not dictionary.is_cross_layer
    scales = torch.cat([dictionary.W_enc(layer).abs().amax(1) for layer in (0, 29)]) / 127
    numbers = dictionary.W_enc(29) / dictionary.W_enc(29).abs().amax(1, keepdim=True) * 127
    assert bool((scales > 0).all())
    torch.testing.assert_close(numbers, numbers.round(), atol=1e-3, rtol=0)


@pytest.mark.skipif(not is_kept(NAME), reason="the model has not been fetched: silverstain models get smollm2-135m")
def test_the_replaced_model_says_what_the_model_says_half_of_the_time():
    model = load_model(NAME)
    ids = torch.tensor([model.tokenize(TEXT)])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, : model.n_real] = False
    found = evaluate_dictionary(model, open_dictionary(NAME), [TokenBatch(token_ids=ids, mask=mask)])
    assert found.top1_match >= 0.5
    assert 8 < found.l0 < 64
