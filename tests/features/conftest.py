"""A small world of sentences over a tiny random model, and firings written by hand, so that every card has a truth."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.bases import Dictionary
from silverstain.features.corpus import Corpus, Words, gather_corpus, words_of
from silverstain.features.firings import Firings
from silverstain.models import LanguageModel

TOWNS = {
    "dallas": "texas",
    "dalton": "georgia",
    "oakton": "georgia",
    "oaklas": "texas",
    "salton": "ohio",
    "sallas": "iowa",
}
CAPITALS = {"texas": "austin", "georgia": "atlanta", "ohio": "columbus", "iowa": "moines", "utah": "lake"}
CODES = {"texas": "tx", "georgia": "ga", "ohio": "oh", "iowa": "ia", "utah": "ut"}
PIECES = {town: (town[:3], f"##{town[3:]}") for town in TOWNS}
WORDS = sorted(
    {"<bos>", "the", "of", "is", ".", "capital", "code", *CAPITALS, *CAPITALS.values(), *CODES.values()}
    | {piece for pieces in PIECES.values() for piece in pieces},
    key=lambda word: (word != "<bos>", word),
)
IDS = {word: index for index, word in enumerate(WORDS)}
N_LAYERS, N_FEATURES, D_MODEL = 2, 8, 32


class World(NamedTuple):
    model: LanguageModel
    dictionary: Dictionary
    corpus: Corpus
    words: Words
    sentences: list[dict[str, str]]
    firings: Callable[..., Firings]
    """firings({(layer, feature): f(words, variables) → activation or None at each place})."""


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    torch.manual_seed(0)
    core = Tokenizer(models.WordPiece(IDS, unk_token="<bos>", continuing_subword_prefix="##"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(prefix="##")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", clean_up_tokenization_spaces=False)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=D_MODEL, intermediate_size=32, num_hidden_layers=N_LAYERS,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.3,
        tie_word_embeddings=False, attn_implementation="eager",
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config), tokenizer, name="tiny")


def samples() -> list[tuple[list[int], None, dict[str, str]]]:
    """the capital of dallas is austin . / the code of texas is tx . and so on, three times each."""
    out = []
    for relation, facts in (("capital", CAPITALS), ("code", CODES)):
        for subject, state in [*TOWNS.items(), *((state, state) for state in CAPITALS)] * 3:
            variables = {"state": state, "relation": relation, "answer": facts[state]}
            if subject in TOWNS:
                variables["town"] = subject
            text = ["the", relation, "of", *PIECES.get(subject, (subject,)), "is", facts[state], "."]
            out.append(([0, *(IDS[word] for word in text)], None, variables))
    return out


def dictionary_saying(model: LanguageModel, says: dict[tuple[int, int], list[str]]) -> Dictionary:
    """Random but for the features in `says`, whose decoder rows point at those words."""
    generator = torch.Generator().manual_seed(3)
    W_dec = torch.randn(N_LAYERS, N_FEATURES, D_MODEL, generator=generator) * 0.1
    for (layer, feature), named in says.items():
        ids = [IDS[word] for word in named]
        # Least squares: equal effect on the named words, none on the others.
        wanted = torch.zeros(len(WORDS))
        wanted[ids] = 1.0
        W_dec[layer, feature] = torch.linalg.lstsq(model.W_U * model.final_norm.weight, wanted[:, None]).solution[:, 0]
    W_enc = torch.randn(N_LAYERS, N_FEATURES, D_MODEL, generator=generator)
    zeros = torch.zeros(N_LAYERS, N_FEATURES)
    return Dictionary.from_tensors(
        W_enc=W_enc, b_enc=zeros, W_dec=W_dec, b_dec=torch.zeros(N_LAYERS, D_MODEL), threshold=zeros + 1.0, name="made"
    )


@pytest.fixture(scope="session")
def world(model: LanguageModel) -> World:
    given = samples()
    corpus = gather_corpus(given)
    words = words_of(corpus, [WORDS[token] for token in corpus.token_ids])
    dictionary = dictionary_saying(model, {(1, 0): ["austin"], (1, 1): list(CAPITALS.values())})

    def firings(rules: dict[tuple[int, int], Callable[[str, str | None, dict[str, str]], float]]) -> Firings:
        found = []
        for (layer, feature), rule in rules.items():
            for place in range(corpus.n_places):
                if corpus.counted[place]:
                    variables = given[corpus.sentence[place]][2]
                    strength = rule(words.current[place], words.following[place], variables)
                    if strength:
                        found.append((layer * N_FEATURES + feature, place, strength))
        found.sort()
        key, place, strength = (np.array(column) for column in zip(*found, strict=True))
        return Firings(key=key, place=place, activation=strength.astype(np.float32), n_keys=N_LAYERS * N_FEATURES)

    return World(model, dictionary, corpus, words, [variables for _, _, variables in given], firings)
