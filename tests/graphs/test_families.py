"""Many graphs side by side."""

import pytest

from silverstain.errors import UsageError
from silverstain.graphs import compare_family


def test_a_graph_and_itself_share_all(make_graph):
    found = compare_family([make_graph(1)] * 3, draws=5)
    assert found.by_feature == ((1.0,) * 3,) * 3
    assert {one.frequency for one in found.always} == {1.0}
    assert found.sometimes == ()
    assert all(one.units[0] == one.units[1] == one.shared for one in found.by_group)
    assert found.stability.jaccard == 1.0


def test_what_one_graph_alone_has_is_not_always_there(make_graph):
    graphs = [make_graph(1), make_graph(1), make_graph(2, n_features=20)]
    found = compare_family(graphs, draws=5)
    assert found.by_feature[0][1] == 1.0
    assert found.by_feature[0][2] < 1.0
    assert {one.frequency for one in found.sometimes} <= {1 / 3, 2 / 3}
    assert all(" → " in one.name for one in found.steps)
    with pytest.raises(UsageError, match="two graphs or more, and there are 1"):
        compare_family(graphs[:1])
