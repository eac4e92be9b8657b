"""`treat bake` writes a folder whole or not at all, and the same command works after whatever stopped it."""

from pathlib import Path

import pytest

from silverstain.cli import main
from silverstain.interventions import DirectionEdit
from silverstain.loading import load
from silverstain.treatment import Rule, treatment_for


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2), (MemoryError(), 4)]
)
def test_what_stops_it_leaves_nothing(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
):
    loaded = load(tiny["model"], dictionary=tiny["dictionary"])
    edit = DirectionEdit(op="add", layer=1, direction=tuple(loaded.model.W_U[3].tolist()), value=0.1)
    treatment_for(loaded.model, loaded.dictionary, [Rule(edit=edit)], name="x").save(tmp_path / "cure.json")
    words = ["treat", "bake", str(tmp_path / "cure.json"), "--out", str(tmp_path / "out"), "--model", tiny["model"]]
    words += ["--dictionary", tiny["dictionary"]]

    def stop(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:  # the weights are written, the tokenizer is not
        patch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", stop)
        assert main(words) == code
    assert [path.name for path in tmp_path.iterdir()] == ["cure.json"]
    assert main(words) == 0
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert main(words) == 0  # the same is there already
    (tmp_path / "out" / "config.json").write_text("{}")
    assert main(words) == 2  # another model is there, and not written over
