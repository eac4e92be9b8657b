"""The dictionary of SmolLM2-135M that comes as a package of its own: what its files say, and that it does its work."""

import pytest
import torch

from silverstain.bases import NeuronSubstitute, open_dictionary
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


def test_it_is_stored_as_whole_numbers_a_file_a_layer():
    folder = installed_dictionary(NAME)
    sizes = [path.stat().st_size for path in folder.glob("layer_*.safetensors")]
    assert len(sizes) == 30
    assert max(sizes) < 4e6
    dictionary = open_dictionary(NAME)
    assert (dictionary.n_layers, dictionary.d_model) == (30, 576)
    assert dictionary.stored_dtype == torch.int8
    assert not dictionary.is_cross_layer


@pytest.mark.skipif(not is_kept(NAME), reason="the model has not been fetched: silverstain models get smollm2-135m")
def test_the_replaced_model_is_far_nearer_to_the_model_than_with_as_many_of_its_neurons():
    model = load_model(NAME)
    ids = torch.tensor([model.tokenize(TEXT)])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, : model.n_real] = False
    batches = [TokenBatch(token_ids=ids, mask=mask)]
    found = evaluate_dictionary(model, open_dictionary(NAME), batches)
    neurons = evaluate_dictionary(model, NeuronSubstitute(model, round(found.l0)), batches)
    assert found.kl < 2 < neurons.kl
    assert found.top1_match > 0.35 > neurons.top1_match
    assert 8 < found.l0 < 64
