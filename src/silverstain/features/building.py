"""From a corpus to feature cards: one run of the model, then arithmetic on where features fired."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from silverstain.bases import Dictionary
from silverstain.features.cards import Cards
from silverstain.features.corpus import Corpus, Sample, Words, gather_corpus, words_of
from silverstain.features.firings import Firings, collect_firings, strongest_by_sentence
from silverstain.features.labels import KINDS, Naming, Proposal, choose
from silverstain.features.matching import Matches, best_matches
from silverstain.features.output import OutputTokens, mean_effect_on, output_tokens
from silverstain.features.spaces import Spaces, spaces_of
from silverstain.features.unions import best_unions
from silverstain.models import LanguageModel

BEFORE, AFTER = 12, 4
"""Tokens of an example left and right of the one the feature fired on."""


def build_cards(
    model: LanguageModel,
    dictionary: Dictionary,
    samples: Iterable[Sample | tuple[Sequence[int], Sequence[bool] | None, Mapping[str, str] | None]],
    *,
    n_examples: int = 5,
    n_tokens: int = 5,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cards:
    """Describe every feature that fires on the samples (token ids, mask or None, hidden values or None).

    All firings are held in memory at once, some 12 bytes each: meant for corpora of up to a few hundred thousand
    tokens. Deterministic. `on_progress(done, total)` counts sentences. UsageError for an empty corpus.
    """
    corpus = gather_corpus(samples, n_real=model.n_real)
    firings = collect_firings(model, dictionary, corpus, batch_size=batch_size, on_progress=on_progress)
    return cards_from(model, dictionary, corpus, firings, n_examples=n_examples, n_tokens=n_tokens)


def cards_from(
    model: LanguageModel,
    dictionary: Dictionary,
    corpus: Corpus,
    firings: Firings,
    *,
    n_examples: int = 5,
    n_tokens: int = 5,
) -> Cards:
    """The cards of every feature in a table of firings."""
    strings = {int(token): model.token_strings([int(token)])[0] for token in np.unique(corpus.token_ids)}
    words = words_of(corpus, [strings[int(token)] for token in corpus.token_ids])
    keys, first = np.unique(firings.key, return_index=True)
    outputs = _outputs(model, dictionary, keys, n_tokens)
    namings = _namings(model, dictionary, corpus, words, firings, keys)
    namings = [
        naming or Naming(kind="mixed", subject=_strongest_words(firings, words, span))
        for naming, span in zip(namings, _spans(first, len(firings.key)), strict=True)
    ]
    windows, window_activation = _windows(corpus, firings, first, n_examples)
    counts = np.diff(np.append(first, len(firings.key)))
    used = {*windows.unique().tolist(), *outputs.promoted.unique().tolist(), *outputs.suppressed.unique().tolist()}
    used = sorted(used - {-1})
    return Cards(
        n_layers=dictionary.n_layers,
        n_features=dictionary.n_features,
        key=torch.from_numpy(keys.astype(np.int64)),
        density=torch.from_numpy((counts / max(int(corpus.counted.sum()), 1)).astype(np.float32)),
        mean_activation=_reduced(np.add, firings, first) / torch.from_numpy(np.maximum(counts, 1).astype(np.float32)),
        max_activation=_reduced(np.maximum, firings, first),
        kind=torch.tensor([KINDS.index(naming.kind) for naming in namings], dtype=torch.long),
        fit=torch.tensor([[n.precision, n.recall, n.f1, n.auroc] for n in namings]).reshape(-1, 4),
        support=torch.tensor([naming.support for naming in namings], dtype=torch.long),
        promoted=outputs.promoted,
        promoted_effect=outputs.promoted_effect,
        suppressed=outputs.suppressed,
        suppressed_effect=outputs.suppressed_effect,
        windows=windows,
        window_activation=window_activation,
        centre=BEFORE,
        subjects=tuple(naming.subject for naming in namings),
        tokens=dict(zip(used, model.token_strings(used), strict=True)) if used else {},
        meta={
            "model_hash": model.hash,
            "dictionary_hash": dictionary.hash,
            "sentences": corpus.n_sentences,
            "places": int(corpus.counted.sum()),
        },
    )


def _namings(
    model: LanguageModel,
    dictionary: Dictionary,
    corpus: Corpus,
    words: Words,
    firings: Firings,
    keys: Int[np.ndarray, " card"],
) -> list[Naming | None]:
    spaces = spaces_of(corpus, words)
    by_place, by_sentence = firings.matrix(corpus.n_places)[keys], strongest_by_sentence(firings, corpus)[keys]
    following, next_class = best_matches(by_place, spaces.next), best_matches(by_place, spaces.next_class)
    values = best_unions(by_sentence, spaces.value)
    proposals = [
        Proposal(kind="word", names=spaces.word.names, matches=best_matches(by_place, spaces.word)),
        Proposal(kind="value", names=values[0], matches=values[1]),
        Proposal(kind="word class", names=spaces.word_class.names, matches=best_matches(by_place, spaces.word_class)),
        Proposal(
            kind="next",
            names=spaces.next.names,
            matches=following,
            effect=_promotion(model, dictionary, keys, following, spaces.next.names, spaces, "next"),
        ),
        Proposal(
            kind="next class",
            names=spaces.next_class.names,
            matches=next_class,
            effect=_promotion(model, dictionary, keys, next_class, spaces.next_class.names, spaces, "class"),
        ),
    ]
    return [choose(proposals, row) for row in range(len(keys))]


def _promotion(
    model: LanguageModel,
    dictionary: Dictionary,
    keys: Int[np.ndarray, " card"],
    matches: Matches,
    names: tuple[str, ...],
    spaces: Spaces,
    prefix: str,
) -> Float[np.ndarray, " card"]:
    """Mean direct effect of each feature on the tokens that its best class says come next, in standard deviations."""
    tokens = [
        sorted(spaces.first_tokens.get(f"{prefix}:{names[winner]}", ())) if winner >= 0 else []
        for winner in matches.winner.tolist()
    ]
    parts = [
        mean_effect_on(model, dictionary, layer, features, [tokens[row] for row in rows])
        for layer, rows, features in _by_layer(dictionary, keys)
    ]
    return torch.cat(parts).numpy().astype(np.float64) if parts else np.zeros(0)


def _outputs(model: LanguageModel, dictionary: Dictionary, keys: Int[np.ndarray, " card"], n: int) -> OutputTokens:
    n = min(n, model.d_vocab)
    parts = [
        output_tokens(model, dictionary, layer, features, n=n) for layer, _, features in _by_layer(dictionary, keys)
    ]
    if not parts:
        return output_tokens(model, dictionary, 0, torch.zeros(0, dtype=torch.long), n=n)
    return OutputTokens(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _by_layer(dictionary: Dictionary, keys: Int[np.ndarray, " card"]) -> list[tuple[int, range, Tensor]]:
    """(layer, rows of its cards, their features) for every layer that has cards; keys are sorted by layer."""
    out: list[tuple[int, range, Tensor]] = []
    for layer in range(dictionary.n_layers):
        low, high = np.searchsorted(keys, [layer * dictionary.n_features, (layer + 1) * dictionary.n_features]).tolist()
        if high > low:
            features = torch.from_numpy((keys[low:high] - layer * dictionary.n_features).astype(np.int64))
            out.append((layer, range(low, high), features.to(dictionary.device)))
    return out


def _spans(first: Int[np.ndarray, " card"], n: int) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in zip(first, np.append(first[1:], n), strict=True)]


def _reduced(reduction: np.ufunc, firings: Firings, first: Int[np.ndarray, " card"]) -> Float[Tensor, " card"]:
    values = reduction.reduceat(firings.activation, first) if len(first) else np.zeros(0, dtype=np.float32)
    return torch.from_numpy(values.astype(np.float32))


def _strongest_words(firings: Firings, words: Words, span: slice, n: int = 3) -> str:
    """The words that carry most of a feature's activation: on "of", "is"."""
    mass: dict[str, float] = {}
    for place, activation in zip(firings.place[span].tolist(), firings.activation[span].tolist(), strict=True):
        mass[words.current[place]] = mass.get(words.current[place], 0.0) + activation
    strongest = sorted(mass, key=lambda word: (-mass[word], word))[:n]
    return "on " + ", ".join(f'"{word}"' for word in strongest)


