"""A folder of graphs as tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from silverstain.errors import UsageError
from silverstain.graphs import collect, query


@pytest.fixture
def folder(make_graph, tmp_path: Path) -> Path:
    for seed in range(4):
        make_graph(seed).save(tmp_path / f"g{seed}.safetensors")
    return tmp_path


def asked(folder: Path, sql: str) -> list[tuple]:
    return list(query(folder, sql).rows)


def test_every_node_is_a_row_and_shares_add_up(folder: Path, make_graph):
    assert collect(folder).added == 4
    expected = [(seed, make_graph(seed).n_nodes) for seed in range(4)]
    assert asked(folder, "SELECT graph, count(*) FROM nodes GROUP BY graph ORDER BY graph") == expected
    assert asked(folder, "SELECT round(sum(share), 6) FROM nodes GROUP BY graph") == [(1.0,)] * 4
    n_strong = int(asked(folder, "SELECT count(*) FROM edges WHERE abs(share) < 0.01")[0][0])
    assert n_strong == 0


def test_only_what_is_new_is_read_and_what_is_gone_is_gone(folder: Path, make_graph):
    collect(folder)
    assert collect(folder).added == 0
    make_graph(9).save(folder / "g9.safetensors")
    make_graph(8).save(folder / "g0.safetensors")
    (folder / "g1.safetensors").unlink()
    again = collect(folder)
    assert (again.added, again.graphs) == (2, 4)
    assert asked(folder, "SELECT count(DISTINCT graph) FROM nodes") == [(4,)]
    names = [name for (name,) in asked(folder, "SELECT file FROM graphs ORDER BY file")]
    assert names == ["g0.safetensors", "g2.safetensors", "g3.safetensors", "g9.safetensors"]


def test_a_damaged_graph_and_one_of_another_basis_are_named_and_left_out(folder: Path, make_graph):
    (folder / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    graph = make_graph(5)
    replace(graph, meta={**graph.meta, "dictionary": {"name": "other\x1b", "hash": "zz"}}).save(
        folder / "z.safetensors"
    )
    found = collect(folder)
    reasons = {one.file: one.reason for one in found.left_out}
    assert found.graphs == 4
    assert set(reasons) == {"broken.safetensors", "z.safetensors"}
    assert "read in other" in reasons["z.safetensors"]
    assert "\x1b" not in reasons["z.safetensors"]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY nodes TO '{0}/out.csv'",
        "SELECT * FROM read_csv('{0}/secret.csv')",
        "SELECT * FROM '{0}/secret.csv'",
        "SELECT * FROM read_text('{0}/secret.csv')",
        "SELECT * FROM glob('{0}/*')",
        "ATTACH '{0}/x.duckdb'",
        "CREATE TABLE t AS SELECT 1",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "EXPLAIN ANALYZE COPY nodes TO '{0}/out.csv'",
        "SELECT * FROM make_graph",
        "",
        "nonsense",
    ],
)
def test_sql_that_reads_or_writes_files_is_refused(folder: Path, make_graph, sql: str):
    collect(folder)
    (folder / "secret.csv").write_text("a\n1\n", encoding="utf-8")
    before = {path.name for path in folder.rglob("*")}
    with pytest.raises(UsageError, match=r"the query cannot be answered|a query is one SELECT"):
        query(folder, sql.format(folder))
    assert {path.name for path in folder.rglob("*")} == before


def test_a_folder_without_graphs_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="has no graph that can be read"):
        collect(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        collect(tmp_path / "nothing")
    with pytest.raises(UsageError, match="has no collection yet"):
        query(tmp_path, "SELECT 1")


def test_damaged_tables_are_told_of(folder: Path):
    collect(folder)
    (folder / "collection" / "nodes-0001.parquet").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"nodes-0001.parquet is damaged.*which is made again"):
        query(folder, "SELECT 1 FROM nodes")
