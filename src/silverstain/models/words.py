"""Text to tokens with errors that help: unknown words are named, with the nearest known ones."""

import difflib
import re
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from silverstain.errors import UsageError
from silverstain.models.beginning import begun
from silverstain.pieces import CONTINUES, bytes_of, shown

PIECE_MARKS = "Ġ▁"  # how byte-level and sentencepiece vocabularies write a leading space


def encode(tokenizer: PreTrainedTokenizerBase, text: str, known_words: Iterable[str] = ()) -> list[int]:
    """Token ids of `text` with the special tokens the tokenizer adds, BOS exactly once in front where there is one.

    UsageError for nothing (white space is something where the tokenizer has tokens for it) or unknown words.
    """
    if not text.strip() and not _plain_ids(tokenizer, text):
        raise UsageError('the prompt is empty; give some text, for example: "the capital of texas is"')
    encoding = tokenizer(text, return_offsets_mapping=bool(tokenizer.is_fast), verbose=False)
    ids = list(encoding["input_ids"])
    unknown = _unknown_words(tokenizer, text, ids, encoding.get("offset_mapping"))
    if unknown:
        raise UsageError(_name_unknown(tokenizer, unknown, known_words))
    return begun(tokenizer, ids)


def one_token(tokenizer: PreTrainedTokenizerBase, text: str, known_words: Iterable[str] = ()) -> int:
    """The id of the one token that `text` is: what the tokenizer makes of it or, where that is not one token, the entry
    of the vocabulary that is spelled so ("##las", "Ġthe", "<0x0A>"), or shown so ("⟨C3⟩").

    UsageError when it is unknown or several tokens, which are named.
    """
    ids = _plain_ids(tokenizer, text)
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    vocabulary = tokenizer.get_vocab()
    for spelling in (text, *_spellings(text)):
        if spelling in vocabulary:
            return vocabulary[spelling]
    if not text:
        raise UsageError("the token is empty; give one token of the vocabulary")
    if len(ids) > 1 and tokenizer.unk_token_id not in ids:
        pieces = " ".join(token_string(tokenizer, i) for i in ids)
        numbers = ", ".join(map(str, ids))
        raise UsageError(
            f"{text!r} is {len(ids)} tokens ({pieces}); give exactly one token, or a token id (theirs are {numbers})"
        )
    if not text.strip():
        raise UsageError(f"{text!r} is no token: this tokenizer drops white space; give one token of the vocabulary")
    raise UsageError(f"{text!r} is not a token of this model{_suggestion(tokenizer, text, ())}; give one token")


def token_string(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """How a token reads by itself; bytes that are no text as ⟨C3⟩ (`silverstain.pieces`)."""
    text = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # one sequence of ids decodes to one text
    if text and UNREADABLE not in text:
        return text
    spelling = tokenizer.convert_ids_to_tokens(token)
    if not isinstance(spelling, str):  # a row of the vocabulary that has no token
        return text or f"id:{token}"
    data = _bytes_spelled(spelling) if text else None
    return (text or spelling) if data is None else shown(data)


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids without the special tokens that the tokenizer adds."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_LETTERS = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTE_OF = {chr(byte): byte for byte in _LETTERS} | {
    chr(0x100 + n): byte for n, byte in enumerate(byte for byte in range(0x100) if byte not in _LETTERS)
}
"""How byte-level vocabularies (GPT-2's and its heirs) write each byte: as itself where it is a printable letter of
Latin-1, and the others, in order, as the letters from U+0100 on."""
LETTER_OF = {byte: letter for letter, byte in BYTE_OF.items()}
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # how sentencepiece writes a byte


def _bytes_spelled(spelling: str) -> bytes | None:
    """The bytes an entry of a vocabulary stands for, or None where it is not made of bytes."""
    if found := _BYTE_TOKEN.fullmatch(spelling):
        return bytes.fromhex(found[1])
    return bytes(BYTE_OF[letter] for letter in spelling) if all(letter in BYTE_OF for letter in spelling) else None


def _spellings(text: str) -> list[str]:
    """How vocabularies may write a text that is shown with bytes."""
    data = bytes_of(text)
    if data == text.encode("utf-8", "surrogatepass"):
        return []
    return ["".join(LETTER_OF[byte] for byte in data), *([f"<0x{data[0]:02X}>"] if len(data) == 1 else [])]


def nearest_words(tokenizer: PreTrainedTokenizerBase, word: str, known_words: Iterable[str] = ()) -> list[str]:
    """At most three known words spelled most like `word`: whole words of the vocabulary and `known_words`."""
    word = word.lower()
    special = set(tokenizer.all_special_tokens)
    vocabulary = (token.lstrip(PIECE_MARKS) for token in tokenizer.get_vocab() if token not in special)
    candidates = {token for token in vocabulary if not token.startswith(CONTINUES)} | set(known_words)
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
