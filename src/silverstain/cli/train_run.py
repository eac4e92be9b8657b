"""One run of `silverstain train`: what it reads, how it is watched, and the figures at its end."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from silverstain.cli import output
from silverstain.cli.evaluate import traced_scores
from silverstain.cli.options import ModelOptions, load_model_alone
from silverstain.cli.text_options import TextOptions
from silverstain.cli.train_processes import Share
from silverstain.cli.train_progress import training_progress
from silverstain.cli.train_start import Beginning, beginning_from
from silverstain.errors import OutOfMemory
from silverstain.parts import only_run_in, sweep_parts
from silverstain.printable import printable

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.models import LanguageModel, TokenBatch
    from silverstain.training import TrainingConfig

WATCHED_TOKENS = 4096
"""Held-out tokens of the evaluations during a run; the figures at its end are of more."""
EVALUATIONS = 20
PASSED_OVER = 1.5
"""From so many passes over the text on, a person is told."""
WATCHED_GRAPHS = 2
"""Traced at every fifth evaluation and the last: a trace may take as long as a hundred steps."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run reads."""

    training: "Iterator[TokenBatch]"
    held_out: "list[TokenBatch]"
    prompts: list[tuple[str, Any]]
    about: dict[str, Any]
    """All that decides what is read, to compare with when a run is resumed."""
    name: str = ""
    """Of the text, as messages have it."""
    n_tokens: int | None = None
    """About how many there are to train on, if that is known before they are read."""

    def watched(self) -> "list[TokenBatch]":
        """A few of the held-out batches, evenly spaced."""
        wanted = max(1, round(len(self.held_out) * WATCHED_TOKENS / max(1, sum(b.n_tokens for b in self.held_out))))
        return self.held_out[:: max(1, len(self.held_out) // wanted)]


def run_training(
    out: Path,
    options: TextOptions,
    loading: ModelOptions,
    *,
    kind: str | None,
    chosen: dict[str, Any],
    settings: Sequence[str],
    figures: tuple[int, int],
    watching: tuple[int | None, str | None],
    cache: Path | None,
    start: str | None,
    sweep: str | None,
    share: Share,
    dry_run: bool,
    json: bool,
) -> None:
    """Train into `out`, unless that is done, and print how faithful the dictionary is."""
    from silverstain.training.runs import read_setting
    from silverstain.training.sizes import default_config

    more = dict(read_setting(text) for text in settings)
    share.check(sweep=sweep)
    begun = Beginning() if start is None else beginning_from(start, loading, kind, sweep)
    host = begun.host or (_outline(loading) if dry_run else load_model_alone(loading))
    given = {"threads": loading.threads or _threads(), **begun.over(chosen), **more}
    kind = begun.kind or kind
    if dry_run:
        if share.is_first:
            config = default_config(
                host, _kind(host, kind.split(",")[0] if kind else None, given, out, loading.device), **given
            )
            tell_dry_run(host, config, options, loading.device, json=json)
        return
    config = None
    if sweep is None:
        config = default_config(host, _kind(host, kind, given, out, loading.device, share), **given)
        check_pool(host, config, loading.device)
    with ExitStack() as held:
        share.on_first(lambda: held.enter_context(only_run_in(out, "training")) and None)
        if sweep is not None or config is None:
            _sweep(host, options, figures, out, sweep or "", kind or "clt", given, json=json)
            return
        _run(
            out,
            options,
            loading,
            host,
            config,
            figures=figures,
            watching=watching,
            cache=cache,
            start=begun.dictionary,
            share=share,
            json=json,
        )


def _run(
    out: Path,
    options: TextOptions,
    loading: ModelOptions,
    host: "LanguageModel",
    config: "TrainingConfig",
    *,
    figures: tuple[int, int],
    watching: tuple[int | None, str | None],
    cache: Path | None,
    start: "Dictionary | None",
    share: Share,
    json: bool,
) -> None:
    from silverstain.training.runs import begin_run

    material = read_material(host, options, *figures, seed=config.seed)
    if start is not None:
        material = replace(material, about=material.about | {"start": start.hash})
    if share.is_first:
        _tell_amount(host, material, config)
    rates: dict[str, float | None] = {"tokens_per_second": None, "matrix_share": None}
    if not share.on_first(lambda: begin_run(out, material.about, config)):
        rates = _train(host, material, config, out, watching, cache, start, share, quiet=json)
    elif share.is_first:
        output.talk(f"{out} holds this dictionary already; it is measured again")
        sweep_parts(out.absolute().parent)  # a run killed as the dictionary took its place leaves what was there before
        _draw_missing(out)
    if not share.is_first:
        return
    found = measure(host, material, config, out, quiet=json)
    found |= rates
    if json:
        output.emit(found)
    else:
        _tell(found, loading.model, out)


def _sweep(
    host: "LanguageModel", options: TextOptions, figures: tuple[int, int], out: Path, sparsities: str, kinds: str,
    given: dict[str, Any], *, json: bool,
) -> None:  # fmt: skip
    """A dictionary for each sparsity, all on the same batches."""
    from silverstain.cli.train_sweep import read_sparsities, run_sweep

    values, seed = read_sparsities(sparsities), given["seed"]
    material = read_material(host, options, *figures, seed=seed)
    run_sweep(
        host, out, values, kinds, given, lambda: read_material(host, options, 1, 0, seed=seed).training,
        material.held_out, data=material.about, prompts=material.prompts, json=json,
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


# what is read


def read_material(host: "LanguageModel", options: TextOptions, tokens: int, graphs: int, *, seed: int) -> Material:
    """The text, or the organism's own sentences."""
    about = {"model": host.name, "model_hash": host.hash}
    if not options.text:
        return _sentences(host, tokens, graphs, seed, about)
    from silverstain.evaluation.graph_scores import prompts_of
    from silverstain.training.text import check_script, check_understands

    source = options.batches(host, seed=seed)
    held_out = source.held_out(tokens)
    if options.check_text:
        check_script(source.spelling, held_out[0])
        check_understands(host, held_out[0])
    return Material(
        training=source.training(),
        held_out=held_out,
        prompts=list(prompts_of(held_out, graphs)),
        about=about | options.about(host, seed=seed),
        name=source.documents.name,
        n_tokens=source.n_tokens(held_out[0]),
    )


def _sentences(host: "LanguageModel", tokens: int, graphs: int, seed: int, about: dict[str, Any]) -> Material:
    from silverstain.organism.corpus import evaluation_batches, training_batches
    from silverstain.organism.prompts import graph_prompts
    from silverstain.organism.siblings import sibling_of

    sibling = sibling_of(host.name)
    assert sibling is not None  # `train` refuses other models without text
    families = sibling.families()
    n = max(2, tokens // (10 * len(families)))  # a sentence has some ten tokens
    prompts = list(graph_prompts(families, n=-(-graphs // len(families))))[: max(graphs, 0)] if graphs else []
    return Material(
        training=training_batches(families, seed=seed),
        held_out=evaluation_batches(families, n=n),
        prompts=prompts,
        about=about | {"text": None, "seed": seed},
    )


def _tell_amount(host: "LanguageModel", material: Material, config: "TrainingConfig") -> None:
    """Say so where a run asks for more text than there is."""
    from silverstain.training.planning import plan_training

    if material.n_tokens is None:
        return
    batch = next((held.token_ids.numel() for held in material.held_out), None)
    asked = plan_training(host, config, tokens_a_batch=batch, probe=False).harvested
    times = asked / max(1, material.n_tokens)
    if times >= PASSED_OVER:
        output.talk(
            f"{printable(material.name, 200)} has about {material.n_tokens:,} tokens to train on, and these settings "
            f"ask for {asked:,}: it is passed over {times:.0f} times; more text, or fewer --steps, would serve better"
        )


# the run


def _train(
    host: "LanguageModel", material: Material, config: "TrainingConfig", out: Path,
    watching: tuple[int | None, str | None], cache: Path | None, start: "Dictionary | None", share: Share, *,
    quiet: bool,
) -> dict[str, float | None]:  # fmt: skip
    """Train, and how fast that was. Of several processes the first one talks and writes."""
    from silverstain.evaluation.watching import Watch, WatchSettings
    from silverstain.training import train_dictionary
    from silverstain.training.cache import ActivationCache
    from silverstain.training.checkpoint import FILE

    every, wandb = watching
    n_graphs = min(WATCHED_GRAPHS, len(material.prompts))
    settings = WatchSettings(every=every or max(1, config.n_steps // EVALUATIONS), graphs=n_graphs, wandb=wandb)
    if not share.is_first:
        settings, quiet = WatchSettings(every=settings.every, tensorboard=False), True
    with (
        output.kept_after_interruption(
            out / FILE if share.is_first else None, f"The run is saved in {out}; the same command goes on from there"
        ),
        share.folder(out) as noted,
        ActivationCache(cache, host) if cache is not None else nullcontext() as kept,
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


# the figures


def measure(
    host: "LanguageModel", material: Material, config: "TrainingConfig", out: Path, *, quiet: bool
) -> dict[str, Any]:
    """How faithful the dictionary in `out` is on held-out text."""
    from silverstain.evaluation import evaluate_dictionary
    from silverstain.evaluation.remarks import remarks
    from silverstain.training.runs import open_trained

    dictionary = open_trained(out)
    fidelity = evaluate_dictionary(host, dictionary, material.held_out)
    traced = traced_scores(host, dictionary, material.prompts, quiet=quiet)
    return {
        "dictionary": str(out), "model": host.name, "kind": config.kind, "n_layers": host.n_layers,
        "n_features": config.n_features, "steps": config.n_steps, "held_out_tokens": fidelity.n_tokens,
        **{key: getattr(fidelity, key) for key in FIGURES}, "l0_layers": fidelity.l0_layers,
        "nmse_layers": fidelity.nmse_layers, "replacement": traced and traced.replacement,
        "completeness": traced and traced.completeness,
        "remarks": remarks(fidelity, d_model=host.d_model, d_vocab=host.d_vocab),
    }  # fmt: skip


def _tell(found: dict[str, Any], model: str, out: Path) -> None:
    output.data(output.table([[WORDS[key], _figure(found[key])] for key in WORDS if found.get(key) is not None]))
    for line in found["remarks"]:
        output.talk(line)
    if found["kind"] != "molt":
        output.talk(f'\nWrote {out}. Next: silverstain trace "…" --model {model} --dictionary {out}')


FIGURES = (
    "l0", "nmse", "affine_nmse", "nmse_ratio", "explained_variance", "dead", "kl", "top1_match", "ce_model",
    "ce_replaced", "ce_recovered",
)  # fmt: skip
WORDS = {
    "l0": "active features a token and layer",
    "nmse": "NMSE, mean over layers",
    "affine_nmse": "  of an affine map in place of each MLP",
    "explained_variance": "explained variance",
    "dead": "features active on none of the tokens",
    "kl": "KL, all MLPs replaced, nats a token",
    "top1_match": "same next token as the model",
    "ce_recovered": "cross-entropy recovered",
    "replacement": "replacement score",
    "completeness": "completeness score",
    "tokens_per_second": "tokens a second in training",
    "matrix_share": "share of this machine's rate of products",
}


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4f}"
