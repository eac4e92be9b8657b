"""Peak memory of training, predicted and measured: each shape in a process of its own, above the loaded model.

python benchmarks/training_memory.py            all shapes, into benchmarks/results/training-memory.json
python benchmarks/training_memory.py --shape 0  one, printed
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "training-memory.json"
STEPS: dict[str, Any] = {"steps": 6, "finetune_steps": 4, "warmup": 1, "reseed_every": 3, "reseed_until": 1.0}

# layers, width, vocabulary, sequences and tokens of a batch, and the settings of the dictionary
SHAPES: list[dict[str, Any]] = [
    {
        "name": "4 layers of 128, cross-layer, F=1,024, the organism's settings",
        "layers": 4, "d": 128, "vocab": 904, "batch": (64, 16),
        "config": {"n_features": 1024},
    },
    {
        "name": "6 layers of 128, cross-layer, F=8,192",
        "layers": 6, "d": 128, "vocab": 1024, "batch": (16, 128),
        "config": {"n_features": 8192, "l0": 16, "pool_rows": 16384},
    },
    {
        "name": "6 layers of 128, per-layer, F=4,096",
        "layers": 6, "d": 128, "vocab": 1024, "batch": (16, 128),
        "config": {"kind": "per-layer", "n_features": 4096, "l0": 16, "pool_rows": 65536},
    },
    {
        "name": "6 layers of 256, per-layer with skip, F=8,192, 4,096 rows a step, 8,192 words",
        "layers": 6, "d": 256, "vocab": 8192, "batch": (16, 128),
        "config": {"kind": "per-layer", "skip": True, "n_features": 8192, "l0": 32, "rows": 4096, "pool_rows": 16384},
    },
    {
        "name": "8 layers of 256, cross-layer, F=4,096, 8,192 words",
        "layers": 8, "d": 256, "vocab": 8192, "batch": (16, 128),
        "config": {"n_features": 4096, "l0": 24, "pool_rows": 16384},
    },
    {
        "name": "4 layers of 256, cross-layer reaching 2, F=8,192, no second phase",
        "layers": 4, "d": 256, "vocab": 1024, "batch": (16, 128),
        "config": {"reach": 2, "n_features": 8192, "l0": 16, "pool_rows": 8192, "end_to_end": None},
    },
]  # fmt: skip


def model_of(shape: dict[str, Any]) -> Any:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from silverstain.models import LanguageModel

    torch.manual_seed(0)
    words = {f"t{i}": i for i in range(shape["vocab"])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")))
    config = LlamaConfig(
        vocab_size=shape["vocab"], hidden_size=shape["d"], intermediate_size=4 * shape["d"],
        num_hidden_layers=shape["layers"], num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config), tokenizer, name="random")


def batches_of(shape: dict[str, Any]) -> Iterator[Any]:
    import torch

    from silverstain.models import TokenBatch

    generator = torch.Generator().manual_seed(0)
    while True:
        ids = torch.randint(shape["vocab"], shape["batch"], generator=generator)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[:, 0] = False
        yield TokenBatch(token_ids=ids, mask=mask)


def memory(what: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def measure(shape: dict[str, Any]) -> dict[str, Any]:
    """Train for a few steps of each phase, with a checkpoint in between; what was reserved at most in each part."""
    import torch

    from silverstain.training import TrainingConfig, train_dictionary
    from silverstain.training.planning import plan_training

    torch.set_num_threads(1)
    model, config = model_of(shape), TrainingConfig(**shape["config"], **STEPS, checkpoint_minutes=0)
    ids = next(batches_of(shape)).token_ids
    plan = plan_training(model, config, tokens_a_batch=ids.numel(), probe=False)
    model.logits(ids[:1, :8])
    before, peaks = memory("VmRSS"), {}

    def begin() -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def note(progress: Any) -> None:
        name = f"{progress.phase} {min(progress.step, 2) if progress.phase == 'reconstruct' else ''}".strip()
        peaks[name] = max(peaks.get(name, 0), memory("VmHWM") - before)
        begin()

    begin()
    with tempfile.TemporaryDirectory() as folder:
        train_dictionary(model, batches_of(shape), config, Path(folder), note)
    peaks["end"] = memory("VmHWM") - before
    measured = max(peaks.values())
    return {
        "name": shape["name"], "predicted": plan.bytes, "measured": measured, "ratio": plan.bytes / measured,
        "parts": dict(plan.parts), "measured_parts": peaks,
    }  # fmt: skip


def main() -> None:
    if "--shape" in sys.argv:
        print(json.dumps(measure(SHAPES[int(sys.argv[sys.argv.index("--shape") + 1])])))
        return
    found = []
    for index in range(len(SHAPES)):
        out = subprocess.run(
            [sys.executable, __file__, "--shape", str(index)], capture_output=True, text=True, check=True
        )
        found.append(json.loads(out.stdout.splitlines()[-1]))
        print(f"{found[-1]['name']:60} predicted {found[-1]['predicted'] / 1e6:7.0f} MB, measured "
              f"{found[-1]['measured'] / 1e6:7.0f} MB, ratio {found[-1]['ratio']:.3f}")  # fmt: skip
    RESULTS.write_text(json.dumps({"format": "silverstain.benchmark/1", "shapes": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
