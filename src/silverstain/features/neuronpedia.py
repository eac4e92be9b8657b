"""Labels that people and models have put on Neuronpedia: asked for only where a user says so, kept, and asked once.

One request a feature, to `/api/feature/MODEL/LAYER-SOURCE/INDEX`. Whatever goes wrong, the labels that are there stand.
"""

import json
import re
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from silverstain.documents import parsed_json
from silverstain.errors import Remark, UsageError
from silverstain.features.naming import label_entry
from silverstain.printable import printable
from silverstain.storage import write_json_whole

URL = "https://www.neuronpedia.org"
FAILURES = 3
TRIES = 2
LARGEST = 8 << 20


def neuronpedia_labels(
    features: Iterable[tuple[int, int]],
    *,
    model: str,
    source: str,
    cache: Path,
    url: str = URL,
    timeout: float = 20.0,
    wait: float = 1.0,
    on_progress: Callable[[int], None] | None = None,
) -> dict[tuple[int, int], list[dict[str, Any]]]:
    """Explanations of features (layer, feature) by their Neuronpedia names, `source` being such as gemmascope-16k.

    Answers are kept in a file of `cache`, and asked for once. An endpoint that fails a few times in a row is left
    alone, with a remark. UsageError for names that are none.
    """
    for name in (model, source):
        if not re.fullmatch(r"[\w.-]{1,100}", name):
            raise UsageError(f"{printable(name, 80)!r} is no name of Neuronpedia; give one as gemma-2-2b")
    kept_file = cache / f"neuronpedia-{model}-{source}.json"
    kept = _kept(kept_file)
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    in_a_row, n_new, reason = 0, 0, ""
    for number, (layer, feature) in enumerate(features):
        key = f"{layer}_{feature}"
        if key not in kept and in_a_row < FAILURES:
            try:
                kept[key] = _asked(f"{url}/api/feature/{model}/{layer}-{source}/{feature}", timeout, wait)
                in_a_row, n_new = 0, n_new + 1
            except (OSError, ValueError) as error:
                in_a_row, reason = in_a_row + 1, str(error)
        if kept.get(key):
            found[layer, feature] = [_entry(one, url) for one in kept[key]]
        if on_progress is not None:
            on_progress(number + 1)
    if n_new:
        write_json_whole(kept_file, kept)
    if in_a_row >= FAILURES:
        warnings.warn(
            Remark(
                f"{printable(url, 100)} gave no answer {FAILURES} times in a row ({printable(reason, 100)}); it was "
                "not asked any more"
            ),
            stacklevel=2,
        )
    return found


def _entry(one: dict[str, Any], url: str) -> dict[str, Any]:
    label = label_entry(one["text"], "neuronpedia", source=url, score=one.get("score"), evidence={"by": one.get("by")})
    del label["_order"]
    return label


def _asked(address: str, timeout: float, wait: float) -> list[dict[str, Any]]:
    """The explanations of one feature; none where there is no such page."""
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(address, timeout=timeout) as answer:
                return _explanations(parsed_json(answer.read(LARGEST).decode("utf-8")))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            if attempt == TRIES - 1:
                raise
        except (OSError, ValueError):
            if attempt == TRIES - 1:
                raise
        time.sleep(wait)
    return []


def _explanations(page: Any) -> list[dict[str, Any]]:
    if not isinstance(page, dict) or not isinstance(page.get("explanations", []), list):
        raise ValueError("the answer is no page of a feature")
    found = []
    for one in page.get("explanations", []):
        text = one.get("description") if isinstance(one, dict) else None
        if isinstance(text, str) and text.strip():
            scores = one.get("scores")
            values = [s.get("value") for s in scores if isinstance(s, dict)] if isinstance(scores, list) else []
            score = next((float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)
            by = one.get("explanationModelName")
            text = " ".join(printable(text, 500).split())
            found.append({"text": text, "score": score, "by": by if isinstance(by, str) else None})
    return found


def _kept(path: Path) -> dict[str, Any]:
    """What was asked before; nothing where the file is not there or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_whole = isinstance(found, dict) and all(
        isinstance(some, list) and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in some)
        for some in found.values()
    )
    return found if is_whole else {}
