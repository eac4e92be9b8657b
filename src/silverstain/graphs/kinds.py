"""The kinds of nodes: their one order in memory, and the codes that files have for them."""

import torch
from jaxtyping import Int8
from torch import Tensor

NODE_KINDS = ("feature", "attention", "error", "token", "bias", "logit")
FEATURE, ATTENTION, ERROR, TOKEN, BIAS, LOGIT = range(len(NODE_KINDS))

FILE_KINDS = ("feature", "error", "token", "bias", "logit", "attention")
"""By their codes in files: attention came last, and the codes of the others stay what they were."""

_TO_FILE = torch.tensor([FILE_KINDS.index(kind) for kind in NODE_KINDS], dtype=torch.int8)
_FROM_FILE = torch.tensor([NODE_KINDS.index(kind) for kind in FILE_KINDS], dtype=torch.int8)


def file_codes(kind: Int8[Tensor, " node"]) -> Int8[Tensor, " node"]:
    """Codes of kinds as files have them."""
    return _TO_FILE[kind.long()]


def kinds_of_codes(codes: Int8[Tensor, " node"]) -> Int8[Tensor, " node"]:
    """Codes of kinds in a file as they are in memory."""
    return _FROM_FILE[codes.long()]
