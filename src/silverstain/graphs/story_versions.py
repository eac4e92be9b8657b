"""A story written over, and put back: the one before is kept beside it."""

from pathlib import Path

from silverstain.documents import read_text
from silverstain.errors import UsageError
from silverstain.graphs.story import Story
from silverstain.parts import shown_path
from silverstain.storage import write_text_whole

MOST_BYTES = 1 << 28


def before(path: Path) -> Path:
    """Where the story is kept that one was written over: `dallas.story.before.json`."""
    return path.with_name(path.name.removesuffix(".json") + ".before.json")


def save_over(path: Path, story: Story) -> None:
    """Write a story, whole or not at all, and keep the one that was there."""
    there = read_text(path, MOST_BYTES) if path.exists() else Story(graph_hash=story.graph_hash)
    if isinstance(there, Story):
        there.save(before(path))
    else:
        write_text_whole(before(path), there)
    story.save(path)


def put_back(path: Path) -> None:
    """The story as it was before `save_over`; what is there now can be put back in the same way."""
    last = before(path)
    if not last.exists():
        raise UsageError(f"there is nothing to put back: no {shown_path(last)} is there")
    earlier = Story.load(last)
    save_over(path, earlier)
