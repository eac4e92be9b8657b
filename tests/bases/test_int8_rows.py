"""Int8 rows with a scale each: what is read is number times scale to the bit, by row, and damage is one line."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.bases.conftest import build
from tests.bases.published import Draw, circuit_tracer, write
from tests.bases.test_bad_files import edit_tensors
from tests.bases.test_files import same
from tests.bases.test_laziness import resident
from tests.training.conftest import batches, tiny_model

from silverstain.attribution import trace
from silverstain.bases import Dictionary, check_fits, open_dictionary, save_dictionary
from silverstain.bases import storage as storage_module
from silverstain.bases.formats import native
from silverstain.bases.int8_rows import LARGEST, SMALLEST, Int8Rows, lazy_rows, multiplied_out, rounded
from silverstain.bases.lazy import Lazy
from silverstain.cli import main
from silverstain.errors import UsageError
from silverstain.evaluation import evaluate
from silverstain.interventions import intervene, parse_edit
from silverstain.treatment import Rule, treated, treatment_for

WEIGHTS = ("W_enc", "W_dec")


def in_memory(dictionary: Dictionary) -> Dictionary:
    """The same values as plain float32 tensors."""
    layers = range(dictionary.n_layers)
    thresholds, skips = [[of(i) for i in layers] for of in (dictionary.threshold, dictionary.W_skip)]
    decoders = [dictionary.W_dec(i) if dictionary.is_cross_layer else dictionary.W_dec(i)[:, 0] for i in layers]
    return Dictionary.from_tensors(
        W_enc=[dictionary.W_enc(i).clone() for i in layers],
        b_enc=[dictionary.b_enc(i).clone() for i in layers],
        W_dec=[decoder.clone() for decoder in decoders],
        b_dec=dictionary.b_dec,
        threshold=None if thresholds[0] is None else thresholds,
        W_skip=None if skips[0] is None else skips,
        name=dictionary.name,
        model_hash=dictionary.model_hash,
    )


def stored(folder: Path, key: str, layer: int = 0) -> Int8Rows:
    """A tensor's numbers and scales as they stand in the files."""
    tensors = {name: t for file in folder.glob(f"*_{layer}.safetensors") for name, t in load_file(file).items()}
    name = key if key in ("W_enc", "W_dec", "W_skip") and f"{key}.int8" in tensors else f"{key}_{layer}"
    return Int8Rows(tensors[f"{name}.int8"], tensors[f"{name}.scale"])


# rounding


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31), exponent=st.integers(-149, 120), n_rows=st.integers(0, 4), d=st.integers(1, 5),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)  # fmt: skip
def test_every_value_is_within_half_a_step_and_rounding_again_changes_nothing(seed, exponent, n_rows, d, dtype):
    values = (Draw(seed)(n_rows, d).double() * 2.0**exponent).to(dtype)
    values = values.nan_to_num(0, 0, 0)  # too large for float16
    rows = rounded(values)
    again = multiplied_out(rows)
    assert (rows.numbers.int().abs() <= LARGEST).all()
    exact = rows.numbers.double() * rows.scales.double().unsqueeze(-1)
    assert torch.equal(again.double(), exact)  # no rounding in what is read, wherever it is multiplied out
    assert ((again.double() - values.double()).abs() <= rows.scales.double().unsqueeze(-1) * 0.50001).all()
    twice = rounded(again)
    assert torch.equal(twice.numbers, rows.numbers)
    assert torch.equal(twice.scales, rows.scales)


def test_a_scale_is_the_largest_of_its_row_over_127_to_a_part_in_a_hundred_thousand():
    values = Draw(0)(50, 3, 7)
    scales = rounded(values).scales
    torch.testing.assert_close(scales, values.abs().amax(-1) / 127, rtol=1e-5, atol=0)


def test_rows_of_zeros_and_of_almost_zeros_are_zeros():
    rows = rounded(torch.tensor([[0.0, 0.0], [1e-44, -1e-45], [1.0, 0.0]]))
    assert rows.numbers.tolist() == [[0, 0], [0, 0], [127, 0]]
    assert rows.scales[:2].tolist() == [SMALLEST, SMALLEST]
    assert multiplied_out(rows).tolist()[:2] == [[0, 0], [0, 0]]


# files


