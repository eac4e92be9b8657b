"""What the explorer's tests share: loaded models, and a folder with the demo's graph and a contrast."""

import shutil
from pathlib import Path

import pytest

from silverstain.explorer.live import Live
from silverstain.graphs import story_beside

OAKLAND = "the capital of the state containing oakland is"


@pytest.fixture(scope="session")
def live() -> Live:
    return Live()


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory, live: Live) -> Path:
    """The demo's graph and story, and a contrast of two towns in the organism's own neurons; to be copied."""
    from silverstain.explorer.live import Offer
    from silverstain.studies import demonstrate

    found = tmp_path_factory.mktemp("worked")
    shown = demonstrate(live.model(live.offer("organism")), n_controls=2)
    file = found / "dallas.safetensors"
    shown.graph.save(file)
    shown.story.save(story_beside(file))
    neurons = live.model(Offer(name="neurons", model="organism/general", dictionary="neurons", about=""))
    graph = neurons.contrast("the capital of the state containing dallas is", OAKLAND).prune()
    graph.save(found / "towns.safetensors")
    return found


@pytest.fixture(scope="module")
def folder(worked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, to be written in."""
    return Path(shutil.copytree(worked, tmp_path_factory.mktemp("copied") / "open"))
