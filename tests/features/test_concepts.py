"""A feature is called by a concept only if it stands for it in prompts, and values, that it was not found on."""

import numpy as np
import pytest

from silverstain.errors import UsageError
from silverstain.features import concepts as module
from silverstain.features.concepts import concept_matches, concepts_of, read_concepts

from .conftest import N_FEATURES, N_LAYERS, TOWNS

STATES = ["texas", "georgia", "ohio"]
PLACES = {f"town{i}": STATES[i % 3] for i in range(30)}
TABLE = [
    {"prompt": f"{start} {town}", "town": town, "state": state, "start": start}
    for town, state in PLACES.items()
    for start in ("the", "of", "is", "capital", "code")
]


@pytest.fixture
def found(world, monkeypatch):
    """Matches of features with activations given by rules: (layer, feature) → f(row) → activation."""

    def matches(rules, table=TABLE):
        concepts = concepts_of(table)
        rows = [next(row for row in table if row["prompt"] == prompt) for prompt in concepts.prompts]

        def strongest(model, basis, prompts):
            out = [np.zeros((len(rows), N_FEATURES), dtype=np.float32) for _ in range(N_LAYERS)]
            for (layer, feature), rule in rules.items():
                out[layer][:, feature] = [rule(row) for row in rows]
            return out

        monkeypatch.setattr(module, "_strongest", strongest)
        return concept_matches(world.model, world.dictionary, concepts)

    return matches


def test_a_feature_of_a_state_is_called_by_the_state_and_tested_on_other_towns(found):
    match = found({(0, 1): lambda row: 2.0 if row["state"] == "texas" else 0.0})[0, 1]
    assert match.text == "state = texas"
    assert (match.precision, match.recall, match.f1, match.auroc, match.covered) == (1, 1, 1, 1, 1)
    assert match.support >= 5


def test_a_feature_of_one_town_is_not_called_by_its_state(found):
    matches = found(
        {(0, 0): lambda row: 2.0 if row["town"] == "town0" else 0.0,
         (0, 1): lambda row: 2.0 if row["town"] in ("town0", "town3") else 0.0}
    )  # fmt: skip
    for match in matches.values():
        assert match.column != "state"
    if (0, 0) in matches:
        assert matches[0, 0].text == "town = town0"


def test_a_feature_active_for_half_of_the_found_towns_and_none_of_the_others_has_no_state(found):
    concepts = concepts_of(TABLE)
    _, held, columns = module._classes(concepts)
    seen = {town for town, is_held in zip(columns["town"], held["state"], strict=True) if not is_held}
    matches = found({(1, 2): lambda row: 1.0 if row["state"] == "texas" and row["town"] in seen else 0.0})
    assert (1, 2) not in matches or matches[1, 2].column != "state"


def test_noise_is_called_nothing(found):
    rng = np.random.default_rng(0)
    matches = found({(1, feature): lambda row: float(rng.random() < 0.3) for feature in range(N_FEATURES)})
    assert matches == {}


def test_real_activations_are_read(world):
    names = [*TOWNS.values(), *TOWNS]
    table = [{"prompt": f"the capital of {name} is", "state": name, "n": str(len(name) % 2)} for name in names]
    doubled = [{**row, "prompt": f"the {row['prompt']}"} for row in table]
    more = [{**row, "prompt": f"is {row['prompt']}"} for row in table + doubled]
    concept_matches(world.model, world.dictionary, concepts_of([*table, *doubled, *more]))


def test_tables_are_csv_or_jsonl(tmp_path):
    csv, jsonl = tmp_path / "a.csv", tmp_path / "a.jsonl"
    csv.write_text('prompt,state\n"the town, dallas",texas\n')
    jsonl.write_text('{"prompt": "the town, dallas", "state": "texas"}\n')
    assert read_concepts(csv) == read_concepts(jsonl)
    assert read_concepts(csv).columns == {"state": ("texas",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "row 1 has no prompt; give a table of prompts with columns"),
        ("prompt\nx\n", "has no column beside prompt"),
        ("prompt,a\nx,1\nx,2\n", "has 'x' twice with different values"),
        ("{broken\n", "line 1 is no JSON"),
        ("", "has no column beside prompt"),
    ],
)
def test_tables_of_another_kind_are_refused(tmp_path, text, words):
    path = tmp_path / "table"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_concepts(path)


def test_too_few_prompts_are_refused(world):
    with pytest.raises(UsageError, match="no value of any column has 3 prompts to find it on and 3 to test it"):
        concept_matches(world.model, world.dictionary, concepts_of(TABLE[:4]))
