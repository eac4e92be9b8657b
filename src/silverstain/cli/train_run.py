"""One run of `silverstain train`, from what was asked for to the figures at its end."""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.cli.options import ModelOptions, load_model_alone
from silverstain.cli.text_options import TextOptions
from silverstain.cli.train_figures import measure, tell_figures
from silverstain.cli.train_material import Material, read_material, tell_amount
from silverstain.cli.train_processes import Share
from silverstain.cli.train_progress import training_progress
from silverstain.cli.train_start import Beginning, beginning_from
from silverstain.errors import OutOfMemory
from silverstain.parts import only_run_in, sweep_parts

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.models import LanguageModel
    from silverstain.training import TrainingConfig

EVALUATIONS = 20
WATCHED_GRAPHS = 2
"""Traced at every fifth evaluation and the last: a trace may take as long as a hundred steps."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `silverstain train` was asked for.

    Attributes:
        out: The folder of the run.
        text, loading: Where the text and the model come from.
        kind: Of the dictionary, several for a sweep; None for the one that fits.
        chosen, settings: What the configuration is given by options and by `--set`.
        tokens, graphs: How many held-out tokens and graphs the figures at the end are of.
        watch_every, wandb: How often it is evaluated meanwhile, and where that goes besides the folder.
        start: A dictionary to go on from.
        sweep: Sparsities to train one dictionary each of.
    """

    out: Path
    text: TextOptions
    loading: ModelOptions
    kind: str | None
    chosen: dict[str, Any]
    settings: Sequence[str]
    tokens: int
    graphs: int
    watch_every: int | None
    wandb: str | None
    cache: Path | None
    start: str | None
    sweep: str | None
    share: Share
    dry_run: bool
    json: bool


def run_training(asked: Training) -> None:
    """Train into the folder, unless that is done, and print how faithful the dictionary is."""
    from silverstain.training.runs import read_setting
    from silverstain.training.sizes import default_config

    loading, share, out = asked.loading, asked.share, asked.out
    more = dict(read_setting(text) for text in asked.settings)
    share.check(sweep=asked.sweep)
    begun = Beginning() if asked.start is None else beginning_from(asked.start, loading, asked.kind, asked.sweep)
    host = begun.host or (_outline(loading) if asked.dry_run else load_model_alone(loading))
    given = {"threads": loading.threads or _threads(), **begun.over(asked.chosen), **more}
    kind = begun.kind or asked.kind
    if asked.dry_run:
        if share.is_first:
            first = kind.split(",")[0] if kind else None
            config = default_config(host, _kind(host, first, given, out, loading.device), **given)
            tell_dry_run(host, config, asked.text, loading.device, json=asked.json)
        return
    config = None
    if asked.sweep is None:
        config = default_config(host, _kind(host, kind, given, out, loading.device, share), **given)
        check_pool(host, config, loading.device)
    with ExitStack() as held:
        share.on_first(lambda: held.enter_context(only_run_in(out, "training")) and None)
        if config is None:
            _sweep(asked, host, kind or "clt", given)
        else:
            _run(asked, host, config, begun.dictionary)


def _run(asked: Training, host: "LanguageModel", config: "TrainingConfig", start: "Dictionary | None") -> None:
    from silverstain.training.runs import begin_run

    out, share = asked.out, asked.share
    material = read_material(host, asked.text, asked.tokens, asked.graphs, seed=config.seed)
    if start is not None:
        material = replace(material, about=material.about | {"start": start.hash})
    if share.is_first:
        tell_amount(host, material, config)
    rates: dict[str, float | None] = {"tokens_per_second": None, "matrix_share": None}
    if not share.on_first(lambda: begin_run(out, material.about, config)):
        rates = _train(asked, host, material, config, start)
    elif share.is_first:
        output.talk(f"{out} holds this dictionary already; it is measured again")
        sweep_parts(out.absolute().parent)  # a run killed as the dictionary took its place leaves what was there before
        _draw_missing(out)
    if not share.is_first:
        return
    found = measure(host, material, config, out, quiet=asked.json)
    found |= rates
    if asked.json:
        output.emit(found)
    else:
        tell_figures(found, asked.loading.model, out)


def _sweep(asked: Training, host: "LanguageModel", kinds: str, given: dict[str, Any]) -> None:
    """A dictionary for each sparsity, all on the same batches."""
    from silverstain.cli.train_sweep import read_sparsities, run_sweep

    values, seed = read_sparsities(asked.sweep or ""), given["seed"]
    material = read_material(host, asked.text, asked.tokens, asked.graphs, seed=seed)
    run_sweep(
        host, asked.out, values, kinds, given, lambda: read_material(host, asked.text, 1, 0, seed=seed).training,
        material.held_out, data=material.about, prompts=material.prompts, json=asked.json,
    )  # fmt: skip


