"""A watched run: what is recorded, that it goes on without doubles, and that watching changes nothing."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from tests.training.conftest import batches

from silverstain.errors import UsageError
from silverstain.evaluation import evaluate_dictionary, graph_scores, watching
from silverstain.evaluation.graph_scores import MOST_NODES, score_graphs, within_reach
from silverstain.evaluation.logs import has_tensorboard
from silverstain.evaluation.plots import can_draw
from silverstain.evaluation.run_metrics import FORMAT, Metrics, read_metrics
from silverstain.evaluation.watching import Watch, WatchSettings
from silverstain.training import TrainingConfig, train_dictionary

from .test_fidelity import some_batches

SHORT = TrainingConfig(
    n_features=32, l0=4, steps=12, rows=32, pool_rows=64, pool_epochs=2, warmup=2, reseed_every=3, finetune_steps=6,
    edited_share=0.5,
)  # fmt: skip
SETTINGS = WatchSettings(every=4, graphs=1, graphs_every=2, plots=False, tensorboard=False)


def test_a_watched_run_is_bit_identical_to_one_that_is_not(model, tmp_path):
    alone = train_dictionary(model, batches(1), SHORT, tmp_path / "alone")
    with Watch(model, some_batches(1, seed=5), tmp_path / "watched", SETTINGS) as watch:
        watched = train_dictionary(model, batches(1), SHORT, tmp_path / "watched", observe=watch)
    for layer in range(model.n_layers):
        for part in ("W_enc", "b_enc", "W_dec", "threshold"):
            assert torch.equal(getattr(alone, part)(layer), getattr(watched, part)(layer)), part
    assert torch.equal(alone.b_dec, watched.b_dec)


def test_what_is_recorded_is_the_fidelity_of_the_dictionary_that_is_saved(model, tmp_path):
    held_out = some_batches(1, seed=5)
    told = []
    with Watch(model, held_out, tmp_path, SETTINGS, on_evaluation=told.append) as watch:
        dictionary = train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert records == json.loads(json.dumps(watch.records))
    assert [r["step"] for r in records] == list(range(1, 19))
    assert [r["step"] for r in told] == [4, 8, 12, 16, 18]
    assert {r["phase"] for r in records} == {"reconstruct", "finetune"}
    last, fidelity = records[-1]["held_out"], evaluate_dictionary(model, dictionary, held_out)
    for name in ("nmse", "kl", "l0", "dead", "contributing", "ce_recovered", "affine_nmse"):
        assert last[name] == pytest.approx(getattr(fidelity, name), rel=1e-3, abs=1e-6), name
    assert last["nmse_ratio"] == pytest.approx(fidelity.nmse_ratio, rel=1e-3)
    assert "replacement" in last
    assert [("replacement" in r["held_out"]) for r in told] == [False, True, False, True, True]


def test_the_prompts_that_are_given_are_traced(model, tmp_path):
    held_out, prompts = some_batches(1, seed=5), [("a", [2, 4, 6]), ("a", [3, 5]), ("b", [7, 2, 9]), ("b", [3, 3])]
    settings = WatchSettings(every=18, graphs=2, plots=False, tensorboard=False)
    with Watch(model, held_out, tmp_path, settings, prompts=prompts) as watch:
        dictionary = train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    expected = score_graphs(model, dictionary, [prompts[0], prompts[2]])
    for name in ("replacement", "completeness"):
        assert watch.records[-1]["held_out"][name] == pytest.approx(getattr(expected, name), rel=1e-3), name


def test_a_graph_for_scores_is_cut_off_where_its_nodes_would_not_fit_and_words_are_left_alone():
    prompts = [("text", list(range(48))), ("text", [1, 2, 3]), ("said", "twelve words")]
    kept = within_reach(prompts, n_layers=30, l0=40.0)
    assert [len(prompt) for _, prompt in kept[:2]] == [MOST_NODES // 1200, 3]
    assert kept[2] == prompts[2]
    assert within_reach(prompts, n_layers=4, l0=10.0) == prompts
    assert len(within_reach(prompts, n_layers=80, l0=4000.0)[0][1]) == 2


def test_watching_traces_no_more_than_fits(model, tmp_path, monkeypatch):
    monkeypatch.setattr(graph_scores, "MOST_NODES", 1)
    traced = []
    monkeypatch.setattr(watching, "score_graphs", lambda *given: traced.append(given[2]) or score_graphs(*given))
    settings = WatchSettings(every=18, graphs=2, plots=False, tensorboard=False)
    prompts = [("a", [2, 4, 6]), ("a", [3, 5, 2])]
    with Watch(model, some_batches(1, seed=5), tmp_path, settings, prompts=prompts) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    assert [len(prompt) for _, prompt in traced[-1]] == [2, 2]


@pytest.mark.skipif(not has_tensorboard(), reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own, and its protobuf's
def test_the_event_file_holds_the_record_and_nothing_beyond_the_checkpoint(model, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = dataclasses.replace(SETTINGS, tensorboard=True)

    def stop_at_seven(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Watch(model, some_batches(1, seed=5), tmp_path, settings) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, stop_at_seven, observe=watch)
    with Watch(model, some_batches(1, seed=5), tmp_path, settings) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name, tag in (("loss", "loss"), ("kl", "kl")):
        seen = {event.step: event.value for event in events.Scalars(tag)}
        assert seen == pytest.approx({r["step"]: r[name] for r in watch.records if r[name] is not None}), name
    for name, tag in (("kl", "held_out/kl"), ("replacement", "held_out/replacement")):
        seen = {event.step: event.value for event in events.Scalars(tag)}
        held_out = {r["step"]: r["held_out"] for r in watch.records if "held_out" in r}
        assert seen == pytest.approx({step: found[name] for step, found in held_out.items() if name in found}), name
    assert "held_out/nmse_layers/layer_2" in events.Tags()["scalars"]


@pytest.mark.skipif(not can_draw(), reason="matplotlib is not installed")
def test_the_pictures_are_drawn(model, tmp_path):
    with Watch(model, some_batches(1, seed=5), tmp_path, WatchSettings(every=8, tensorboard=False)) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    for name in ("steps", "layers"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_full_disk_is_one_line_and_what_went_wrong_first_is_what_is_said(model, tmp_path, monkeypatch):
    class Full:
        def __init__(self, **_):
            pass

        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("silverstain.evaluation.logs.has_tensorboard", lambda: True)
    monkeypatch.setattr("silverstain.evaluation.logs.import_module", lambda _: SimpleNamespace(SummaryWriter=Full))
    settings = WatchSettings(every=4, plots=False, tensorboard=True)
    words = r"cannot write .*tensorboard: No space left on device; make room, and run again to resume"
    with pytest.raises(UsageError, match=words), Watch(model, some_batches(1), tmp_path, settings) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    watch = Watch(model, some_batches(1), tmp_path, settings)
    watch._logs = watch._open_logs(0)
    with pytest.raises(Stopped), watch:
        raise Stopped


class Stopped(Exception):
    pass


def test_a_killed_run_goes_on_without_doubled_steps(model, tmp_path):
    """The checkpoint is older than the record when a run is killed: what it repeats is recorded once."""
    held_out = some_batches(1, seed=5)
    with Watch(model, held_out, tmp_path / "whole", SETTINGS) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path / "whole", observe=watch)

    def stop_at(step, error):
        def on_progress(progress):
            if progress.step == step:
                raise error

        return on_progress

    for step, error in ((7, KeyboardInterrupt), (11, Stopped)):  # the second writes no checkpoint
        with pytest.raises(error), Watch(model, held_out, tmp_path / "cut", SETTINGS) as watch:
            train_dictionary(model, batches(1), SHORT, tmp_path / "cut", stop_at(step, error), observe=watch)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')  # killed in the middle of a line
    with Watch(model, held_out, tmp_path / "cut", SETTINGS) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path / "cut", observe=watch)
    whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    for record in whole + cut:
        record.pop("tokens_per_second")
        record.pop("matrix_share")
    assert cut == whole


def test_the_record_says_its_format_and_others_are_refused(tmp_path):
    metrics = Metrics(tmp_path, {"model": "tiny"})
    assert metrics.go_on_from(1) == []
    metrics.add({"step": 1, "loss": float("inf")})
    head, record = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert head == {"format": FORMAT, "model": "tiny"}
    assert record == {"step": 1, "loss": None}
    (tmp_path / "metrics.jsonl").write_text("step,loss\n1,2\n")
    with pytest.raises(UsageError, match=r"is not a silverstain\.metrics/1 file"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_other_logs_get_every_figure_by_name(model, tmp_path, monkeypatch):
    from silverstain.evaluation import logs

    said = {}

    class Run:
        def log(self, figures, step):
            said[step] = figures

        def finish(self):
            said["finished"] = True

    class Fake:
        @staticmethod
        def init(**_):
            return Run()

    monkeypatch.setattr(logs, "imported_wandb", lambda: Fake)
    settings = WatchSettings(every=18, plots=False, tensorboard=False, wandb="project")
    with Watch(model, some_batches(1, seed=5), tmp_path, settings) as watch:
        train_dictionary(model, batches(1), SHORT, tmp_path, observe=watch)
    assert said["finished"]
    assert {"loss", "l0/layer 2", "held_out/kl", "held_out/nmse_layers/layer 0"} <= said[18].keys()


def test_weights_and_biases_must_be_there_when_it_is_asked_for(model, tmp_path):
    with pytest.raises(UsageError, match="pip install wandb"):
        Watch(model, some_batches(1), tmp_path, WatchSettings(wandb="project"))


def test_senseless_settings_are_refused():
    with pytest.raises(UsageError, match="every and graphs_every of 1 or more"):
        WatchSettings(every=0)
