"""`silverstain train`: from text to a dictionary that traces, resumable, and one line for whatever is wrong."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.cli import main
from silverstain.cli.text_options import TrainingTextOptions
from silverstain.cli.train import CHECKPOINT
from silverstain.cli.train_progress import Meter
from silverstain.documents import read_json
from silverstain.models import load_model
from silverstain.parts import only_run_in
from silverstain.sealing import save_sealed
from silverstain.training import open_molt
from silverstain.training.checkpoint import FILE

WORDS = [f"w{n}" for n in range(60)]
SMALL = [
    "--features", "40", "--l0", "5", "--steps", "12", "--context", "16", "--batch", "8", "--tokens", "200",
    "--graphs", "2", "--held-out", "0.2", "--set", "finetune_steps=3", "--set", "rows=64", "--set", "pool_rows=256",
    "--no-check-text", "--threads", "1", "--watch-every", "10",
]  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a tokenizer of words."""
    folder = tmp_path_factory.mktemp("host")
    vocabulary = {word: place for place, word in enumerate(["<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, initializer_range=0.3, bos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "texts.jsonl"
    rng = np.random.default_rng(0)
    rows = [{"id": n, "text": " ".join(rng.choice(WORDS, 20))} for n in range(120)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def train(host: Path, text: Path, out: Path, *more: str) -> int:
    return main(["train", "--model", str(host), "--text", str(text), "--out", str(out), *SMALL, *more])


def hash_of(folder: Path) -> str:
    return read_json(folder / "silverstain.json")["hash"]


@pytest.mark.parametrize(
    ("kind", "more"), [("clt", []), ("plt", ["--skip"]), ("molt", ["--features", "8", "--l0", "2"])]
)
def test_every_kind_is_trained_and_measured(host, text, tmp_path, capsys, kind, more):
    assert train(host, text, tmp_path / "out", "--kind", kind, "--json", *more) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    promised = (
        "l0", "nmse", "explained_variance", "dead", "kl", "top1_match", "ce_recovered", "replacement", "completeness",
        "tokens_per_second",
        "matrix_share",
    )  # fmt: skip
    assert set(promised) <= set(found)
    assert found["nmse"] == pytest.approx(1 - found["explained_variance"])
    assert 0 < found["held_out_tokens"] <= 2 * 200
    assert found["tokens_per_second"] > 0
    assert found["matrix_share"] > 0
    assert (found["replacement"] is None) == (kind == "molt")
    assert (tmp_path / "out" / "metrics.jsonl").exists()


def test_what_was_trained_can_be_evaluated_and_traced(host, text, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(host, text, out) == 0
    printed = capsys.readouterr()
    assert "NMSE, mean over layers" in printed.out
    assert "tokens/s" in printed.err
    assert "left" in printed.err
    common = ["--model", str(host), "--json"]
    assert main(["evaluate", str(out), "--text", str(text), "--held-out", "0.2", "--graphs", "1", *common]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert main(["trace", "w3 w5 w8 w2", "--dictionary", str(out), *common]) == 0
    graph = json.loads(capsys.readouterr().out)
    assert graph["exactness"]["max_relative_error"] < 1e-4
    assert evaluated["dictionary_hash"] == hash_of(out)


def test_a_mixture_of_transforms_is_evaluated_and_not_traced(host, text, tmp_path, capsys):
    out = tmp_path / "molt"
    assert train(host, text, out, "--kind", "molt", "--features", "8", "--l0", "2") == 0
    line = ["evaluate", str(out), "--text", str(text), "--held-out", "0.2", "--context", "16"]
    capsys.readouterr()
    assert main([*line, "--model", str(host), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dictionary_hash"] == open_molt(out).hash
    assert len(found["kl_layers"]) == 2
    assert found["replacement"] is None
    assert main([*line, "--model", str(host)]) == 0
    assert "molt (mixture, 8 linear transforms in each of 2 layers)" in capsys.readouterr().out
    assert main(line) == 2
    assert "the dictionary molt is for 2 layers of width 16, organism/general has 4 of width 128" in said(capsys)
    assert main(["trace", "w3 w5", "--dictionary", str(out), "--model", str(host)]) == 2
    assert "has no features that could be traced; `silverstain evaluate` measures it" in said(capsys)


def said(capsys) -> str:
    """What went to stderr: one line."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_same_weights(host, text, tmp_path, capsys, monkeypatch):
    assert train(host, text, tmp_path / "whole") == 0
    step_of = Meter.__call__

    def interrupted(self, progress):
        step_of(self, progress)
        if progress.step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Meter, "__call__", interrupted)
        assert train(host, text, tmp_path / "parts") == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert train(host, text, tmp_path / "parts", "--context", "8") == 2
    assert "holds an unfinished run with other settings (context was 16 and is 8)" in capsys.readouterr().err
    assert train(host, text, tmp_path / "parts") == 0
    assert hash_of(tmp_path / "parts") == hash_of(tmp_path / "whole")
    steps = [json.loads(line).get("step") for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert steps[1:] == sorted(set(steps[1:]))
    capsys.readouterr()
    monkeypatch.setattr("silverstain.training.train_dictionary", lambda *_, **__: pytest.fail("trained again"))
    assert train(host, text, tmp_path / "parts", "--json") == 0
    printed = capsys.readouterr()
    assert "holds this dictionary already; it is measured again" in printed.err
    assert json.loads(printed.out)["tokens_per_second"] is None
    assert train(host, text, tmp_path / "parts", "--l0", "4") == 2
    assert "holds a dictionary trained with other settings (l0 was 5.0 and is 4.0)" in capsys.readouterr().err


def test_a_dictionary_is_tuned_and_mistakes_are_one_line(host, text, tmp_path, capsys):
    assert train(host, text, tmp_path / "first", "--kind", "plt", "--skip") == 0
    begun = ["--start", str(tmp_path / "first")]
    small = [part for part in SMALL if part not in ("--features", "40", "--steps", "12")]

    def tune(out, *more):
        return main(["train", "--model", str(host), "--text", str(text), "--out", str(tmp_path / out), *small, *more])

    capsys.readouterr()
    assert tune("tuned", *begun, "--features", "30", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["n_features"], found["steps"]) == ("per-layer", 30, 3)
    assert tune("tuned", *begun, "--features", "30", "--json") == 0  # done already: measured again
    assert json.loads(capsys.readouterr().out)["kl"] == found["kl"]
    for more, words in (
        (["--features", "41"], "has 40 features a layer, and --features is 41"),
        (["--kind", "clt"], "is per-layer, and --kind is clt"),
        (["--steps", "5"], "there is no phase of reconstruction"),
        (["--sweep", "4,5"], "give --start or --sweep"),
    ):
        assert tune("mistake", *begun, *more) == 2
        assert words in capsys.readouterr().err


def test_a_cache_serves_the_next_dictionary(host, text, tmp_path, capsys, monkeypatch):
    kept = str(tmp_path / "kept")
    assert train(host, text, tmp_path / "first", "--cache", kept) == 0
    monkeypatch.setattr("silverstain.training.cache.harvest_rows", lambda *_: pytest.fail("the model was run"))
    assert train(host, text, tmp_path / "second", "--cache", kept, "--seed", "0") == 0
    assert hash_of(tmp_path / "first") == hash_of(tmp_path / "second")
    capsys.readouterr()
    assert train(host, text, tmp_path / "third", "--cache", kept, "--seed", "1") == 2
    assert "holds the activations of other text at batch 0" in capsys.readouterr().err


def tiny(folder: Path) -> Path:
    path = folder / "tiny.txt"
    path.write_text("w1 w2 w3")
    return path


def empty(folder: Path) -> Path:
    (folder / "empty.txt").touch()
    return folder / "empty.txt"


@pytest.mark.parametrize(
    ("make", "more", "words"),
    [
        (tiny, [], "tiny.txt falls into the held-out 20 %; give more text"),
        (empty, [], "empty.txt; give a file or a folder that has some"),
        (lambda folder: folder / "nothing.txt", [], "there is no file"),
        (None, ["--check-text"], "finds this text no likelier than chance"),
        (None, ["--kind", "sae"], "there is no kind 'sae'; the kinds are clt, plt, molt"),
        (None, ["--dtype", "float16"], "--dtype is 'float16'; give float32 or float64"),
        (None, ["--device", "cuda:77"], "--device is 'cuda:77', which cannot be used here"),
        (None, ["--set", "pool_epoch=2"], "there is no training setting 'pool_epoch'; did you mean pool_epochs?"),
        (None, ["--set", "rows=many"], "the setting rows is a whole number, got 'many'"),
        (None, ["--l0", "99"], "l0 is 99.0 but there are 40 features a layer; lower l0"),
        (None, ["--field", "body"], "has no field 'body'; its fields are id, text"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(host, text, tmp_path, capsys, make, more, words):
    source = text if make is None else make(tmp_path)
    assert train(host, source, tmp_path / "out", *more) == 2
    assert words in said(capsys)
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_a_run_that_asks_for_more_than_there_is_says_so(host, text, tmp_path, capsys):
    assert train(host, text, tmp_path / "out", "--steps", "100", "--set", "pool_epochs=1") == 0
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if "tokens to train on" in line]
    assert "texts.jsonl has about" in line
    assert "these settings ask for" in line
    assert "it is passed over" in line


def test_text_that_was_fetched_goes_by_its_name(host, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SILVERSTAIN_CACHE", str(tmp_path / "cache"))
    assert main(["train", "--model", str(host), "--text", "@brown", "--out", str(tmp_path / "out")]) == 2
    assert "the text brown is not there yet" in capsys.readouterr().err
    folder = tmp_path / "cache" / "text"
    folder.mkdir(parents=True)
    for name, digest in {"brown": "0" * 64, "austen": "1" * 64}.items():
        (folder / f"{name}.jsonl").write_bytes(text.read_bytes())
        about = {"format": "silverstain-text", "format_version": 1, "bytes": text.stat().st_size, "sha256": digest}
        (folder / f"{name}.json").write_text(json.dumps(about))
    options = TrainingTextOptions(text=["@training"])
    assert options.sources == [str(folder / "brown.jsonl")]
    assert TrainingTextOptions(text=["@held-out", "a.txt"]).sources == [str(folder / "austen.jsonl"), "a.txt"]
    assert options.about(load_model(host), seed=0)["packages"] == {"brown": "0" * 64}
    assert train(host, Path("@training"), tmp_path / "out") == 0
    capsys.readouterr()
    about = json.loads((folder / "brown.json").read_text()) | {"sha256": "2" * 64}
    (folder / "brown.json").write_text(json.dumps(about))  # another version of the package
    assert train(host, Path("@training"), tmp_path / "out") == 2
    assert "packages" in capsys.readouterr().err


def test_a_model_without_text_is_a_mistake(host, tmp_path, capsys):
    assert main(["train", "--model", str(host), "--out", str(tmp_path / "out")]) == 2
    assert "needs text; give --text FILE, a folder of files, or hf://NAME" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(host, text, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("model_name: other")
    assert train(host, text, tmp_path) == 2
    assert "holds a dictionary or a run of something else; give another folder with --out" in capsys.readouterr().err
    assert (tmp_path / "config.yaml").read_text() == "model_name: other"


def test_pictures_that_were_not_drawn_are_drawn_by_the_same_command(host, text, tmp_path, capsys):
    """A run killed after its last step leaves a dictionary, a record, and parts of files."""
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert train(host, text, out) == 0
    drawn = sorted(path.name for path in (out / "plots").iterdir())
    shutil.rmtree(out / "plots")
    (out / ".silverstain-abcdefgh.part").mkdir()
    assert train(host, text, out) == 0
    assert sorted(path.name for path in (out / "plots").iterdir()) == drawn
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    for name in drawn:  # killed between two pictures, or before any was drawn anew after an interruption
        os.utime(out / "plots" / name, (0, 0))
        (out / "plots" / "layers.png").unlink(missing_ok=name == "layers.png")
        (out / "plots" / ".silverstain-abcdefgh.part").mkdir()
        assert train(host, text, out) == 0
        assert sorted(path.name for path in (out / "plots").iterdir()) == drawn
        assert all(path.stat().st_mtime > 0 for path in (out / "plots").iterdir())


def test_a_second_run_in_the_same_folder_is_told(host, text, tmp_path, capsys):
    out = tmp_path / "out"
    with only_run_in(out, "training"):
        assert train(host, text, out) == 2
        assert out.is_dir()
    assert "another training is running in" in said(capsys)
    assert not out.exists()


def test_a_refused_run_leaves_no_folder(host, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("a b")
    assert train(host, tmp_path / "short.txt", tmp_path / "runs" / "out") == 2
    assert "falls into the held-out" in said(capsys)
    assert not (tmp_path / "runs").exists()


def test_a_damaged_checkpoint_is_said_before_anything_is_loaded(host, text, tmp_path, capsys, monkeypatch):
    save_sealed(tmp_path / CHECKPOINT, {"a": torch.zeros(2)}, {"silverstain": "{}"})
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[:-1] + b"\1")
    monkeypatch.setattr("silverstain.cli.train_run.load_model_alone", lambda *_: pytest.fail("the model was loaded"))
    assert train(host, text, tmp_path) == 2
    assert "checkpoint.safetensors: it does not have the checksum" in said(capsys)
    assert CHECKPOINT == FILE


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "rows=0"], "rows is between 1 and 2,147,483,647, got 0"),
        (["--set", "kind=molt"], "kind is no setting but an option; give --kind clt, plt or molt"),
        (["--set", "pool_rows=99999999999999"], "pool_rows is at most 2,147,483,647, got 1e+14"),
        (["--steps", "9" * 20], "'--steps': Input should be less than or equal to 2147483647"),
        (["--features", "9" * 20], "'--features': Input should be less than or equal to 2147483647"),
        (["--features", "0"], "'--features': Input should be greater than or equal to 1"),
        (["--seed", "9" * 20], "'--seed': Input should be less than or equal to 2147483647"),
        (["--tokens", "9" * 20], "less than or equal to 10000000"),
        (["--graphs", "9" * 20], "less than or equal to 10000"),
        (["--set", "threads=100000"], "threads is at most 1024, got 1e+05"),
        (["--set", "steps=" + "9" * 5000], "the setting steps is a whole number"),
    ],
)
def test_numbers_are_bounded(host, text, tmp_path, capsys, more, words):
    assert train(host, text, tmp_path / "out", *more) == 2
    assert words in said(capsys)
    assert not (tmp_path / "out").exists()


def test_a_pool_larger_than_the_memory_is_refused(host, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("silverstain.training.planning.memory_of", lambda device="cpu": 1 << 20)
    assert train(host, text, tmp_path / "out", "--kind", "plt", "--set", "pool_rows=64000") == 4
    assert "a pool of 64,000 tokens takes 16.4 MB, and there is 1.0 MB of memory; give --set pool_rows=1024" in said(
        capsys
    )


def test_a_dry_run_takes_the_kind_that_fits_and_reads_no_weights(host, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("silverstain.cli.train_run.load_model_alone", lambda *_: pytest.fail("the model was loaded"))
    assert train(host, text, tmp_path / "out", "--dry-run", "--json") == 0
    cross = json.loads(capsys.readouterr().out)
    assert cross["kind"] == "cross-layer"
    assert cross["seconds"] > 0
    monkeypatch.setattr("silverstain.training.planning.memory_of", lambda device="cpu": cross["bytes"])
    assert train(host, text, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr()
    assert "--kind plt is taken" in printed.err
    assert "per-layer," in printed.out
    assert printed.out.index("parameters") < printed.out.index("time")
    assert train(host, tmp_path / "nope.txt", tmp_path / "out", "--dry-run") == 2
    assert "there is no file or folder" in said(capsys)
    assert not (tmp_path / "out").exists()
