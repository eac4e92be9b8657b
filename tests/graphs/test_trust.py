"""How far a drawing may be believed, in words that follow from its scores."""

import pytest

from silverstain.graphs import Scores, trust_in


def scores(replacement, completeness=0.9):
    return Scores(replacement, completeness, completeness)


@pytest.mark.parametrize(
    ("replacement", "left_out", "level", "says"),
    [
        (0.09, 0.0, "poor", "Replacement .09: this is not the model's circuit: 91 % of the influence passes through"),
        (0.0, 0.0, "poor", "Replacement .00: this is not the model's circuit: 100 %"),
        (0.4999, 0.0, "poor", "Replacement .49: this is not"),
        (0.65, 0.0, "partial", "Replacement .65, completeness .90: this is a part of the model's circuit: 35 %"),
        (
            0.93,
            0.02,
            "good",
            "Replacement .93, completeness .90: most of the answer's influence runs through",
        ),
        (0.93, 0.3, "partial", "units that are not drawn here"),
        (0.9999, 0.0, "good", "Replacement .99"),
        (1.0, 0.0, "good", "Replacement 1.00"),
        (None, 0.0, "unknown", "Replacement not known"),
        (float("nan"), 0.0, "unknown", "Replacement not known"),
    ],
)
def test_the_line_follows_from_the_scores(replacement, left_out, level, says):
    trust = trust_in(scores(replacement), left_out=left_out)
    assert trust.level == level
    assert says in trust.line
    assert str(trust) == trust.line


def test_a_completeness_that_is_not_known_is_not_said():
    assert "completeness" not in trust_in(scores(0.9, None)).line


def test_of_a_graph_without_edges_nothing_is_said():
    assert trust_in(scores(0.0, 0.0), has_edges=False).level == "unknown"
    assert trust_in(scores(0.0, 0.0), has_edges=False).line == "no edges: nothing can be said"


def test_a_high_score_of_what_a_file_kept_is_not_taken_for_the_whole_graphs():
    kept = Scores(1.0, 1.0, 1.0, "what the file kept")
    assert trust_in(kept).level == "unknown"
    assert "Replacement 1.00 of what the file kept" in trust_in(kept).line
    assert trust_in(kept._replace(replacement=0.2)).level == "poor"
