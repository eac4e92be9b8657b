"""Cards as a table: what one pass found, written, read, asked in SQL, and handed to other tools."""

import gzip
import json
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from silverstain.bases import Dictionary, NeuronBasis
from silverstain.errors import UsageError
from silverstain.features.assembling import COMPACT, CardSettings, assemble, co_active
from silverstain.features.card_files import open_cards
from silverstain.features.card_table import CardTable
from silverstain.features.label_files import read_labels
from silverstain.features.lens import Lens
from silverstain.features.output import direct_effects
from silverstain.features.packed import read_packed, write_packed
from silverstain.features.published import write_neuronpedia
from silverstain.features.queries import query_cards
from silverstain.features.streaming import Seen, stream
from silverstain.features.tally import Sizes

from .conftest import D_MODEL, N_FEATURES, N_LAYERS
from .test_streaming import rows


@pytest.fixture(scope="module")
def dictionary(world) -> Dictionary:
    """The world's, but for one feature that never fires."""
    made = world.dictionary
    thresholds = torch.ones(N_LAYERS, N_FEATURES)
    thresholds[0, 3] = 1e6
    return Dictionary.from_tensors(
        W_enc=[made.W_enc(layer) for layer in range(N_LAYERS)],
        b_enc=torch.zeros(N_LAYERS, N_FEATURES),
        W_dec=[made.W_dec(layer)[:, 0] for layer in range(N_LAYERS)],
        b_dec=torch.zeros(N_LAYERS, D_MODEL),
        threshold=thresholds,
        name="made",
    )


@pytest.fixture(scope="module")
def seen(world, dictionary) -> Seen:
    return stream(world.model, dictionary, rows())


@pytest.fixture(scope="module")
def cards(world, dictionary, seen) -> CardTable:
    return assemble(seen, world.model, dictionary, lens=Lens.identity(world.model))


def test_a_histogram_is_given_from_its_first_bin_to_its_last(cards):
    assert cards.histogram(0, 3) is None
    layer, feature = cards.most_active(1)[0]
    bounds, counts = cards.histogram(layer, feature)
    row = cards.row(layer, feature)
    assert len(bounds) == len(counts) + 1
    assert counts[0] > 0 < counts[-1]
    assert sum(counts) == sum(row["histogram"])
    assert bounds[0] <= row["maximum"] <= bounds[-1]


def test_features_that_never_fire_have_no_card_and_are_counted(cards):
    assert cards.card(0, 3) is None
    assert cards.label(0, 3) == "L0.F3"
    assert cards.meta["never_active"] == N_LAYERS * N_FEATURES - len(cards) >= 1
    with pytest.raises(UsageError, match=r"there is no L0.F99: this basis has 2 layers of 8 features"):
        cards.card(0, 99)


def test_tokens_written_are_those_of_the_weights_and_the_identity_lens_sees_the_same(world, dictionary, cards):
    row = cards.row(1, 0)
    assert row is not None
    effects = direct_effects(world.model, dictionary, 1, torch.tensor([0]))[0]
    assert row["promotes"][0]["id"] == int(effects.argmax())
    lowest = effects[row["suppresses"][0]["id"]]  # several tokens share it
    assert float(lowest - effects.min()) < 1e-6
    assert row["promotes"] == row["lens_promotes"]
    assert row["promotes"][0]["token"] == "austin"


def test_neighbours_are_found_by_weights_and_by_what_was_read(world, dictionary, seen, cards):
    row = cards.row(1, 2)
    assert row is not None
    writes = torch.stack([dictionary.W_dec(layer)[:, 0] for layer in range(N_LAYERS)]).flatten(0, 1)
    keys = torch.from_numpy(cards.key)
    cosines = torch.nn.functional.cosine_similarity(writes[N_FEATURES + 2], writes[keys], dim=-1)
    cosines[keys == N_FEATURES + 2] = -2
    best = int(keys[cosines.argmax()])
    assert (row["nearest"][0]["layer"], row["nearest"][0]["feature"]) == divmod(best, N_FEATURES)
    assert row["nearest"][0]["weight"] == pytest.approx(float(cosines.max()), abs=1e-3)
    norm = world.model.norm("mlp", 1)
    reads = dictionary.W_enc(1)[2] * norm.weight
    sources = [key for key in cards.key.tolist() if key < N_FEATURES]
    arrays = seen.tally.arrays
    rms = np.sqrt(arrays["squares"][0] / np.maximum(arrays["count"][0], 1))
    weights = {key: float(writes[key] @ reads) * rms[key] for key in sources}
    strongest = max(weights, key=lambda key: abs(weights[key]))
    assert row["upstream"][0]["feature"] == strongest
    assert row["upstream"][0]["weight"] == pytest.approx(weights[strongest], rel=1e-2, abs=1e-3)
    ranked = co_active(seen, keys, 1, 3)
    assert ranked.value.max() <= 1.0
    assert cards.row(0, 0)["upstream"] == []  # nothing is before the first layer


