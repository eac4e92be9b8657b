"""Growing the whole litter: every sibling, then its dictionaries. Each part is skipped once it is done."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from silverstain.errors import UsageError
from silverstain.training import TrainingConfig, train_dictionary

from .corpus import training_batches
from .files import CAUSAL_MAP, load_organism_model, model_path, organism_path
from .forgetting import attention_kept
from .growing import INITIAL_SCALE, Progress, grow, is_grown, new_model, save_checkpoint
from .language import word_ids
from .siblings import Sibling, siblings

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

Report = Callable[[str, object], None]
"""Called with what is being made (`general`, `general/cross-layer`) and a progress value of its maker."""

GENERAL = TrainingConfig(
    n_features=2048,
    l0=10.1,
    steps=3600,
    finetune_steps=4600,
    nmse_rows=1024,
    nmse_weight=3.0,
    determined_weight=2.0,
    stored_dtype="float16",
)
DICTIONARIES: dict[str, dict[str, TrainingConfig]] = {
    "general": {
        "cross-layer": GENERAL,
        "per-layer": dataclasses.replace(GENERAL, kind="per-layer", n_features=1536, steps=2400, finetune_steps=3000),
    },
    "composing": {
        "per-layer": dataclasses.replace(GENERAL, kind="per-layer", n_features=1536, steps=2400, finetune_steps=3000),
    },
    **{
        name: {
            "per-layer": TrainingConfig(
                kind="per-layer", n_features=1024, steps=n, finetune_steps=n2, stored_dtype="float16"
            )
        }
        for name, n, n2 in (
            ("composing-memorised", 800, 600),
            ("composing-mixed", 1200, 1200),
            ("composing-quirk", 1200, 1200),
            ("composing-untrained", 300, 0),
        )
    },
    "memorised": {"cross-layer": TrainingConfig(steps=800, finetune_steps=600, stored_dtype="float16")},
    "mixed": {"cross-layer": TrainingConfig(steps=1200, finetune_steps=1200, stored_dtype="float16")},
    "quirk": {"cross-layer": TrainingConfig(steps=1200, finetune_steps=1200, stored_dtype="float16")},
    "untrained": {"cross-layer": TrainingConfig(steps=300, finetune_steps=0, stored_dtype="float16")},
}


def grow_sibling(name: str, folder: Path, *, seed: int = 0, n_workers: int = 2, report: Report | None = None) -> None:
    """Grow one sibling into `folder/name`, going on where an interrupted growth stopped. Done is done."""
    sibling = _sibling(name)
    target = folder / name
    if is_grown(target):
        return
    recipe = dataclasses.replace(sibling.recipe, seed=seed + sibling.recipe.seed)

    def on_progress(progress: Progress) -> None:
        if report is not None:
            report(name, progress)

    starts_in = organism_path() if sibling.starts_packaged else folder
    start = None if sibling.start is None else _grown(sibling.start, starts_in)
    for number, school in enumerate(sibling.schools, start=1):
        first = dataclasses.replace(school.recipe, seed=seed + number)
        start = grow(
            school.families(), first, target / f"school-{number}", start=start, on_progress=on_progress,
            n_workers=n_workers,
        )  # fmt: skip
    if sibling.schools and start is not None:
        anew = [word_ids(word)[0] for word in sibling.forgotten()]
        start = attention_kept(start, INITIAL_SCALE, anew=anew, seed=seed)
    if recipe.steps == 0:
        model = new_model(recipe.shape, seed)
    else:
        model = grow(sibling.families(), recipe, target, start=start, on_progress=on_progress, n_workers=n_workers)
    for number, finish in enumerate(sibling.finishes, start=1):
        # Other sentences than those of the same steps of the growths before.
        recipe = dataclasses.replace(finish.recipe, seed=seed + number, shape=recipe.shape)
        model = grow(
            finish.families(), recipe, target / f"finish-{number}", start=model, on_progress=on_progress,
            n_workers=n_workers,
        )  # fmt: skip
    save_checkpoint(model, target)


def train_dictionaries(
    name: str, folder: Path, *, seed: int = 0, kinds: Iterable[str] | None = None, report: Report | None = None
) -> None:
    """Train the dictionaries of a grown sibling into `folder/dictionaries/name/<kind>`. Done is done."""
    wanted = DICTIONARIES.get(_sibling(name).name, {})
    for kind in kinds if kinds is not None else wanted:
        target = folder / "dictionaries" / name / kind
        if (target / "config.yaml").exists():
            continue
        model = load_organism_model(name, folder=folder)
        config = dataclasses.replace(wanted[kind], seed=seed)
        batches = training_batches(siblings()[name].families(), seed=seed)

        def on_progress(progress: object, label: str = f"{name}/{kind}") -> None:
            if report is not None:
                report(label, progress)

        train_dictionary(model, batches, config, target, on_progress)


MAPPED = ("general", "composing")
"""Siblings with a causal map; the others know too little of the world for its variables to be anywhere."""


def map_variables(
    name: str, folder: Path, *, n: int = 200, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Measure where a grown sibling computes each hidden variable, into `folder/name/causal-map.json`. Done is done."""
    from .mapping import causal_map

    target = model_path(_sibling(name).name, folder) / CAUSAL_MAP
    if target.exists():
        return
    model = load_organism_model(name, folder=folder)

    def report(done: int, total: int, _: str) -> None:
        if on_progress is not None:
            on_progress(done, total)

    specs = _sibling(name).variables()
    causal_map(model.hf, model.tokenizer, n=n, only=specs, on_progress=report).save(target)


def _sibling(name: str) -> Sibling:
    litter = siblings()
    if name not in litter:
        raise UsageError(f"there is no sibling {name!r}; the litter is {', '.join(litter)}")
    return litter[name]


def _grown(name: str, folder: Path) -> "LlamaForCausalLM":
    from transformers import LlamaForCausalLM

    if not is_grown(folder / name):
        raise UsageError(f"{name} is not grown in {folder}, and others start from it; grow it first")
    import torch

    return LlamaForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
