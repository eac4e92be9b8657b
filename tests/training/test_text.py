"""Text from anywhere becomes contexts that count what they should, repeat themselves, and hide what is held out."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from silverstain.errors import UsageError
from silverstain.models import LanguageModel
from silverstain.training import text_batches
from silverstain.training.batches import Source
from silverstain.training.documents import open_documents
from silverstain.training.packing import contexts_of, pieces, place_of
from silverstain.training.text import PIECES, check_script

WORDS = [f"w{n}" for n in range(200)]
SMALL = {"context": 8, "batch": 4, "held_out_share": 0.25}


def tokenizer(*, adds_bos: bool = True, words=WORDS) -> PreTrainedTokenizerFast:
    """Words by spaces; <bos> 0, <eos> 1, <unk> 2."""
    vocabulary = {token: place for place, token in enumerate(["<bos>", "<eos>", "<unk>", *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece()
    if adds_bos:
        made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def documents(n: int = 60, length: int = 11, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, length)) for _ in range(n)]


def rows(texts) -> list[dict]:
    return [{"text": text} for text in texts]


def take(batches, n: int) -> list[torch.Tensor]:
    return [batch.token_ids for batch in itertools.islice(batches, n)]


def epoch_of(batches) -> torch.Tensor:
    """All contexts of the first epoch."""
    iterator = batches.training()
    found = []
    while batches.contexts_an_epoch is None or len(found) * batches.batch < batches.contexts_an_epoch:
        found.append(next(iterator).token_ids)
    return torch.cat(found)[: batches.contexts_an_epoch]


def write(folder: Path, kind: str, texts) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "txt":
        for place, text in enumerate(texts):
            (folder / f"{place:03}.txt").write_text(text)
        return folder
    if kind == "jsonl":
        path = folder / "texts.jsonl"
        path.write_text("\n".join(json.dumps({"id": 1, "text": text}) for text in texts) + "\n\n")
        return path
    import pyarrow
    from pyarrow import parquet

    path = folder / "texts.parquet"
    parquet.write_table(pyarrow.table({"id": [1] * len(texts), "text": list(texts)}), path, row_group_size=7)
    return path


def words_in(contexts: torch.Tensor) -> list[int]:
    return sorted(contexts[contexts > 2].tolist())


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_words_that_rows_give(tmp_path, kind):
    texts = documents()
    whole = text_batches(tokenizer(), rows(texts), context=8, batch=1, held_out_share=0.0)
    read = text_batches(tokenizer(), str(write(tmp_path / kind, kind, texts)), context=8, batch=1, held_out_share=0.0)
    expected = sorted(token for text in texts for token in tokenizer()(text)["input_ids"] if token > 2)
    seen = words_in(epoch_of(read))
    assert epoch_of(read).shape == epoch_of(whole).shape
    assert len(expected) - len(seen) < 8  # but for what fills no context
    assert not set(seen) - set(expected)


@pytest.mark.parametrize("unit", [10, 64, 1 << 22])
def test_a_file_cut_into_units_loses_no_line(tmp_path, monkeypatch, unit):
    monkeypatch.setattr("silverstain.training.documents.UNIT_BYTES", unit)
    texts = documents(20)
    lines = write(tmp_path / "jsonl", "jsonl", texts)
    found = open_documents(lines)
    assert [document for read in found.units for document in read()] == texts
    plain = tmp_path / "one.txt"
    plain.write_text("\n".join(texts))
    assert "".join(str(document) for read in open_documents(plain).units for document in read()) == "\n".join(texts)


def test_datasets_are_read_whole_and_as_streams():
    datasets = pytest.importorskip("datasets")
    texts = documents()
    dataset = datasets.Dataset.from_dict({"id": list(range(len(texts))), "body": texts})
    expected = text_batches(tokenizer(), rows(texts), **SMALL)
    whole = text_batches(tokenizer(), dataset, field="body", **SMALL)
    stream = text_batches(tokenizer(), dataset.to_iterable_dataset(), field="body", **SMALL)
    for read in (whole, stream):
        assert all(map(torch.equal, take(read.training(), 20), take(expected.training(), 20)))
    with pytest.raises(UsageError, match=re.escape("has no field 'text'; its fields are id, body")):
        text_batches(tokenizer(), dataset, **SMALL)
    with pytest.raises(UsageError, match=re.escape("a set of splits (train); give one of them")):
        text_batches(tokenizer(), datasets.DatasetDict(train=dataset), **SMALL)


class Hub:
    """`datasets` as far as a name of the hub needs it."""

    def __init__(self, rows, error=None):
        self.rows, self.error, self.asked = rows, error, []

    def load_dataset(self, *args, **kwargs):
        self.asked.append((args, kwargs))
        if self.error is not None:
            raise self.error
        return self.rows


@pytest.mark.parametrize(
    ("reference", "configuration", "split"),
    [
        ("hf://org/name", None, "train"),
        ("hf://org/name:validation", None, "validation"),
        ("hf://org/name:en:test", "en", "test"),
    ],
)
def test_a_dataset_of_the_hub_is_streamed_by_its_name(monkeypatch, reference, configuration, split):
    texts = documents()
    hub = Hub(pytest.importorskip("datasets").Dataset.from_dict({"text": texts}).to_iterable_dataset())
    monkeypatch.setattr("silverstain.training.datasets.import_module", {"datasets": hub}.__getitem__)
    found = text_batches(tokenizer(), reference, **SMALL)
    assert hub.asked == [(("org/name", configuration), {"split": split, "streaming": True})]
    expected = text_batches(tokenizer(), rows(texts), **SMALL)
    assert all(map(torch.equal, take(found.training(), 20), take(expected.training(), 20)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("Couldn't reach 'org/name' on the Hub (LocalEntryNotFoundError)\nand more"),
         "cannot reach the hub for the dataset hf://org/name (Couldn't reach 'org/name' on the Hub "
         "(LocalEntryNotFoundError)); connect to the network, or give files"),
        (FileNotFoundError("Dataset 'org/name' doesn't exist on the Hub"),
         "cannot read the dataset hf://org/name: Dataset 'org/name' doesn't exist on the Hub; check its name"),
        (ValueError("Unknown split"), "cannot read the dataset hf://org/name: Unknown split; check its name"),
    ],
)  # fmt: skip
def test_a_dataset_that_the_hub_does_not_give_is_one_sentence(monkeypatch, error, words):
    monkeypatch.setattr("silverstain.training.datasets.import_module", {"datasets": Hub([], error)}.__getitem__)
    with pytest.raises(UsageError, match=re.escape(words)) as raised:
        text_batches(tokenizer(), "hf://org/name", **SMALL)
    assert "\n" not in str(raised.value)


def test_a_hub_that_goes_away_in_the_middle_is_one_sentence():
    class Stream:
        def __iter__(self):
            yield {"text": "w1 w2 w3"}
            raise ConnectionError("Server disconnected")

    with pytest.raises(UsageError, match="the Stream cannot be read on: Server disconnected; when it can be reached"):
        next(text_batches(tokenizer(), Stream(), **SMALL).training())


def test_contexts_begin_with_bos_and_count_text_alone():
    batch = next(text_batches(tokenizer(), rows(documents()), **SMALL).training())
    assert batch.token_ids.shape == (4, 8)
    assert (batch.token_ids[:, 0] == 0).all()
    assert torch.equal(batch.mask, batch.token_ids > 2)  # <bos> also stands before each document, within contexts
    assert (batch.token_ids[:, 1:] == 0).any()


def test_without_bos_the_leading_position_is_left_out_all_the_same():
    batch = next(text_batches(tokenizer(adds_bos=False), rows(documents()), bos=False, **SMALL).training())
    assert (batch.token_ids[:, 0] > 2).any()
    assert not batch.mask[:, 0].any()
    assert (batch.token_ids == 1).any()  # <eos> parts the documents of a tokenizer that marks no beginning
    assert torch.equal(batch.mask[:, 1:], batch.token_ids[:, 1:] > 2)


def test_leading_positions_of_the_model_do_not_count():
    config = LlamaConfig(
        vocab_size=203, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16,
    )  # fmt: skip
    model = LanguageModel(LlamaForCausalLM(config), tokenizer(), name="tiny", n_real=3)
    batch = next(text_batches(model, rows(documents()), **SMALL).training())
    assert not batch.mask[:, :3].any()
    assert batch.mask[:, 3:].any()
    with pytest.raises(UsageError, match=re.escape("a context of 17 tokens does not fit tiny; give 5 to 16")):
        text_batches(model, rows(documents()), context=17)


def test_training_repeats_itself_and_another_seed_does_not():
    source = rows(documents())
    batches = text_batches(tokenizer(), source, seed=1, **SMALL)
    first = take(batches.training(), 60)
    assert all(map(torch.equal, first, take(batches.training(), 60)))
    assert all(map(torch.equal, first, take(text_batches(tokenizer(), source, seed=1, **SMALL).training(), 60)))
    other = take(text_batches(tokenizer(), source, seed=2, **SMALL).training(), 60)
    assert not any(map(torch.equal, first, other))


def test_epochs_differ_in_order_and_not_in_length():
    batches = text_batches(tokenizer(), rows(documents()), context=8, batch=1, held_out_share=0.0)
    n = len(epoch_of(batches))
    line = torch.cat(take(batches.training(), 2 * n))
    assert not torch.equal(line[:n], line[n:])
    assert abs(len(words_in(line[:n])) - len(words_in(line[n:]))) < 8


@settings(max_examples=25, deadline=None)
@given(n=st.integers(0, 60), m=st.integers(0, 10), fresh=st.booleans())
def test_passing_over_batches_is_drawing_them(n, m, fresh):
    source = rows(documents(30))
    batches = text_batches(tokenizer(), source, **SMALL)
    drawn = take(batches.training(), n + m + 1)
    if fresh:  # of a process that has read nothing yet
        batches = text_batches(tokenizer(), source, **SMALL)
    counted = Source(batches.training())
    counted.skip_to(n)
    for _ in range(m):
        counted.draw()
    assert torch.equal(counted.draw().token_ids, drawn[-1])
    assert counted.n_drawn == n + m + 1


def test_epochs_are_passed_over_without_reading_them():
    reads = []

    class Rows:
        def __iter__(self):
            reads.append(1)
            return iter(rows(documents(30)))

    batches = text_batches(tokenizer(), Rows(), **SMALL)
    iterator = batches.training()
    assert batches.piece_length == PIECES[0]  # known from a look at the first pieces, once
    reads.clear()
    iterator.skip(10_000)
    next(iterator)
    assert len(reads) == 2  # one to know how long an epoch is, and the one it is in


def test_what_is_held_out_is_never_trained_on_wherever_it_stands(tmp_path):
    texts = documents(80, length=6)
    texts = [f"{text} {WORDS[place % 200]}" for place, text in enumerate(texts)]
    batches = text_batches(tokenizer(), rows(texts), **SMALL)
    held_out = {text for text in texts if place_of(text) < 0.25}
    assert 5 < len(held_out) < 40
    trained = "".join(tokenizer().decode(row, skip_special_tokens=False) for row in epoch_of(batches))
    assert not any(text in trained.replace("<bos>", "") for text in held_out)
    shuffled = text_batches(tokenizer(), write(tmp_path / "t", "jsonl", texts[::-1]), **SMALL)
    ours, theirs = (torch.cat([b.token_ids[b.mask] for b in x.held_out(10_000)]) for x in (batches, shuffled))
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    words = sorted(token for text in held_out for token in tokenizer()(text)["input_ids"] if token > 2)
    assert sorted(ours.tolist()) == words  # the shorter context at the end included


def test_held_out_text_is_no_more_than_asked_for():
    batches = text_batches(tokenizer(), rows(documents(400)), **SMALL)
    few, more = batches.held_out(30), batches.held_out(60)
    assert sum(batch.n_tokens for batch in few) >= 30
    assert len(few) < len(more)
    assert all(torch.equal(a.token_ids, b.token_ids) for a, b in zip(few, more, strict=False))


@given(st.text(alphabet="ab \nß", max_size=60), st.integers(1, 12))
def test_pieces_are_the_whole_document_in_order(text, most):
    found = list(pieces(text, most))
    assert "".join(map(str, found)) == text
    assert all(0 < len(piece) <= most for piece in found)


def test_pieces_end_where_a_line_or_a_word_does():
    assert list(pieces("one two\nthree four", 10)) == ["one two\n", "three four"]
    assert list(pieces("one two three", 9)) == ["one two ", "three"]
    assert list(pieces("abcdefgh", 3)) == ["abc", "def", "gh"]


@given(st.integers(0, 50), st.integers(2, 9), st.booleans())
def test_contexts_hold_every_token_once(n, context, is_headed):
    head = (7,) if is_headed else ()
    found, left = contexts_of(np.arange(n), context, head)
    assert [*found[:, len(head) :].ravel(), *left] == list(range(n))
    assert len(left) < context
    assert (found[:, : len(head)] == 7).all()


def test_token_ids_can_be_given_instead_of_text():
    source = [{"ids": [5, 6, 7, 8] * 4} for _ in range(20)]
    batch = next(text_batches(tokenizer(), source, field="ids", context=8, batch=2, held_out_share=0.0).training())
    assert set(batch.token_ids.flatten().tolist()) == {0, 1, 5, 6, 7, 8} - {1}


# what is refused


def test_tokens_beyond_the_vocabulary_are_refused():
    config = LlamaConfig(
        vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16,
    )  # fmt: skip
    model = LanguageModel(LlamaForCausalLM(config), tokenizer(), name="tiny")
    with pytest.raises(UsageError, match=r"has the token id 202, but the vocabulary of tiny ends at 49; tokens of ano"):
        next(text_batches(model, [{"text": "w199 w3"}] * 40, context=8).training())


def test_text_of_another_language_is_refused():
    with pytest.raises(UsageError, match="does not know 80 % of the text's words"):
        next(text_batches(tokenizer(), [{"text": "nothing here is known"}] * 40, context=8).training())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "has fewer than 8 tokens to train on; 32 are needed for one batch"),
        ([{"text": ""}] * 3, "has fewer than 8 tokens to train on; 32 are needed for one batch"),
        ([{"text": "w1 w2 w3"}] * 5, "has fewer than 22 tokens to train on; 32 are needed for one batch"),
    ],
)
def test_too_little_text_says_how_much_is_needed(source, words):
    batches = text_batches(tokenizer(), source, context=8, batch=4, held_out_share=0.0)
    with pytest.raises(UsageError, match=words):
        next(batches.training())


def test_nothing_held_out_is_said():
    batches = text_batches(tokenizer(), rows(documents(2)), context=8, held_out_share=1e-9)
    with pytest.raises(UsageError, match="falls into the held-out 1e-07 %; give more text"):
        batches.held_out(10)


def test_a_short_text_is_cut_finer_until_some_of_it_is_held_out():
    text = "\n".join(documents(300, length=80))
    assert not any(place_of(piece) < 0.02 for piece in pieces(text, PIECES[0]))
    batches = text_batches(tokenizer(), [text], context=64, batch=4, held_out_share=0.02)
    assert batches.piece_length < PIECES[0]
    held_out = batches.held_out(10_000)
    assert 0 < sum(batch.n_tokens for batch in held_out) < 2_000
    shown = " ".join(str(token) for token in epoch_of(batches)[:, 1:].flatten().tolist())
    said = [token for token in held_out[0].token_ids[0, 1:].tolist() if token > 2]
    assert " ".join(map(str, said[:20])) not in shown


def test_a_text_that_has_something_held_out_is_cut_as_ever():
    texts = ["\n".join(documents(300, length=80, seed=seed)) for seed in range(8)]
    assert text_batches(tokenizer(), texts, held_out_share=0.2).piece_length == PIECES[0]
    assert text_batches(tokenizer(), texts[:1], held_out_share=0.0).piece_length == PIECES[0]


def test_a_source_of_more_than_a_block_is_not_read_through_for_the_length_of_pieces(monkeypatch):
    monkeypatch.setattr("silverstain.training.text.BLOCK", 1000)
    n_read = 0

    class Endless:
        def __iter__(self):
            nonlocal n_read
            while True:
                n_read += 1
                yield {"text": "w1 w2 w3 w4"}

    assert text_batches(tokenizer(), Endless(), held_out_share=1e-9).piece_length == PIECES[0]
    assert n_read < 200


def bad_jsonl(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text('{"text": "w1"}\nnonsense\n')
    return path


def no_text_field(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text('{"body": "w1", "url": "x"}\n')
    return path


def not_utf8(folder: Path) -> Path:
    path = folder / "a.txt"
    path.write_bytes(b"w1 w2 \xff\xfe w3")
    return path


def other_type(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text('{"text": 5}\n')
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bad_jsonl, "a.jsonl is not JSON at byte 15"),
        (no_text_field, "a.jsonl has no field 'text'; its fields are body, url: name the one that holds the text"),
        (not_utf8, "a.txt is not text in UTF-8 (byte 6 is 0xff); convert it, or leave it out"),
        (other_type, "the field 'text' of"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, make, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        next(text_batches(tokenizer(), make(tmp_path), **SMALL).training())


def test_paths_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        open_documents(tmp_path / "nothing.txt")
    with pytest.raises(UsageError, match=re.escape("there is no text in the folder")):
        open_documents(tmp_path)
    path = write(tmp_path / "p", "parquet", ["w1"])
    with pytest.raises(UsageError, match="has no field 'body'; its fields are id, text"):
        open_documents(path, field="body")
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="cannot read"):
        open_documents(path)


def test_what_can_be_read_only_once_is_refused():
    with pytest.raises(UsageError, match="the generator cannot be read again from its beginning"):
        open_documents(text for text in ["a"])
    with pytest.raises(UsageError, match="the int cannot be read again"):
        open_documents(5)


def test_bos_must_be_there_to_be_wanted():
    made = tokenizer(adds_bos=False)
    made.bos_token = None
    with pytest.raises(UsageError, match="has no BOS to put at the head"):
        text_batches(made, rows(documents()), bos=True)
    assert text_batches(made, rows(documents())).spelling.head == ()


ENGLISH = "All human beings are born free and equal in dignity and rights. "
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. "
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"


def byte_level(*texts: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of at least a thousand words that knows the words of some texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<eos>"], show_progress=False, initial_alphabet=alphabet
    )
    made.train_from_iterator([*texts * 4, " ".join(WORDS)] * 2, trainer)
    made.add_tokens([f"<unused {n}>" for n in range(1000)])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")


@pytest.mark.parametrize(("other", "script"), [(GREEK, "GREEK"), (CHINESE, "CJK")])
def test_a_script_that_the_tokenizer_has_no_words_of_is_refused(other, script):
    english = byte_level(ENGLISH)
    source = text_batches(english, rows([other * 3] * 9), context=64, batch=1)
    with pytest.raises(
        UsageError, match=f"has no words for this text .* tokens a character; most letters are {script}"
    ):
        check_script(source.spelling, next(source.training()))
    for knows, text in ((english, ENGLISH), (byte_level(ENGLISH, other), other), (english, ENGLISH * 3 + other)):
        source = text_batches(knows, rows([text * 30] * 9), context=512, batch=1)
        check_script(source.spelling, next(source.training()))


def test_the_number_of_tokens_is_known_before_they_are_read(tmp_path):
    path = tmp_path / "texts.jsonl"
    texts = documents(400, 50)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = text_batches(tokenizer(), path, **SMALL)
    found = source.n_tokens(source.held_out(200)[0])
    assert found == pytest.approx(0.75 * 400 * 50, rel=0.2)
    assert text_batches(tokenizer(), rows(texts), **SMALL).n_tokens(source.held_out(200)[0]) is None