def test_examples_come_from_every_decile(cards):
    row = cards.row(1, 2)
    assert row is not None
    groups = {one["group"] for one in row["examples"]}
    assert "top" in groups
    assert len({group for group in groups if group.startswith("decile")}) >= 4
    for one in row["examples"]:
        assert len(one["tokens"]) == len(one["activations"])
        assert one["activations"][one["at"]] == pytest.approx(one["activation"], rel=2e-3)


def test_cards_of_neurons_have_both_sides(world):
    basis = NeuronBasis(world.model)
    made = assemble(stream(world.model, basis, rows()), world.model, basis)
    row = made.row(0, 0)
    assert row is not None
    assert row["minimum"] < 0 < row["maximum"]
    assert {"top", "top negative"} <= {one["group"] for one in row["examples"]}
    assert made.percentile(0, 0, row["maximum"]) == pytest.approx(100, abs=2)
    assert made.percentile(0, 0, row["minimum"]) == pytest.approx(0, abs=2)


def test_a_label_of_the_negative_side_says_so(cards):
    def labelled(sign: int) -> CardTable:
        label = dict.fromkeys(("source", "scores", "evidence"), "") | {
            "text": "towns", "kind": "context", "sign": sign, "score": 0.9, "precision": 0.9, "recall": 0.9, "f1": 0.9,
            "auroc": 0.9, "support": 50,
        }  # fmt: skip
        return cards.with_labels({(1, 0): [label]})

    assert (labelled(1).label(1, 0), labelled(1).supported_label(1, 0)) == ("towns", "towns")
    negative = labelled(-1)
    assert negative.label(1, 0) == negative.supported_label(1, 0) == "towns (when negative)"
    assert negative.card(1, 0).label == "towns (when negative)"


def test_the_same_cards_make_the_same_bytes_and_read_back(cards, tmp_path):
    cards.save(tmp_path / "a.parquet")
    cards.save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    again = open_cards(tmp_path / "a.parquet")
    assert isinstance(again, CardTable)
    assert again.meta == cards.meta
    assert again.row(1, 0) == cards.row(1, 0)
    assert [card.feature for card in again] == [card.feature for card in cards]


def test_a_run_that_was_killed_goes_on_to_the_identical_file(world, dictionary, cards, tmp_path, monkeypatch):
    monkeypatch.setattr("silverstain.features.rows.CHUNK", 300)
    whole = assemble(stream(world.model, dictionary, rows()), world.model, dictionary)

    def killed():
        for number, row in enumerate(rows()):
            if number == 90:
                raise KeyboardInterrupt
            yield row

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        stream(world.model, dictionary, killed(), state=state, patience=0.0)
    resumed = assemble(stream(world.model, dictionary, rows(), state=state, patience=0.0), world.model, dictionary)
    whole.save(tmp_path / "whole.parquet")
    resumed.save(tmp_path / "resumed.parquet")
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "resumed.parquet").read_bytes()


