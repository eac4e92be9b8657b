"""The formats that dictionaries are published in. Each is told by what its files hold, never by what they are called.

A format is one entry here: whether a folder holds it (names and shapes of tensors, keys of settings), and how it is
read. The first that claims a folder reads it, so what is more particular comes first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from silverstain.bases.formats import (
    clt_forge,
    clt_training,
    crosslayer,
    gemma_scope,
    native,
    openmoss,
    saelens,
    sparsify,
)
from silverstain.bases.formats.folder import Folder
from silverstain.bases.formats.found import Found


@dataclass(frozen=True)
class Format:
    """One published format."""

    name: str
    claims: Callable[[Folder], bool]
    read: Callable[[Folder], Found]


FORMATS = (
    Format("circuit-tracer", native.is_native, native.read_native),
    Format("crosslayer-coding", crosslayer.is_crosslayer_coding, crosslayer.read_crosslayer_coding),
    Format("CLT-Forge", clt_forge.is_clt_forge, clt_forge.read_clt_forge),
    Format("OpenMOSS cross-layer", openmoss.is_openmoss_cross_layer, openmoss.read_openmoss_cross_layer),
    Format("OpenMOSS", openmoss.is_openmoss, openmoss.read_openmoss),
    Format("Gemma Scope 2 cross-layer", gemma_scope.is_cross_layer, gemma_scope.read_cross_layer),
    Format("Gemma Scope 2", gemma_scope.is_second, gemma_scope.read_second),
    Format("clt-training", clt_training.is_clt_training, clt_training.read_clt_training),
    Format("sparsify", sparsify.is_sparsify, sparsify.read_sparsify),
    Format("SAELens", saelens.is_saelens, saelens.read_saelens),
    Format("Gemma Scope 1", gemma_scope.is_first, gemma_scope.read_first),
)


def format_of(folder: Folder) -> Format | None:
    """The format of a folder, or None."""
    return next((one for one in FORMATS if one.claims(folder)), None)
