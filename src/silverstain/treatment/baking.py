"""A treatment put into the weights, where that is exact: constants added to the stream at every token.

A constant added behind a block is a bias of the block's last matrix. All else is not exact and is refused: a
condition has no weights, and projecting a direction out of the stream after a block leaves it in the stream before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from silverstain.bases import Basis
from silverstain.errors import UsageError
from silverstain.interventions.edits import DirectionEdit, Edit
from silverstain.models import LanguageModel
from silverstain.treatment.treatment import Rule, Treatment

LAST_MATRIX = ("down_proj", "c_proj", "dense_4h_to_h")
"""What architectures call the matrix that writes an MLP's output."""


@contextmanager
def baked(model: LanguageModel, dictionary: Basis, treatment: Treatment) -> Iterator[LanguageModel]:
    """The model with the treatment in its weights, so that `model.hf.save_pretrained(folder)` keeps it.

    Afterwards the stored weights are back, bit for bit: they were set aside, not subtracted from.
    """
    treatment.check_fits(model, dictionary)
    constants = _constants(model, dictionary, treatment)
    matrices = {layer: _last_matrix(model, layer) for layer in constants}
    before: list[tuple[nn.Module, nn.Parameter | None]] = []
    settings = {key: getattr(model.hf.config, key) for key in ("mlp_bias",) if hasattr(model.hf.config, key)}
    try:
        if "mlp_bias" in settings and not settings["mlp_bias"]:  # one setting for all matrices of all MLPs
            for layer in range(model.n_layers):
                for matrix in (m for m in model.mlp(layer).modules() if isinstance(m, nn.Linear)):
                    before.append((matrix, matrix.bias))
                    matrix.bias = nn.Parameter(torch.zeros(matrix.out_features).to(matrix.weight), requires_grad=False)
            model.hf.config.mlp_bias = True
        for layer, constant in constants.items():
            bias = matrices[layer].bias
            before.append((matrices[layer], bias))  # pyright: ignore[reportArgumentType]
            old = torch.zeros_like(constant) if bias is None else bias.detach()  # pyright: ignore[reportCallIssue]
            matrices[layer].bias = nn.Parameter((old + constant).to(model.dtype), requires_grad=False)  # pyright: ignore
        yield model
    finally:
        for matrix, bias in reversed(before):
            matrix.bias = bias  # pyright: ignore[reportArgumentType]
        for key, value in settings.items():
            setattr(model.hf.config, key, value)


def _constants(model: LanguageModel, dictionary: Basis, treatment: Treatment) -> dict[int, Tensor]:
    """Layer -> what is added behind its MLP at every token."""
    found: dict[int, Tensor] = {}
    for rule in treatment.rules:
        for layer, constant in _constants_of(rule, model, dictionary):
            found[layer] = found.get(layer, torch.zeros(model.d_model, device=model.device)) + constant
    return found


def _constants_of(rule: Rule, model: LanguageModel, dictionary: Basis) -> Iterator[tuple[int, Tensor]]:
    edit = rule.edit
    if rule.when is not None or edit.op != "add" or not isinstance(edit, Edit | DirectionEdit):
        raise UsageError(
            f"the rule {rule} cannot be put into weights exactly; only `add` without a condition can: use treated()"
        )
    if isinstance(edit, DirectionEdit):
        unit = torch.tensor(edit.direction, dtype=torch.float64)
        yield edit.layer, (edit.rule[1] * unit / unit.norm()).to(model.device, torch.float32)
        return
    n_real = dictionary.n_real(model)
    if n_real:
        raise UsageError(
            f"the rule {rule} leaves the first {n_real} tokens as they are, and a bias acts on all; use treated()"
        )
    for layer, feature, _, constant in edit.rules():
        rows = dictionary.decoder_rows(layer, torch.tensor([feature], device=dictionary.device))[0]
        for k, target in enumerate(dictionary.targets(layer)):
            yield target, (constant * rows[k]).to(model.device, torch.float32)


def _last_matrix(model: LanguageModel, layer: int) -> nn.Module:
    mlp = model.mlp(layer)
    if model.mlp_writer(layer) is not mlp:
        raise UsageError(f"{model.name} has a norm behind its MLPs, so no bias adds a constant; use treated()")
    for name in LAST_MATRIX:
        if hasattr(mlp, name) and isinstance(getattr(mlp, name), nn.Module):
            return getattr(mlp, name)
    raise UsageError(f"the last matrix of the MLPs of {model.name} is not known here; use treated()")
