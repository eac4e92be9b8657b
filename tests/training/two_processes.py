"""What one of two processes does for test_parallel.py: run as a script, since one start pays for all of the tests.

Before they join, the processes run half of the references each, alone; what is found is left as JSON.
"""

import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from tests.training import conftest
from tests.training.conftest import tiny_model

from silverstain.errors import UsageError
from silverstain.evaluation import evaluate_dictionary
from silverstain.models import LanguageModel, harvest
from silverstain.training import TrainingConfig, train_dictionary
from silverstain.training.cache import ActivationCache
from silverstain.training.checkpoint import FILE
from silverstain.training.parallel import joined_processes

BASE = TrainingConfig(
    n_features=64, l0=6, steps=9, rows=64, pool_rows=256, pool_epochs=1, warmup=3, reseed_every=3, finetune_steps=3,
)  # fmt: skip
RUNS = {
    "batchtopk": replace(BASE, edited_share=0.5, determined_weight=2.0),
    "topk": replace(BASE, kind="per-layer", activation="topk", skip=True, widths=(16, 40), aux_k=4, pool_parts=2),
    "jumprelu": replace(BASE, activation="jumprelu", sparsity=0.01, pre_activation=0.01, end_to_end="ce", reach=2),
    "l0": replace(BASE, activation="jumprelu", sparsity=0.01, sparsity_shape="l0", aux_k=4, nmse_rows=9),
    "jacobian": replace(BASE, jacobian_weight=0.1, skip=True, finetune_steps=1),
    "molt": replace(BASE, kind="molt", n_features=31, skip=True),
}
BOTH = ("data", "features")
SHARES = {"jacobian": ("features",), "molt": ("data",)}
"""What is refused otherwise; all others can be shared in both ways."""
AT = 5
"""The step at which runs are interrupted."""


def batches(seed, n=8):
    """Without the first positions: tokens after the same one or two are twins, whose scores tie but for rounding."""
    for batch in conftest.batches(seed, n, length=10):
        mask = batch.mask & (torch.arange(10) > 2)
        yield replace(batch, mask=mask, determined=batch.determined & mask)


class Run:
    """One run, and what it said."""

    def __init__(self, model, config, folder, share=None, *, stop_at=None, held_out=None):
        self.curve, self.stop_at, self.held_out, self.fidelity = [], stop_at, held_out, None
        self.model, self.was_interrupted = model, False
        try:
            self.kept = train_dictionary(
                model, batches(1), config, folder, self.progress, observe=self.observe, shard=share
            )
        except KeyboardInterrupt:
            self.was_interrupted = True

    def progress(self, progress):
        self.curve.append(
            [progress.step, progress.loss, progress.nmse, *progress.l0, progress.kl or 0.0, progress.dead]
        )
        if progress.step == self.stop_at:
            raise KeyboardInterrupt

    def observe(self, progress, substitute):
        if self.held_out and progress.step == progress.n_steps:
            self.fidelity = evaluate_dictionary(self.model, substitute, self.held_out)


def references(model, rank, folder):
    """The runs of one process: every second one by this process."""
    found = {}
    for name, config in itertools.islice(RUNS.items(), rank, None, 2):
        held_out = list(itertools.islice(batches(5), 2)) if name == "batchtopk" else None
        run = Run(model, config, folder / f"alone-{name}", held_out=held_out)
        found[name] = {"alone": run.curve}
        if held_out:
            found[name]["alone_fidelity"] = [run.fidelity.nmse, run.fidelity.kl, run.fidelity.dead]
    if rank == 0:
        Run(model, RUNS["batchtopk"], folder / "begun-alone", stop_at=AT)
    return found


def together(model, folder, found):
    for name, config in RUNS.items():
        for share in SHARES.get(name, BOTH):
            held_out = list(itertools.islice(batches(5), 2)) if name == "batchtopk" else None
            run = Run(model, config, folder / f"{share}-{name}", share, held_out=held_out)
            found.setdefault(name, {})[share] = run.curve
            if held_out:
                found[name][f"{share}_fidelity"] = [run.fidelity.nmse, run.fidelity.kl, run.fidelity.dead]


