"""A small graph whose numbers are known: dallas → texas → say austin, beside capital → say a capital."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.bases import Dictionary, save_dictionary
from silverstain.graphs import Graph, NodeLayout, Story, StoryGroup, node_table
from silverstain.models import load_model

TOKENS = ["<bos>", "the", "capital", "of", "the", "state", "containing", "dal", "##las", "is"]
FEATURES = [  # layer, position, feature, activation
    (0, 2, 4, 1.0),  # capital
    (0, 8, 11, 2.0),  # dallas
    (0, 8, 12, 1.0),  # dallas
    (1, 8, 3, 2.0),  # texas
    (1, 9, 7, 1.5),  # say a capital
    (2, 9, 5, 1.0),  # texas
    (2, 9, 20, 0.5),  # not texas
    (3, 9, 2, 3.0),  # say austin
]
GROUPS = {
    "capital": ["0_4_2"],
    "dallas": ["0_11_8", "0_12_8"],
    "texas": ["1_3_8", "2_5_9"],
    "say a capital": ["1_7_9"],
    "against houston": ["2_20_9"],
    "say austin": ["3_2_9"],
}


@pytest.fixture(scope="session")
def dallas() -> Graph:
    """Eight features, two answers; every row's edges add up to its value."""
    layout = NodeLayout(n_features=8, n_layers=4, n_positions=10, n_logits=2)
    layer, position, feature, activation = (torch.tensor(column) for column in zip(*FEATURES, strict=True))
    nodes = node_table(
        layout,
        layer=layer,
        position=position,
        feature=feature,
        activation=activation,
        token_ids=list(range(10)),
        target_ids=[40, 41],
        target_probabilities=[0.97, 0.02],
        target_position=9,
    )
    row_nodes = torch.tensor([*range(8), layout.logit(0), layout.logit(1)])
    rows = torch.zeros(10, layout.size)
    edges = {
        (0, layout.token(2)): 0.9,
        (0, layout.token(1)): 0.1,
        (1, layout.token(7)): 0.8,
        (1, layout.token(8)): 1.2,
        (2, layout.token(8)): 1.0,
        (3, 1): 1.2,
        (3, 2): 0.6,
        (3, layout.error(0, 8)): 0.2,
        (4, 0): 1.1,
        (4, layout.token(2)): 0.4,
        (5, 3): 0.7,
        (5, 4): 0.2,
        (5, layout.error(1, 9)): 0.1,
        (6, 3): 0.5,
        (7, 5): 1.6,
        (7, 4): 1.1,
        (7, 6): -0.3,
        (8, 7): 6.0,
        (8, 4): 1.5,
        (8, 6): -1.0,
        (8, layout.error(3, 9)): 0.5,
        (9, 4): 1.0,
        (9, 5): -0.6,
    }
    for (row, source), value in edges.items():
        rows[row, source] = value
    targets = [{"token": "austin", "id": 40, "probability": 0.97}, {"token": "houston", "id": 41, "probability": 0.02}]
    meta = {"prompt": "the capital of the state containing dallas is", "tokens": TOKENS, "targets": targets}
    return Graph.from_rows(nodes=nodes, row_nodes=row_nodes, rows=rows, values_of_targets=rows.sum(1), meta=meta)


@pytest.fixture(scope="session")
def reading() -> Story:
    """Names for its features."""
    groups = tuple(StoryGroup(label=label, members=tuple(members)) for label, members in GROUPS.items())
    return Story(groups=groups)


WORDS = ["the", "capital", "of", "state", "containing", "dallas", "is", "austin", "sacramento"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a random three-layer Llama and of a cross-layer dictionary of it."""
    model_folder, dictionary_folder = (tmp_path_factory.mktemp(name) for name in ("model", "dictionary"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(model_folder)
    words = {word: index for index, word in enumerate(["<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>").save_pretrained(
        model_folder
    )
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    dictionary = Dictionary.from_tensors(
        W_enc=[draw(12, 16) for _ in range(3)],
        b_enc=[draw(12) for _ in range(3)],
        W_dec=[draw(12, 3 - layer, 16) for layer in range(3)],
        b_dec=[draw(16) for _ in range(3)],
        name="random",
        model_hash=load_model(model_folder).hash,
    )
    save_dictionary(dictionary, dictionary_folder)
    return {"model": str(model_folder), "dictionary": str(dictionary_folder)}
