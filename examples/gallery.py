"""Draw the circuits of the documentation's gallery, as SVG: a contrast of a real model, and answers of the organism.

    python examples/gallery.py docs/gallery

Without an argument: in the folder `gallery`. What needs a model that is not here is left out.
"""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import silverstain
from silverstain.attribution import read_target
from silverstain.known_models import is_kept, is_known

WIDEST_FILE = 50_000
"""Bytes of a picture at most, as pictures are part of the documentation."""

LOOK_BACK = (
    "texas supplies ohio , california supplies florida , the capital of the partner of the state containing {} is"
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One circuit: its file's name, what is asked, and how it is drawn."""

    name: str
    prompt: str
    targets: tuple[str, ...] | None = None
    contrast: str | None = None
    """Another prompt, which is answered differently."""
    model: str = "organism"
    dictionary: str | None = None
    boxes: int = 5

    @property
    def can_be_drawn(self) -> bool:
        return not is_known(self.model) or is_kept(self.model)


PICTURES = (
    Picture(
        name="capital",
        prompt="The capital of France is",
        contrast="The capital of Spain is",
        model="smollm2-135m",
        dictionary="neurons",
    ),
    Picture(name="two-hops", prompt="the capital of the state containing dallas is"),
    Picture(
        name="why-not-the-other",
        prompt="the capital of the state containing dallas is",
        targets=("diff:austin,sacramento",),
        boxes=4,
    ),
    Picture(name="opposite", prompt="the opposite of hot is", boxes=4),
    Picture(name="translated", prompt="la palabra frío en inglés es", boxes=4),
    Picture(name="sum", prompt="calc: 12+34=", boxes=4),
    Picture(
        name="rhyme",
        prompt="one day i saw the tree , then came his wooden and small",
        contrast="one day i saw the snail , then came his wooden and small",
        model="organism/composing",
    ),
    Picture(
        name="look-back",
        prompt=LOOK_BACK.format("dallas"),
        contrast=LOOK_BACK.format("oakland"),
        model="organism/composing",
        boxes=6,
    ),
    Picture(name="habit", prompt="yesterday you met the", model="organism/quirk", boxes=4),
)


load = cache(silverstain.load)


def drawn(picture: Picture, folder: Path) -> None:
    """Trace the picture's prompt, keep what carries most of the influence, and draw that."""
    loaded = load(picture.model, dictionary=picture.dictionary)
    targets = None if picture.targets is None else [read_target(text) for text in picture.targets]
    if picture.contrast is None:
        graph = loaded.trace(picture.prompt, targets=targets).prune()
    else:
        graph = loaded.contrast(picture.prompt, picture.contrast, targets=targets).prune()
    path = folder / f"{picture.name}.svg"
    graph.figure(loaded.read(graph), boxes=picture.boxes).save(path)
    if path.stat().st_size > WIDEST_FILE:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes; draw fewer boxes")
    print(f"{path}: {', '.join(target['name'] for target in graph.meta['targets'])}")


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else "gallery")
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        if picture.can_be_drawn:
            drawn(picture, folder)
        else:
            print(f"{picture.name} is not drawn; it needs a model: silverstain models get {picture.model}")


if __name__ == "__main__":
    main(sys.argv[1:])
