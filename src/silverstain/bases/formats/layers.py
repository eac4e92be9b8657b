"""Sets of single layers: one file of weights for each layer, in folders of their own or side by side."""

from collections.abc import Callable, Iterator

from silverstain.bases.formats.folder import Folder, parent
from silverstain.bases.sites import block_of
from silverstain.errors import UsageError

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
                f"cannot tell which layer {folder.where}/{file} is of: neither its settings nor its path says so; "
                f"name its folder layer_0, layer_1, …"
            )
        layer = layer or 0
        if layer in found:
            raise UsageError(
                f"{folder.where} has more than one dictionary for layer {layer}: {found[layer]} and {file}; name one "
                f"set by its sub-folder (a * may stand for the layer), or list the files in a config.yaml"
            )
        found[layer] = file
    check_complete(set(found), folder.where, max(found) + 1)
    return [found[layer] for layer in sorted(found)]


def check_complete(layers: set[int], where: str, n_layers: int, what: str = "layer") -> None:
    """UsageError unless all of 0 … n_layers − 1 are there."""
    missing = sorted(set(range(n_layers)) - layers)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"{where} has {len(layers)} of {n_layers} {what}s, and {what} {missing[0]}{more} is missing; fetch the "
            f"missing files, every {what} is needed"
        )
