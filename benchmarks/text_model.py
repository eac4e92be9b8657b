"""A language model of ordinary shape on text that nobody here made, and Silverstain's whole way on it.

`grow` trains a Llama of 3 million parameters, with a byte-level BPE of 3,328 tokens, on the sources and docstrings of
Python's own standard library, found where this Python keeps them; nothing is fetched. It may be interrupted and goes
on, and ends after `--steps`. `measure` then says what the public commands make of it: train, evaluate, trace.

    python benchmarks/text_model.py grow --out runs/text-model
    python benchmarks/text_model.py measure --model runs/text-model --out runs/text-model-clt
"""

import argparse
import json
import math
import platform
import sysconfig
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.cli import main as command_line
from silverstain.storage import read_tensors, save_tensors_whole, write_json_whole

RESULT = Path(__file__).parent / "results" / "text-model.json"
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings"}
"""Folders of the standard library that are tests, other people's packages, or tables of characters."""
VOCABULARY, CONTEXT, BATCH = 3328, 256, 8
SHAPE = {
    "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 6, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
LR, WARMUP = 1e-3, 100


def sources() -> list[Path]:
    """The standard library's Python files, in order of name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))


def copy_sources(folder: Path) -> Path:
    """The texts as one folder that `--text` can be given: the library's own is full of what is left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sources():
        target = folder / path.relative_to(root)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8", errors="replace"), encoding="utf-8")
    return folder


def is_grown_on(path: Path) -> bool:
    """One file in twenty is kept from the model, by its name."""
    return sum(path.name.encode()) % 20 != 0


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose texts begin with <bos>, as Llama's do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<bos>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")


def windows(line: torch.Tensor, seed: int, start: int) -> Iterator[torch.Tensor]:
    """Batches of random windows of the line of tokens, each behind <bos>; the n-th is always the same."""
    step = start
    while True:
        generator = torch.Generator().manual_seed(seed * 10_000_019 + step)
        at = torch.randint(len(line) - CONTEXT, (BATCH, 1), generator=generator)
        ids = line[at + torch.arange(CONTEXT)]
        ids[:, 0] = 0
        yield ids
        step += 1


def rate(step: int, steps: int) -> float:
    """Up over the first steps, down to nothing over the last third."""
    return LR * min(1.0, (step + 1) / WARMUP, max(steps - step, 0) / (steps / 3))


def grow(out: Path, steps: int, seed: int = 0) -> None:
    """Train the model into `out`, going on from its checkpoint if there is one."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    files = sources()
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    grown = [text for path, text in texts.items() if is_grown_on(path)]
    kept = [text for path, text in texts.items() if not is_grown_on(path)]
    if not (out / "tokenizer.json").exists():
        make_tokenizer(grown).save_pretrained(out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    line, held_out = (_line(tokenizer, part) for part in (grown, kept))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=1, **SHAPE))
    n_parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(files)} files, {len(line):,} tokens, {n_parameters:,} parameters", flush=True)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.1, fused=True)
    step, seconds = _resume(out / "growing.safetensors", parameters, optimizer)
    began, saved = time.perf_counter() - seconds, time.perf_counter()
    for ids in windows(line, seed, step):
        if step >= steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            elapsed = time.perf_counter() - began
            print(f"{step} {loss.item():.3f} {step * BATCH * CONTEXT / elapsed:.0f} tokens/s", flush=True)
        if time.perf_counter() - saved > 60:
            _save(out / "growing.safetensors", parameters, optimizer, step, time.perf_counter() - began)
            saved = time.perf_counter()
    model.save_pretrained(out)
    facts = {
        "format": "silverstain.text-model/1", "files": len(files), "files_kept_out": len(kept),
        "tokens": len(line), "tokens_seen": steps * BATCH * CONTEXT, "parameters": n_parameters,
        "seconds": time.perf_counter() - began, "seed": seed, "held_out_cross_entropy": _cross_entropy(model, held_out),
        "bytes_a_token": sum(map(len, grown)) / len(line), "python": platform.python_version(), "shape": SHAPE,
    }  # fmt: skip
    write_json_whole(out / "growth.json", facts)
    (out / "growing.safetensors").unlink(missing_ok=True)
    print(json.dumps(facts), flush=True)


def _line(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """All texts end to end, <bos> before each."""
    encoded = tokenizer.backend_tokenizer.encode_batch(texts)
    return torch.tensor([token for encoding in encoded for token in encoding.ids])


def _cross_entropy(model: LlamaForCausalLM, line: torch.Tensor) -> float:
    """In nats a token, over 128 windows of files that were kept out."""
    model.eval()
    with torch.no_grad():
        losses = [model(input_ids=ids, labels=ids).loss.item() for ids in islice(windows(line, 1, 0), 16)]
    assert all(map(math.isfinite, losses))
    return sum(losses) / len(losses)


def _save(path: Path, parameters: dict, optimizer: torch.optim.AdamW, step: int, seconds: float) -> None:
    tensors = {f"weights.{name}": parameter for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        tensors |= {f"{key}.{name}": moment for key, moment in optimizer.state[parameter].items()}
    save_tensors_whole(path, tensors, {"step": str(step), "seconds": str(seconds)})


def _resume(path: Path, parameters: dict, optimizer: torch.optim.AdamW) -> tuple[int, float]:
    """The step and seconds the checkpoint was at; (0, 0) without one."""
    if not path.exists():
        return 0, 0.0
    tensors, facts = read_tensors(path)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weights.{name}"])
            moments = ("step", "exp_avg", "exp_avg_sq")
            optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in moments}
    return int(facts["step"]), float(facts["seconds"])


def measure(model: Path, out: Path, steps: int) -> None:
    """Train, evaluate and trace by the public commands; figures go into RESULT."""
    out.mkdir(parents=True, exist_ok=True)
    texts, folder = str(copy_sources(out / "texts")), str(out / "clt")
    common = ["--model", str(model), "--threads", "1", "--json"]
    found = {
        "trained": _said(["train", "--text", texts, "--out", folder, "--steps", str(steps), *common]),
        "evaluated": _said(["evaluate", folder, "--text", texts, *common]),
        "traced": _said(["trace", "import os\nimport sys\n\ndef main(", "--dictionary", folder, *common]),
    }
    growth = json.loads((model / "growth.json").read_text(encoding="utf-8"))
    write_json_whole(RESULT, {"format": "silverstain.text-model-result/1", "growth": growth, **found})


def _said(words: list[str]) -> dict:
    """What a command prints as JSON."""
    printed = StringIO()
    with redirect_stdout(printed):
        code = command_line(words)
    if code:
        raise SystemExit(code)
    return json.loads(printed.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    growing = verbs.add_parser("grow")
    growing.add_argument("--out", type=Path, required=True)
    growing.add_argument("--steps", type=int, default=1100)
    growing.set_defaults(run=lambda given: grow(given.out, given.steps))
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--model", type=Path, required=True)
    measuring.add_argument("--out", type=Path, required=True)
    measuring.add_argument("--steps", type=int, default=3000)
    measuring.set_defaults(run=lambda given: measure(given.model, given.out, given.steps))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