def test_a_skip_whose_weights_are_of_very_different_sizes_loses_nothing_that_matters(tmp_path: Path):
    given = trained_like("per-layer")
    sizes = torch.logspace(-3, 4, 16)
    skips = [given.W_skip(layer) * sizes for layer in range(3)]  # inputs are as much smaller where weights are larger
    wide = replace_skips(given, skips)
    save_dictionary(wide, tmp_path, dtype=torch.int8)
    x = Draw(1)(20, 16) / sizes
    for layer in range(3):
        written, expected = x @ open_dictionary(tmp_path).W_skip(layer).T, x @ skips[layer].T
        assert float((written - expected).norm() / expected.norm()) < 4e-3
        rows = multiplied_out(rounded(skips[layer]))
        assert float((x @ rows.T - expected).norm() / expected.norm()) > 0.5  # as one scale a row would


def replace_skips(dictionary: Dictionary, skips: list[torch.Tensor]) -> Dictionary:
    layers = range(dictionary.n_layers)
    return Dictionary.from_tensors(
        W_enc=[dictionary.W_enc(i) for i in layers], b_enc=[dictionary.b_enc(i) for i in layers],
        W_dec=[dictionary.W_dec(i)[:, 0] for i in layers], b_dec=dictionary.b_dec, W_skip=skips,
    )  # fmt: skip


def test_what_is_read_is_number_times_scale_to_the_bit(dictionary: Dictionary, tmp_path: Path):
    save_dictionary(dictionary, tmp_path, dtype=torch.int8)
    opened = open_dictionary(tmp_path)
    assert (opened.stored_dtype, opened.dtype) == (torch.int8, torch.float32)
    for layer in range(opened.n_layers):
        seen = {"W_enc": opened.W_enc(layer), "W_dec": opened.W_dec(layer)}
        for key, tensor in seen.items():
            rows = stored(tmp_path, key, layer)
            expected = rows.numbers.float() * rows.scales[..., None]
            assert torch.equal(tensor.reshape(expected.shape), expected)
            assert len(rows.scales.reshape(-1)) == expected.numel() // opened.d_model
        assert torch.equal(opened.b_enc(layer), dictionary.b_enc(layer))  # biases and thresholds are not rounded
        if dictionary.threshold(layer) is not None:
            assert torch.equal(opened.threshold(layer), dictionary.threshold(layer))
    assert torch.equal(opened.b_dec, dictionary.b_dec)


def test_hash_and_behaviour_are_those_of_the_rounded_values(dictionary: Dictionary, tmp_path: Path, monkeypatch):
    written = save_dictionary(dictionary, tmp_path / "int8", dtype=torch.int8)
    opened = open_dictionary(tmp_path / "int8")
    assert opened.hash == written == in_memory(opened).hash
    same(opened, in_memory(opened))
    monkeypatch.setattr(storage_module, "CACHED_BYTES", 0)  # as for a large set
    same(open_dictionary(tmp_path / "int8"), in_memory(opened))
    as_floats = save_dictionary(opened, tmp_path / "float32", dtype=torch.float32)
    assert as_floats == written
    floats = open_dictionary(tmp_path / "float32")
    same(floats, opened)
    assert floats.stored_dtype == torch.float32
    assert "stored_as" not in floats.metadata
    assert "stored_as" not in (tmp_path / "float32" / "silverstain.json").read_text()
    (tmp_path / "int8" / "silverstain.json").unlink()
    assert open_dictionary(tmp_path / "int8").hash == written  # recorded and recomputed are the same


@pytest.mark.parametrize("times", ["once", "by way of float32"])
def test_storing_again_gives_the_same_bytes(dictionary: Dictionary, times: str, tmp_path: Path):
    save_dictionary(dictionary, tmp_path / "a", dtype=torch.int8)
    source = tmp_path / "a"
    if times != "once":
        save_dictionary(open_dictionary(source), tmp_path / "wide", dtype=torch.float32)
        source = tmp_path / "wide"
    save_dictionary(open_dictionary(source), tmp_path / "b", dtype=torch.int8)
    one, other = ({f.name: f.read_bytes() for f in (tmp_path / at).glob("*.safetensors")} for at in "ab")
    assert one == other
    assert len(one) >= 3


def test_circuit_tracer_and_readers_of_the_first_format_find_no_weights_to_mistake(
    dictionary: Dictionary, tmp_path: Path
):
    save_dictionary(dictionary, tmp_path, dtype=torch.int8)
    names = {name for file in tmp_path.glob("*.safetensors") for name in load_file(file)}
    assert not {name for name in names if name.rstrip("_012") in WEIGHTS}
    assert json.loads((tmp_path / "silverstain.json").read_text())["format"] == "silverstain.dictionary/2"
    said = yaml.safe_load((tmp_path / "config.yaml").read_text())["stored_as"]
    assert "circuit-tracer cannot read them" in said
    assert open_dictionary(tmp_path).metadata["stored_as"] == said