def interrupted(model, folder, rank, found):
    """Ctrl-C in the second process alone; then the same again, on from the file that there is."""
    for share in BOTH:
        config, into = RUNS["batchtopk"], folder / f"{share}-parts"
        first = Run(model, config, into, share, stop_at=AT if rank == 1 else None)
        files = sorted(path.name for path in into.iterdir())
        dist.barrier()
        if rank == 0:
            (folder / f"{share}.safetensors").write_bytes((into / FILE).read_bytes())
            (folder / f"{share}-goes-on-alone").mkdir()
            (folder / f"{share}-goes-on-alone" / FILE).write_bytes((into / FILE).read_bytes())
            (folder / f"{share}-from-alone").mkdir()
            (folder / f"{share}-from-alone" / FILE).write_bytes((folder / "begun-alone" / FILE).read_bytes())
        dist.barrier()
        found[f"{share}_parts"] = {
            "interrupted": first.was_interrupted, "files": files, "steps": len(first.curve),
            "resumed": Run(model, config, into, share).curve,
            "from_alone": Run(model, config, folder / f"{share}-from-alone", share).curve,
        }  # fmt: skip


def refusals(model, folder):
    few = next(batches(1, n=1))
    attempts = {
        "unsaid": (BASE, None, {}),
        "unknown": (BASE, "layers", {}),
        "odd": (replace(BASE, n_features=63), "features", {}),
        "molt": (RUNS["molt"], "features", {}),
        "jacobian": (RUNS["jacobian"], "data", {}),
        "rows": (replace(BASE, rows=63), "data", {}),
        "cache": (BASE, "features", {"cache": ActivationCache(folder / "cache", model)}),
        "one sequence": (replace(BASE, steps=0), "data", {"source": itertools.repeat(few)}),
        "unwritable": (replace(BASE, steps=1, finetune_steps=0), "data", {"folder": folder / "file" / "out"}),
    }
    found = {}
    for name, (config, share, more) in attempts.items():
        source, into = more.pop("source", batches(1)), more.pop("folder", folder / "refused")
        try:
            train_dictionary(model, source, config, into, shard=share, **more)
        except UsageError as error:
            found[name] = str(error)
    return found


def sharded_model(model, folder, found):
    """The same weights under FSDP: block by block, and the rest."""
    from torch.distributed.fsdp import fully_shard

    batch = next(batches(3))
    plain = harvest(model, batch.token_ids)
    sharded = tiny_model().hf
    for block in sharded.model.layers:
        fully_shard(block)
    fully_shard(sharded)
    parameters = {type(parameter.data).__name__ for parameter in sharded.parameters()}
    wrapped = LanguageModel(sharded, model.tokenizer, name="tiny")
    seen = harvest(wrapped, batch.token_ids)
    found["fsdp"] = {
        "parameters": ", ".join(parameters),
        "difference": max(float((a - b).abs().max()) for a, b in zip(plain, seen, strict=True)),
        "hash": wrapped.hash == model.hash,
        **{share: Run(wrapped, RUNS["batchtopk"], folder / f"fsdp-{share}", share).curve for share in BOTH},
    }


def main(folder):
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    model = tiny_model()
    (folder / "file").touch()
    found = references(model, rank, folder)
    with joined_processes() as (rank, _):
        together(model, folder, found)
        interrupted(model, folder, rank, found)
        found["refused"] = refusals(model, folder)
        sharded_model(model, folder, found)
        dist.barrier()
    if rank == 0:
        for share in BOTH:
            run = Run(model, RUNS["batchtopk"], folder / f"{share}-goes-on-alone")
            found[f"{share}_parts"]["goes_on_alone"] = run.curve
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
