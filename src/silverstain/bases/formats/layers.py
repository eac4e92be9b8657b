"""Sets of single layers: one file of weights for each layer, in folders of their own or side by side."""

from collections.abc import Callable, Iterator

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.sites import block_of
from silverstain.errors import UsageError
from silverstain.printable import printable

HookOf = Callable[[str], str | None]
"""Given a weight file, the hook or module its settings name, which says the layer better than its path."""


def files_with(folder: Folder, *names: str) -> Iterator[str]:
    """Files below the folder that have all these tensors. A .pt counts only where no other file of weights is beside
    it: training leaves its state in such files."""
    others = {parent(name) for name in folder.weight_files if not name.endswith(".pt")}
    for name in folder.weight_files:
        if not (name.endswith(".pt") and parent(name) in others) and folder.has(name, *names):
            yield name


def by_layer(folder: Folder, files: list[str], hook_of: HookOf = lambda file: None) -> list[str]:
    """The files in order of their layers; UsageError when two claim one layer, or one between is missing."""
    found: dict[int, str] = {}
    for file in files:
        layer = block_of(hook_of(file), file)
        if layer is None and len(files) > 1:
            raise UsageError(
                f"cannot tell which layer {folder.shown(file)} is of: neither its settings nor its path says so; "
                f"name its folder layer_0, layer_1, …"
            )
        layer = layer or 0
        if layer in found:
            both = printable(f"{found[layer]} and {file}", 200)
            raise UsageError(
                f"{folder.where} has more than one dictionary for layer {layer}: {both}; name one set by its "
                f"sub-folder (a * may stand for the layer), or list the files in a config.yaml"
            )
        found[layer] = file
    check_complete(set(found), folder.where, max(found) + 1)
    return [found[layer] for layer in sorted(found)]


def check_complete(layers: set[int], where: str, n_layers: int, what: str = "layer") -> None:
    """UsageError unless all of 0 … n_layers − 1 are there."""
    here = {layer for layer in layers if layer < n_layers}
    if len(here) < n_layers:
        first = next(layer for layer in range(n_layers) if layer not in here)
        n_missing = n_layers - len(here)
        more = f" and {n_missing - 1} more" if n_missing > 1 else ""
        raise UsageError(
            f"{where} has {len(here)} of {n_layers} {what}s, and {what} {first}{more} is missing; fetch the missing "
            f"files, every {what} is needed"
        )


def only(folder: Folder, files: list[str]) -> str:
    """The one file of a set that is kept in one; UsageError where there are several."""
    if len(files) > 1:
        named = printable(", ".join(files[:3]), 200)
        raise UsageError(f"{folder.where} has several checkpoints: {named}; leave one, or name a folder")
    return files[0]
