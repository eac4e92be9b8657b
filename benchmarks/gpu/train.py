"""A dictionary trained on a GPU that is lent for some minutes, and how fast the rest is there.

    python benchmarks/gpu/train.py MODEL --text FILE --minutes 9 --out OUT

MODEL is a folder (or "organism", to try the script on any machine: --device cpu --features 256). Nothing is fetched.
Trains for as long as it is told, all of it in one phase, and leaves in OUT:

- metrics.json: tokens a second of harvest and step together, figures on held-out text, seconds of traces and contrasts;
- dictionary.tar.00, .01, …: the dictionary as int8 rows in pieces of at most 16 MB (`cat dictionary.tar.* | tar x`).
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from silverstain.attribution.requests import DifferenceTarget
from silverstain.bases import Dictionary, save_dictionary
from silverstain.evaluation import evaluate_dictionary
from silverstain.loading import ReplacementModel, load
from silverstain.models import TokenBatch
from silverstain.training import Progress, TextBatches, text_batches, train_dictionary
from silverstain.training.sizes import default_config

PIECE_BYTES = 16 << 20
CONTEXT = 128
FAR = 1_000_000
"""Steps that a run plans for when it is tried how fast it is."""
TRACED_TOKENS = 16


class TimeIsUp(Exception):
    """Raised after a step, when the rate is known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--l0", type=float, default=48.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    began = time.perf_counter()
    loaded = load(given.model, dictionary="neurons", device=given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    steps, rate = _steps(loaded, given, 60 * given.minutes)
    dictionary, seconds = _trained(loaded, given, steps)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if given.device.startswith("cuda") else "cpu",
        "steps": steps,
        "tried_steps_a_second": rate,
        "tokens": steps * dictionary["config"].rows,
        "tokens_a_second": steps * dictionary["config"].rows / seconds,
    }
    made = dictionary["dictionary"]
    held_out = _batches(loaded, given).held_out(16_384)
    found["fidelity"] = evaluate_dictionary(loaded.model, made, held_out).to_json()
    found["tracing"] = _tracing(loaded, made, held_out)
    found["minutes"] = (time.perf_counter() - began) / 60
    (given.out / "metrics.json").write_text(json.dumps(found, indent=1) + "\n")
    _bring_home(made, given.out)


def _batches(loaded: ReplacementModel, given: argparse.Namespace) -> TextBatches:
    return text_batches(loaded.model, given.text, context=min(CONTEXT, loaded.model.max_positions))


def _config(loaded: ReplacementModel, given: argparse.Namespace, steps: int) -> Any:
    return default_config(
        loaded.model, "plt", skip=True, skip_starts="affine", n_features=given.features, l0=given.l0, steps=steps,
        end_to_end=None, checkpoint_minutes=1e6,
    )  # fmt: skip


def _steps(loaded: ReplacementModel, given: argparse.Namespace, seconds: float) -> tuple[int, float]:
    """How many steps fit, from some steps of a run that is thrown away."""
    marks: list[float] = []

    def watch(progress: Progress) -> None:
        marks.append(time.perf_counter())
        if len(marks) > 60 or marks[-1] - marks[0] > seconds / 8:
            raise TimeIsUp

    with contextlib.suppress(TimeIsUp):
        _train(loaded, given, _config(loaded, given, FAR), given.out / "tried", watch)
    shutil.rmtree(given.out / "tried", ignore_errors=True)
    rate = (len(marks) - 1) / (marks[-1] - marks[0])
    return max(10, int(rate * seconds * 0.75)), rate


def _trained(loaded: ReplacementModel, given: argparse.Namespace, steps: int) -> tuple[dict[str, Any], float]:
    config, start = _config(loaded, given, steps), time.perf_counter()
    made = _train(loaded, given, config, given.out / "float", None)
    return {"dictionary": made, "config": config}, time.perf_counter() - start


def _train(
    loaded: ReplacementModel, given: argparse.Namespace, config: Any, folder: Path, watch: Callable[..., None] | None
) -> Dictionary:
    batches = _batches(loaded, given).training()
    made = train_dictionary(loaded.model, batches, config, folder, watch)
    assert isinstance(made, Dictionary)
    return made.to(device=given.device)


def _tracing(loaded: ReplacementModel, made: Dictionary, held_out: list[TokenBatch]) -> dict[str, float]:
    """Median seconds of a trace in the dictionary and in neurons, and of a contrast of one token in neurons."""
    ids = held_out[0].token_ids[0, :TRACED_TOKENS].tolist()
    middle = TRACED_TOKENS // 2
    other = [*ids[:middle], next(token for token in ids[1:] if token != ids[middle]), *ids[middle + 1 :]]
    in_dictionary = ReplacementModel(model=loaded.model, dictionary=made)

    def seconds(work: Callable[[], Any]) -> float:
        work()
        found = []
        for _ in range(5):
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
        return median(found)

    target = {"targets": (DifferenceTarget(token=1, minus=2),)}
    return {
        "trace_dictionary": seconds(lambda: in_dictionary.trace(ids)),
        "trace_neurons": seconds(lambda: loaded.trace(ids)),
        "contrast_neurons": seconds(lambda: loaded.contrast(ids, other, **target)),
    }


def _bring_home(made: Dictionary, out: Path) -> None:
    save_dictionary(made, out / "int8", dtype=torch.int8)
    shutil.rmtree(out / "float", ignore_errors=True)
    subprocess.run(["tar", "cf", out / "dictionary.tar", "-C", out, "int8"], check=True)
    shutil.rmtree(out / "int8")
    whole = (out / "dictionary.tar").read_bytes()
    for number, start in enumerate(range(0, len(whole), PIECE_BYTES)):
        (out / f"dictionary.tar.{number:02}").write_bytes(whole[start : start + PIECE_BYTES])
    (out / "dictionary.tar").unlink()


if __name__ == "__main__":
    main()
