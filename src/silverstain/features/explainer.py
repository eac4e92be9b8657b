"""Labels from a language model behind an OpenAI-compatible address: optional, off by default, tested like all others.

The model is shown a feature's examples and asked for a few words and for the tokens that the feature is active on, so
that what it says can be tested without asking it again. An endpoint that is down, slow or answers nonsense is asked
once more; after a few failures in a row it is left alone, and the labels made by rule stand.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from silverstain.brief import brief
from silverstain.errors import Remark, UsageError
from silverstain.printable import printable

LONGEST = 200
"""Characters of a label."""
FAILURES = 3
"""In a row, after which an endpoint is not asked any more."""
MOST_WORDS = 40
ASKED = (
    "These are texts in which one feature of a language model is active, most on the token between » and «. Answer "
    'with one JSON object and nothing else: {"label": "what the feature is about, in at most ten words", "tokens": '
    '["the tokens that it is active on"]}.'
)


@brief
@dataclass(frozen=True, kw_only=True)
class Explained:
    """What a model says of a feature."""

    text: str
    tokens: tuple[str, ...]


class Explainer:
    """A model that is asked for labels."""

    def __init__(
        self, url: str, model: str, *, api_key: str | None = None, timeout: float = 30.0, most: int = 100
    ) -> None:
        """`url` is of an OpenAI-compatible endpoint, `most` how many features it is asked about at most. The key is
        OPENAI_API_KEY where none is given. UsageError where the client is not installed."""
        try:
            import openai  # pyright: ignore[reportMissingImports]  # of an extra
        except ImportError as error:
            raise UsageError(
                "asking a language model for labels needs the openai client: pip install 'silverstain[explain]'"
            ) from error
        import os

        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._errors: Any = openai.OpenAIError
        self._client: Any = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)
        self.url, self.model, self.most = url, model, most
        self.n_failed = 0
        self._in_a_row = 0

    @property
    def is_lost(self) -> bool:
        """Whether it has failed so often in a row that it is not asked any more."""
        return self._in_a_row >= FAILURES

    def explain(self, examples: Sequence[tuple[Sequence[str], int]]) -> Explained | None:
        """What the model says of these examples (tokens, and which one); None where it gave no usable answer."""
        if self.is_lost:
            return None
        reason = ""
        for _ in range(2):
            try:
                answer = self._client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": asked(examples)}],
                    temperature=0.0,
                    max_tokens=300,
                )
                found = read_answer(answer.choices[0].message.content)
            except self._errors as error:
                reason = str(error)
            except (AttributeError, IndexError, TypeError, ValueError) as error:
                reason = f"its answer cannot be read: {error}"
            else:
                self._in_a_row = 0
                return found
        self.n_failed += 1
        self._in_a_row += 1
        if self.is_lost:
            warnings.warn(
                Remark(
                    f"{printable(self.url, 100)} gave no usable label {FAILURES} times in a row "
                    f"({printable(reason, 100)}); it is not asked any more, and labels made by rule stand"
                ),
                stacklevel=2,
            )
        return None


def asked(examples: Sequence[tuple[Sequence[str], int]]) -> str:
    """The question about some examples."""
    lines = []
    for tokens, at in examples:
        marked = [f"»{token}«" if i == at else token for i, token in enumerate(tokens)]
        lines.append(json.dumps(" ".join(marked), ensure_ascii=False))
    return "\n".join([ASKED, *lines])


def read_answer(content: Any) -> Explained:
    """The label and tokens of an answer; ValueError for anything else."""
    if not isinstance(content, str):
        raise ValueError("it has no text")
    start, stop = content.find("{"), content.rfind("}")
    found = json.loads(content[start : stop + 1]) if 0 <= start < stop else None
    if not isinstance(found, Mapping) or not isinstance(found.get("label"), str) or not found["label"].strip():
        raise ValueError("it has no label")
    tokens = found.get("tokens")
    words = [token for token in tokens if isinstance(token, str) and token] if isinstance(tokens, list) else []
    text = " ".join(printable(found["label"], LONGEST).split())
    return Explained(text=text, tokens=tuple(words[:MOST_WORDS]))