def _windows(
    corpus: Corpus, firings: Firings, first: Int[np.ndarray, " card"], n_examples: int
) -> tuple[Int[Tensor, "card example width"], Float[Tensor, "card example"]]:
    """The examples with the largest activation of each feature, one a sentence, no text twice."""
    windows = np.full((len(first), n_examples, BEFORE + 1 + AFTER), -1, dtype=np.int64)
    activations = np.zeros((len(first), n_examples), dtype=np.float32)
    for row, span in enumerate(_spans(first, len(firings.key))):
        place, activation = firings.place[span], firings.activation[span]
        seen: set[bytes] = set()
        sentences: set[int] = set()
        for i in np.argsort(-activation, kind="stable"):
            if len(seen) == n_examples:
                break
            sentence = int(corpus.sentence[place[i]])
            window = _window(corpus, int(place[i]), sentence)
            if sentence not in sentences and window.tobytes() not in seen:
                windows[row, len(seen)], activations[row, len(seen)] = window, activation[i]
                seen.add(window.tobytes())
                sentences.add(sentence)
    return torch.from_numpy(windows), torch.from_numpy(activations)


def _window(corpus: Corpus, place: int, sentence: int) -> Int[np.ndarray, " width"]:
    around = np.arange(place - BEFORE, place + AFTER + 1)
    inside = (around >= corpus.starts[sentence]) & (around < corpus.starts[sentence + 1])
    return np.where(inside, corpus.token_ids[np.clip(around, 0, corpus.n_places - 1)], -1)
