"""Text to tokens with errors that help: unknown words are named, with the nearest known ones."""

import difflib
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from silverstain.errors import UsageError

PIECE_MARKS = "Ġ▁"  # how byte-level and sentencepiece vocabularies write a leading space
CONTINUATION = "##"  # how WordPiece writes a piece that continues a word


def encode(tokenizer: PreTrainedTokenizerBase, text: str, known_words: Iterable[str] = ()) -> list[int]:
    """Token ids of `text` with the special tokens the tokenizer adds; UsageError for nothing or unknown words."""
    if not text.strip():
        raise UsageError('the prompt is empty; give some text, for example: "the capital of texas is"')
    encoding = tokenizer(text, return_offsets_mapping=bool(tokenizer.is_fast), verbose=False)
    ids = list(encoding["input_ids"])
    unknown = _unknown_words(tokenizer, text, ids, encoding.get("offset_mapping"))
    if unknown:
        raise UsageError(_name_unknown(tokenizer, unknown, known_words))
    return ids


def one_token(tokenizer: PreTrainedTokenizerBase, text: str, known_words: Iterable[str] = ()) -> int:
    """The id of the one token that `text` is; UsageError when it is unknown or several tokens."""
    vocabulary = tokenizer.get_vocab()
    if text in vocabulary:  # also pieces, which cannot be typed as words: "##las"
        return vocabulary[text]
    ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text.strip() else []
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    if not text.strip():
        raise UsageError("the token is empty; give one token of the vocabulary")
    if len(ids) > 1 and tokenizer.unk_token_id not in ids:
        pieces = " ".join(tokenizer.convert_ids_to_tokens(ids))
        raise UsageError(f"{text!r} is {len(ids)} tokens ({pieces}); give exactly one token, or a token id")
    raise UsageError(f"{text!r} is not a token of this model{_suggestion(tokenizer, text, ())}; give one token")


def nearest_words(tokenizer: PreTrainedTokenizerBase, word: str, known_words: Iterable[str] = ()) -> list[str]:
    """At most three known words spelled most like `word`: whole words of the vocabulary and `known_words`."""
    word = word.lower()
    special = set(tokenizer.all_special_tokens)
    vocabulary = (token.lstrip(PIECE_MARKS) for token in tokenizer.get_vocab() if token not in special)
    candidates = {token for token in vocabulary if not token.startswith(CONTINUATION)} | set(known_words)
    # difflib is quadratic in length: words of another length cannot be among the nearest
    alike = sorted(candidate for candidate in candidates if abs(len(candidate) - len(word)) <= 3)
    return difflib.get_close_matches(word, alike, n=3, cutoff=0.6)


def _unknown_words(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]] | None
) -> list[str]:
    """The words of `text` that became the unknown token, in order and once each."""
    if tokenizer.unk_token_id is None:
        return []
    if offsets is None:  # a slow tokenizer does not say where a token came from
        return ["(some word)"] if tokenizer.unk_token_id in ids else []
    words = [text[a:b] for token, (a, b) in zip(ids, offsets, strict=True) if token == tokenizer.unk_token_id and b > a]
    return list(dict.fromkeys(word for word in words if word != tokenizer.unk_token))


def _name_unknown(tokenizer: PreTrainedTokenizerBase, unknown: Sequence[str], known_words: Iterable[str]) -> str:
    known_words = list(known_words)
    named = "; ".join(f"{word!r}{_suggestion(tokenizer, word, known_words)}" for word in unknown)
    return f"this model does not know {'the word' if len(unknown) == 1 else 'the words'} {named}; use words it knows"


def _suggestion(tokenizer: PreTrainedTokenizerBase, word: str, known_words: Iterable[str]) -> str:
    nearest = nearest_words(tokenizer, word, known_words)
    return f" (nearest known: {', '.join(nearest)})" if nearest else " (nothing known is near it)"