def test_foreign_broken_and_doctored_files_are_refused(cards, tmp_path):
    path = tmp_path / "cards.parquet"
    with pytest.raises(UsageError, match="there is no file"):
        CardTable.load(path)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UsageError, match=r"cannot read .*cards.parquet"):
        open_cards(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(UsageError, match=r"holds no feature cards \(silverstain.cards/2\)"):
        CardTable.load(path)
    doubled = CardTable(pa.concat_tables([cards.table, cards.table]), cards.meta)
    doubled.save(path)
    with pytest.raises(UsageError, match="its features are not in order, twice there"):
        CardTable.load(path)


def test_a_compact_card_is_small(world, dictionary, seen, cards, tmp_path):
    small = assemble(seen, world.model, dictionary, settings=COMPACT)
    row = small.row(1, 0)
    assert row is not None
    assert row["histogram"] == row["nearest"] == []
    assert len(row["examples"]) <= 2
    assert small.percentile(1, 0, 1.0) is None


def test_cards_without_examples_have_no_passage_of_the_text_and_all_else(cards, tmp_path):
    bare = cards.without_examples()
    bare.save(tmp_path / "bare.parquet")
    again = CardTable.load(tmp_path / "bare.parquet")
    assert all(examples == [] for examples in again.table["examples"].to_pylist())
    assert again.meta["examples"] == "left out"
    others = [name for name in cards.table.column_names if name != "examples"]
    assert again.table.select(others).equals(cards.table.select(others))
    assert cards.card(1, 0).examples
    assert not again.card(1, 0).examples


def test_sql_sees_the_cards_and_nothing_else(cards, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    answer = query_cards(cards, "SELECT layer, count(*) AS n FROM cards GROUP BY layer ORDER BY layer")
    assert answer.columns == ("layer", "n")
    assert sum(n for _, n in answer.rows) == len(cards)
    assert query_cards(cards, "SELECT * FROM cards", limit=2).is_cut
    assert query_cards(cards, "SELECT promotes[1].token FROM cards WHERE layer = 1 AND feature = 0").rows == [
        ("austin",)
    ]
    out, other = tmp_path / "out.csv", tmp_path / "x.db"
    for forbidden in (
        f"SELECT * FROM read_csv('{secret}')", f"SELECT * FROM '{secret}'", "SELECT * FROM read_text('/etc/hosts')",
        f"COPY cards TO '{out}'", f"ATTACH '{other}'", "INSTALL httpfs", "DROP TABLE cards", "", "SELEC",
        "SET enable_external_access = true", "SELECT 1; SELECT 2", "SELECT * FROM table_that_is_not",
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"a query is one SELECT|the query cannot be answered"):
            query_cards(cards, forbidden)
    assert not (tmp_path / "out.csv").exists()


def test_packed_features_go_out_and_come_back(cards, tmp_path):
    assert write_packed(cards, tmp_path) == len(cards)
    index = json.loads(gzip.decompress((tmp_path / "index.json.gz").read_bytes()))
    assert [entry["filename"] for entry in index] == ["layer_0.bin", "layer_1.bin"]
    offsets = index[1]["offsets"]
    assert len(offsets) == N_FEATURES + 1
    data = (tmp_path / "layer_1.bin").read_bytes()
    (length,) = struct.unpack("<I", data[offsets[0] : offsets[0] + 4])
    record = json.loads(zlib.decompress(data[offsets[0] + 4 : offsets[0] + 4 + length]))
    assert record["index"] == 0
    assert record["top_logits"][0] == "austin"
    assert len(record["quantile_values"]) == 100
    assert record["quantile_values"] == sorted(record["quantile_values"])
    example = record["examples_quantiles"][0]["examples"][0]
    assert example["tokens_acts_list"][example["train_token_ind"]] == pytest.approx(record["act_max"], rel=2e-3)
    again = read_packed(tmp_path)
    assert again.key.tolist() == cards.key.tolist()
    one, other = again.card(1, 0), cards.card(1, 0)
    assert one is not None
    assert other is not None
    assert one.promotes[0][0] == "austin"
    assert one.examples[0].tokens == other.examples[0].tokens
    assert one.density == pytest.approx(other.density)
    again.save(tmp_path / "again.parquet")
    assert CardTable.load(tmp_path / "again.parquet").key.tolist() == cards.key.tolist()


@pytest.mark.parametrize("damage", ["index", "offsets", "record", "name"])
def test_broken_packed_features_are_refused(cards, tmp_path, damage):
    write_packed(cards, tmp_path)
    index = json.loads(gzip.decompress((tmp_path / "index.json.gz").read_bytes()))
    if damage == "index":
        (tmp_path / "index.json.gz").write_bytes(b"no gzip")
    elif damage == "offsets":
        index[0]["offsets"][2] = 10**9
    elif damage == "name":
        index[0]["filename"] = "../secret.bin"
    else:
        data = bytearray((tmp_path / "layer_0.bin").read_bytes())
        data[6:20] = b"x" * 14
        (tmp_path / "layer_0.bin").write_bytes(data)
    if damage in ("offsets", "name"):
        (tmp_path / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    with pytest.raises(UsageError, match=r"cannot read .*(index.json.gz|layer_0.bin)"):
        read_packed(tmp_path)


def test_neuronpedias_files_have_what_its_schema_asks_for(cards, tmp_path):
    n = write_neuronpedia(cards, tmp_path)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == n == len(cards)
    one = json.loads((tmp_path / "1_0.json").read_text())
    assert {"index", "examples_quantiles", "top_logits", "bottom_logits"} <= set(one)
    for example in one["examples_quantiles"][0]["examples"]:
        assert len(example["tokens"]) == len(example["tokens_acts_list"])


def test_labels_of_a_file_are_data_of_any_kind(cards, tmp_path):
    path = tmp_path / "labels.jsonl"
    lines = [
        {"layer": 1, "feature": 0, "text": "says Austin", "kind": "my own kind", "score": 0.9, "by": "me"},
        {"layer": 1, "feature": 1, "text": "<script>alert(1)</script>\x1b[2J"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    given, unknown = read_labels(path, cards)
    assert unknown == 0
    made = cards.with_labels(given)
    assert made.label(1, 0) == "says Austin"
    assert made.kind_of(1, 0) == "my own kind"
    row = made.row(1, 0)
    assert row is not None
    assert json.loads(row["labels"][0]["evidence"]) == {"by": "me"}
    assert [card.feature for card in made.search("AUSTIN")] == [0]
    made.save(tmp_path / "made.parquet")
    assert CardTable.load(tmp_path / "made.parquet").label(1, 0) == "says Austin"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{"], "line 1 is no JSON"),
        (["[]"], "line 1 is no object"),
        (['{"layer": 1, "feature": "x", "text": "a"}'], "line 1: feature is x; give a whole number"),
        (['{"layer": 1, "feature": 0, "text": " "}'], "line 1 has no text"),
        (['{"layer": 1, "feature": 0, "text": "a", "sign": 2}'], "line 1: sign is 2; give 1 or -1"),
        (['{"layer": 1, "feature": 0, "text": "a", "score": "b"}'], "line 1: score is b; give a number"),
        (['{"layer": 1, "feature": 0, "text": "a"}'] * 2, "labels L1.F0 twice, in lines 1 and 2"),
        (['{"layer": 0, "feature": 3, "text": "a"}'], r"line 1: L0.F3 has no card here \(1 such lines\)"),
        (['{"layer": 7, "feature": 3, "text": "a"}'], "L7.F3 has no card here"),
    ],
)
def test_lines_that_are_no_labels_are_refused(cards, tmp_path, lines, words):
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=words):
        read_labels(path, cards)


def test_unknown_features_may_be_left_out(cards, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"layer": 7, "feature": 3, "text": "a"}\n{"layer": 1, "feature": 0, "text": "b"}')
    given, unknown = read_labels(path, cards, skip_unknown=True)
    assert (list(given), unknown) == ([(1, 0)], 1)


def test_settings_leave_out_what_is_not_wanted(world, dictionary, seen):
    made = assemble(seen, world.model, dictionary, settings=CardSettings(near=0, deciles=0, activations=False))
    row = made.row(1, 0)
    assert row is not None
    assert row["upstream"] == row["nearest"] == row["co_active"] == []
    assert {one["group"] for one in row["examples"]} == {"top"}
    assert all(one["activations"] == [] for one in row["examples"])


def test_the_state_of_a_large_basis_keeps_fewer_shared_places():
    zeros = torch.zeros(1, 1)
    large = Dictionary.from_tensors(
        W_enc=zeros.expand(400_000, 1)[None],
        b_enc=zeros.expand(1, 400_000),
        W_dec=zeros.expand(400_000, 1)[None],
        b_dec=zeros,
        name="large",
    )
    assert Sizes.of(large).pool < 400