def test_a_set_written_by_another_program_is_read(tmp_path: Path):
    circuit_tracer(tmp_path, Draw(0), activation="jumprelu", has_skip=True)
    wanted = {}
    for i in range(3):
        file = tmp_path / f"layer_{i}.safetensors"
        tensors = load_file(file)
        wanted[i] = tensors.pop("W_enc")
        numbers, scales = torch.tensor([[-128, 127, 0, 3]] * 7, dtype=torch.int8), torch.rand(7) + 0.1
        wanted[i] = numbers.float() * scales[:, None]
        write(file, {**tensors, "W_enc.int8": numbers, "W_enc.scale": scales})
    opened = open_dictionary(tmp_path)
    assert all(torch.equal(opened.W_enc(i), wanted[i]) for i in range(3))
    assert opened.stored_dtype == torch.float32  # that of the decoder, in which the encoder is exact


# laziness


def test_only_the_rows_asked_for_are_read_however_small_the_set(dictionary: Dictionary, tmp_path: Path, monkeypatch):
    save_dictionary(dictionary, tmp_path, dtype=torch.int8)
    found: list[int] = []

    def counted(tensors: dict[str, torch.Tensor], name: str, where: str) -> Lazy:
        lazy = lazy_rows(tensors, name, where)

        def read(rows: torch.Tensor | None) -> torch.Tensor:
            found.append(-1 if rows is None else len(rows))
            return lazy.read(rows)

        return replace(lazy, read=read)

    monkeypatch.setattr(native, "lazy_rows", counted)
    opened = open_dictionary(tmp_path)
    opened.decoder_rows(0, torch.tensor([4, 1, 4]))
    opened.encoder_rows(0, torch.tensor([2]))
    assert found == [2, 1]
    opened.W_dec(0)
    opened.decoder_rows(0, torch.tensor([4, 1, 4]))
    assert found == [2, 1, -1]  # what is in memory already is not read again


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts resident memory as Linux shows it")
def test_rows_of_a_gigabyte_of_numbers_take_their_own_memory_alone(tmp_path: Path):
    n_features, d_model = 1 << 20, 1024
    (tmp_path / "config.yaml").write_text("model_kind: transcoder_set")
    sizes = {
        "W_enc.int8": ("I8", [n_features, d_model], 1), "W_dec.int8": ("I8", [n_features, d_model], 1),
        "b_enc": ("F32", [n_features], 4), "b_dec": ("F32", [d_model], 4),
        "W_enc.scale": ("F32", [n_features], 4), "W_dec.scale": ("F32", [n_features], 4),
    }  # fmt: skip
    header, end, starts = {}, 0, {}
    for name, (dtype, shape, width) in sizes.items():
        starts[name], size = end, width * torch.Size(shape).numel()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (tmp_path / "layer_0.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        os.truncate(file.fileno(), 8 + len(text) + end)
        file.seek(8 + len(text) + starts["W_enc.scale"])
        file.write(struct.pack("<f", 0.5) * 2 * n_features)
    before = resident(), resident("RssFile")
    dictionary = open_dictionary(tmp_path)
    features = torch.randint(n_features, (20,), generator=torch.Generator().manual_seed(0))
    assert dictionary.stored_dtype == torch.int8
    assert not dictionary.decoder_rows(0, features).any()
    assert not dictionary.encoder_rows(0, features).any()
    assert len(dictionary.hash) == 16  # of sampled rows
    assert resident() - before[0] < 50e6
    assert resident("RssFile") - before[1] < 100e6


# damage


def _without(name: str) -> Callable[[dict], object]:
    return lambda t: t.pop(name)


def _set(name: str, value: float) -> Callable[[dict], object]:
    return lambda t: t[name][3:4].fill_(value)


def _as_rows(name: str, scale: float) -> Callable[[dict], object]:
    """As int8 rows, with a scale."""

    def change(tensors: dict) -> None:
        shape = tensors.pop(name).shape
        tensors[f"{name}.int8"] = torch.ones(shape, dtype=torch.int8)
        tensors[f"{name}.scale"] = torch.full(shape[:-1], scale)

    return change


DAMAGE: dict[str, tuple[Callable[[dict], object], str]] = {
    "nan": (_set("W_enc.scale", float("nan")),
            "W_enc.scale in … is damaged: 1 of its values are not above 0 and finite, the first is nan; fetch the "
            "dictionary again, or convert it anew"),
    "infinite": (_set("W_dec.scale", float("inf")), "W_dec.scale in … is damaged: … the first is inf"),
    "negative": (_set("W_dec.scale", -0.5), "W_dec.scale in … is damaged: … the first is -0.5"),
    "negative, of a skip": (_as_rows("W_skip", -0.5), "W_skip.scale in … is damaged: … the first is -0.5"),
    "zero": (_set("W_enc.scale", 0), "W_enc.scale in … is damaged: … the first is 0"),
    "missing": (_without("W_enc.scale"),
                "has W_enc.int8 and no W_enc.scale: numbers of eight bits mean nothing without the scales"),
    "numbers are missing": (_without("W_dec.int8"), "has no tensor W_dec; it is not a dictionary's file"),
    "skip's numbers are missing": (lambda t: t.update({"W_skip.scale": torch.ones(6)}),
                                   "has a tensor W_skip.scale, which is not known here"),
    "too few": (lambda t: t.update({"W_enc.scale": t["W_enc.scale"][:9].clone()}),
                "W_enc.scale has shape [9], and W_enc.int8 [10, 6]: one scale a row is needed"),
    "one for all": (lambda t: t.update({"W_enc.scale": torch.tensor(0.5)}), "W_enc.scale has shape []"),
    "half precision": (lambda t: t.update({"W_enc.scale": t["W_enc.scale"].half()}),
                       "W_enc.scale is stored as float16, float32 needed"),
    "unsigned": (lambda t: t.update({"W_dec.int8": t["W_dec.int8"].to(torch.uint8)}),
                 "W_dec.int8 is stored as uint8, int8 needed"),
    "twice": (lambda t: t.update({"W_enc": torch.ones(10, 6)}),
              "has W_enc twice, as it is and as int8 rows (W_enc.int8)"),
    "int8 under the bare name": (lambda t: t.update({"W_enc": t.pop("W_enc.int8"), "x": t.pop("W_enc.scale")}),
                                 "has W_enc stored as int8; weights are read as float16"),
    "a threshold": (lambda t: t.update({"b_enc.int8": torch.ones(10, dtype=torch.int8)}),
                    "has a tensor b_enc.int8, which is not known here"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    change, words = DAMAGE[case]
    save_dictionary(build("per-layer jumprelu skip"), tmp_path / "d", dtype=torch.int8)
    edit_tensors(tmp_path / "d" / "layer_1.safetensors", change)
    assert main(["convert", str(tmp_path / "d"), str(tmp_path / "o"), "--dtype", "float32"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "layer_1.safetensors" in said
    for part in words.split("…"):
        assert part in said
    assert not (tmp_path / "o").exists()


def test_a_damaged_scale_is_found_when_its_row_is_read_and_not_before(tmp_path: Path):
    save_dictionary(build("cross-layer jumprelu skip"), tmp_path, dtype=torch.int8)
    edit_tensors(tmp_path / "W_dec_0.safetensors", lambda t: t["W_dec_0.scale"][4, 1:2].fill_(float("nan")))
    dictionary = open_dictionary(tmp_path)
    assert dictionary.decoder_rows(0, torch.tensor([3, 5])).isfinite().all()
    with pytest.raises(UsageError, match=r"W_dec_0\.scale in .*W_dec_0\.safetensors is damaged: 1 of its values"):
        dictionary.decoder_rows(0, torch.tensor([3, 4]))


def test_a_file_cut_short_is_named(tmp_path: Path):
    save_dictionary(build("per-layer relu"), tmp_path, dtype=torch.int8)
    file = tmp_path / "layer_1.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UsageError, match=r"layer_1\.safetensors.*may be corrupt or cut short"):
        open_dictionary(tmp_path)


@pytest.mark.parametrize(("dtype", "format"), [(torch.int8, 1), (torch.float32, 2)])
def test_a_format_that_the_weights_are_not_of_is_refused(dtype: torch.dtype, format: int, tmp_path: Path):
    save_dictionary(build("per-layer relu"), tmp_path, dtype=dtype)
    facts = json.loads((tmp_path / "silverstain.json").read_text())
    facts["format"] = f"silverstain.dictionary/{format}"
    (tmp_path / "silverstain.json").write_text(json.dumps(facts))
    name = "silverstain.dictionary"
    words = f"says format {name}/{format}, and its weights are those of {name}/{3 - format}"
    with pytest.raises(UsageError, match=words):
        open_dictionary(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_written(value: float, tmp_path: Path):
    dictionary = build("per-layer relu")
    dictionary.W_dec(1)[2, 0, 3] = value
    with pytest.raises(UsageError, match="W_dec has values that are not numbers, or too large for float32"):
        save_dictionary(dictionary, tmp_path / "d", dtype=torch.int8)
    assert not list(tmp_path.iterdir())


def test_types_that_nothing_is_stored_or_computed_in_are_refused(tmp_path: Path):
    dictionary = build("per-layer relu")
    with pytest.raises(
        UsageError, match="a dictionary is not stored as uint8; give float32, bfloat16, float16, float64"
    ):
        save_dictionary(dictionary, tmp_path / "d", dtype=torch.uint8)
    save_dictionary(dictionary, tmp_path / "d", dtype=torch.int8)
    for mistake in (
        lambda: open_dictionary(tmp_path / "d", dtype=torch.int8),
        lambda: dictionary.to(dtype=torch.int8),
        lambda: Dictionary.from_tensors(
            W_enc=torch.ones(1, 4, 3).to(torch.int8), b_enc=torch.ones(1, 4), W_dec=torch.ones(1, 4, 3),
            b_dec=torch.ones(1, 3),
        ),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"cannot be computed with in int8; give torch\.float32"):
            mistake()


# what takes a dictionary takes it so


def trained_like(kind: str) -> Dictionary:
    """Random, and for the tiny model."""
    draw, layers, F, d = Draw(5), range(3), 40, 16
    return Dictionary.from_tensors(
        W_enc=[draw(F, d) for _ in layers],
        b_enc=[draw(F) for _ in layers],
        W_dec=[(draw(F, 3 - i, d) if kind == "cross-layer" else draw(F, d)) * 0.1 for i in layers],
        b_dec=[draw(d) * 0.1 for _ in layers],
        threshold=[draw.positive(F) for _ in layers],
        W_skip=[draw(d, d) * 0.1 for _ in layers],
        model_hash=tiny_model().hash,
    )


@pytest.mark.parametrize("kind", ["per-layer", "cross-layer"])
def test_figures_graph_edits_and_treatment_are_those_of_the_rounded_floats(kind: str, tmp_path: Path):
    model, given = tiny_model(), trained_like(kind)
    save_dictionary(given, tmp_path, dtype=torch.int8)
    opened = open_dictionary(tmp_path)
    floats = in_memory(opened)
    check_fits(opened, model)

    def three_batches():
        source = batches(0)
        return [next(source) for _ in range(3)]

    evaluations = [evaluate(model, one, three_batches()) for one in (opened, floats, given)]
    assert asdict(evaluations[0]) == asdict(evaluations[1])
    assert evaluations[0].fidelity.nmse != evaluations[2].fidelity.nmse  # and they are rounded
    assert evaluations[0].fidelity.nmse == pytest.approx(evaluations[2].fidelity.nmse, rel=0.02)
    prompt = [0, 5, 9, 13, 7]
    graphs = [trace(model, one, prompt) for one in (opened, floats)]
    assert graphs[0].hash == graphs[1].hash
    assert graphs[0].n_edges
    edits = [parse_edit("set:L1.F3@3=2.5"), parse_edit("add:L0.F7@2=3")]
    logits = [intervene(model, one, prompt, edits).edited_logits for one in (opened, floats)]
    assert torch.equal(*logits)
    treatments = []
    for one in (opened, floats):
        with treated(model, one, treatment_for(model, one, [Rule(edit=parse_edit("add:L0.F7=3"))], name="t")):
            treatments.append(model.logits(torch.tensor(prompt)))
    assert torch.equal(*treatments)
    assert not torch.equal(treatments[0], model.logits(torch.tensor(prompt)))
    wider = opened.to(dtype=torch.float64)
    assert torch.equal(wider.W_enc(0).float(), opened.W_enc(0))


def test_convert_writes_int8_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    circuit_tracer(tmp_path / "theirs", Draw(0), activation="jumprelu", has_skip=True)
    words = ["convert", str(tmp_path / "theirs"), str(tmp_path / "ours")]
    assert main([*words, "--dtype", "int8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    ours = open_dictionary(tmp_path / "ours")
    assert (report["dtype"], report["hash"], ours.stored_dtype) == ("int8", ours.hash, torch.int8)
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "copy")]) == 0
    assert "as int8." in capsys.readouterr().err
    assert open_dictionary(tmp_path / "copy").hash == ours.hash
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "ours"), "--force", "--dtype", "float32"]) == 0
    floats = open_dictionary(tmp_path / "ours")
    assert (floats.stored_dtype, floats.hash) == (torch.float32, ours.hash)
    assert main([*words, "--dtype", "int4", "--force"]) == 2
    assert "give one of float32, bfloat16, float16, int8" in capsys.readouterr().err