def _outline(loading: ModelOptions) -> "LanguageModel":
    """The model's shapes: an organism is small and simply loaded, of others the weights are left alone."""
    if loading.model.split("/")[0] == "organism":
        return load_model_alone(loading)
    import torch

    from silverstain.models.loading import load_outline

    return load_outline(loading.model, dtype=getattr(torch, loading.dtype))


def _kind(
    host: "LanguageModel", kind: str | None, given: dict[str, Any], out: Path, device: str, share: Share | None = None
) -> str:
    """The kind to train: as given, as the folder's run has it, or the one that fits the memory."""
    from silverstain.training.planning import fits, memory_of, plan_training
    from silverstain.training.runs import kind_of_run
    from silverstain.training.sizes import default_config

    if kind is not None:
        return kind
    noted = kind_of_run(out)
    if noted is not None or (share is not None and share.n_processes > 1):
        return noted or "clt"
    plan = plan_training(host, default_config(host, "clt", **given), probe=False)
    if fits(plan, host, device):
        return "clt"
    output.talk(
        f"kind clt would take {output.size(plan.bytes)} above the model, and there is {output.size(memory_of(device))} "
        "of memory; --kind plt is taken"
    )
    return "plt"


def check_pool(host: "LanguageModel", config: "TrainingConfig", device: str) -> None:
    """OutOfMemory where the pool of activations alone is larger than the memory."""
    from silverstain.training.planning import memory_of

    room, a_row = memory_of(device), 2 * host.n_layers * host.d_model * host.dtype.itemsize
    if config.pool_rows * a_row > room:
        raise OutOfMemory(
            f"a pool of {config.pool_rows:,} tokens takes {output.size(config.pool_rows * a_row)}, and there is "
            f"{output.size(room)} of memory; give --set pool_rows={max(room // (4 * a_row), 1)} or less"
        )


def _draw_missing(out: Path) -> None:
    """The pictures of a run that was killed after its last step, before they were all drawn: those that are missing, or
    older than the record."""
    from silverstain.evaluation.plots import PLOTS, can_draw, draw_run, pictures_of
    from silverstain.evaluation.run_metrics import FILE, read_metrics

    if not (out / FILE).exists() or not can_draw():
        return
    records = read_metrics(out / FILE)
    pictures = [out / PLOTS / name for name in pictures_of(records)]
    written = (out / FILE).stat().st_mtime_ns
    if records and not all(path.exists() and path.stat().st_mtime_ns >= written for path in pictures):
        draw_run(records, out / PLOTS)
    elif (out / PLOTS).is_dir():
        sweep_parts(out / PLOTS)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


# the run


def _train(
    asked: Training, host: "LanguageModel", material: Material, config: "TrainingConfig", start: "Dictionary | None"
) -> dict[str, float | None]:
    """Train, and how fast that was. Of several processes the first one talks and writes."""
    from silverstain.evaluation.watching import Watch, WatchSettings
    from silverstain.training import train_dictionary
    from silverstain.training.cache import ActivationCache
    from silverstain.training.checkpoint import FILE

    out, share, quiet = asked.out, asked.share, asked.json
    every, n_graphs = (
        asked.watch_every or max(1, config.n_steps // EVALUATIONS),
        min(WATCHED_GRAPHS, len(material.prompts)),
    )
    settings = WatchSettings(every=every, graphs=n_graphs, wandb=asked.wandb)
    if not share.is_first:
        settings, quiet = WatchSettings(every=settings.every, tensorboard=False), True
    with (
        output.kept_after_interruption(
            out / FILE if share.is_first else None, f"The run is saved in {out}; the same command goes on from there"
        ),
        share.folder(out) as noted,
        ActivationCache(asked.cache, host) if asked.cache is not None else nullcontext() as kept,
        training_progress(config.rows, quiet=quiet) as progress,
        Watch(
            host, material.watched(), noted, settings, prompts=material.prompts, on_evaluation=progress.evaluated
        ) as watch,
    ):
        if kept is not None:
            kept.check_room(config.harvests_at(config.steps - 1) * config.pool_rows // config.pool_parts)
        observe = progress.untimed(watch) if share.observes else None
        train_dictionary(
            host, material.training, config, out, progress, observe=observe, cache=kept, shard=share.shard, start=start
        )
    return {"tokens_per_second": progress.tokens_per_second, "matrix_share": progress.matrix_share}


def tell_dry_run(
    host: "LanguageModel", config: "TrainingConfig", options: TextOptions, device: str, *, json: bool
) -> None:
    """What training would take: the counts at once, then the time that trying a step tells."""
    from silverstain.cli.plans import tell_training_plan, tell_training_time
    from silverstain.training.planning import fits, memory_of, plan_training

    tokens = options.batch * options.context_of(host) if options.batch else None
    if not json:
        plan = plan_training(host, config, tokens_a_batch=tokens, probe=False)
        tell_training_plan(plan, kind=config.kind)
        if not fits(plan, host, device):
            output.talk(f"This is more than fits into the {output.size(memory_of(device))} of memory there are.")
    tell_training_time(plan_training(host, config, tokens_a_batch=tokens), kind=config.kind, json=json)
