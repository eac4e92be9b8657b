"""`silverstain group`."""

from pathlib import Path

import pytest
from tests.cli.test_compare import asked, said

from silverstain.graphs import Graph, Story, story_beside


@pytest.fixture
def file(dallas: Graph, tmp_path: Path) -> Path:
    path = tmp_path / "dallas.safetensors"
    dallas.save(path)
    return path


def test_group_prints_groups_and_writes_them_beside_the_graph(file: Path, capsys: pytest.CaptureFixture[str]):
    report = asked(capsys, "group", str(file))
    assert {"label", "kind", "members", "positions", "share"} <= set(report["groups"][0])
    story = Story.load(story_beside(file))
    assert [group.label for group in story.groups] == [group["label"] for group in report["groups"]]
    code, out, _ = said(capsys, "group", str(file))
    assert code == 0
    assert report["groups"][0]["label"] in out


def test_a_written_story_can_be_put_back(file: Path, reading: Story, capsys: pytest.CaptureFixture[str]):
    reading.save(story_beside(file))
    assert said(capsys, "group", str(file), "--replace")[0] == 0
    assert Story.load(story_beside(file)).groups != reading.groups
    assert said(capsys, "group", str(file), "--undo")[0] == 0
    assert Story.load(story_beside(file)).groups == reading.groups


def test_groups_of_a_person_stay(file: Path, reading: Story, capsys: pytest.CaptureFixture[str]):
    reading.save(story_beside(file))
    asked(capsys, "group", str(file))
    assert set(reading.groups) <= set(Story.load(story_beside(file)).groups)


def test_what_cannot_be_is_said_in_a_line(file: Path, dallas: Graph, capsys: pytest.CaptureFixture[str]):
    code, _, err = said(capsys, "group", str(file), "--reject", "\x1bno")
    assert code == 2
    assert "was found; found are" in err
    assert "\x1b" not in err
    assert "there is nothing to put back" in said(capsys, "group", str(file), "--undo")[2]
    foreign = Story(graph_hash="another", groups=(Story.from_json(
        {"format": "silverstain.story/1", "groups": [{"label": "x", "members": ["9_9_9"], "kind": ""}]}, "x"
    ).groups))  # fmt: skip
    foreign.save(story_beside(file))
    code, _, err = said(capsys, "group", str(file))
    assert code == 2
    assert "is the story of another graph" in err
