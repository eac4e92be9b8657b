"""What moves do to the real model: its own MLPs, with what the moved features write more or less added to them."""

from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from silverstain.bases import Dictionary
from silverstain.models import LanguageModel, MlpCall, Recording, attention_through, mlps_through
from silverstain.verification.moves import Moves
from silverstain.verification.readers import Reading


def real_responses(
    model: LanguageModel,
    dictionary: Dictionary,
    recording: Recording,
    moves: Moves,
    readers: Reading,
    *,
    attention: str = "live",
) -> Float[Tensor, "row reader"]:
    """What every reader reads under every move, norms live; `attention` live, or frozen at the recorded patterns.

    The layer rule is that there is none to choose: features write where they write, and nothing is held.
    """
    values = recording.final.new_zeros(moves.n_rows, len(readers))
    pending: dict[int, Tensor] = {}

    def moved(call: MlpCall) -> Tensor:
        layer, output = call.layer, call.real(call.x)
        readers.read_(values, layer, call.read)
        held = moves.held(layer)
        if held is not None:
            rows, positions, features, wanted = held
            change = wanted - _activations(dictionary, layer, call.read[rows, positions], features).to(wanted)
            queue(pending, dictionary, layer, (rows, positions, features), change, like=output)
        if layer in pending:
            output = output + pending.pop(layer)
        else:
            output = output.clone()
        moves.add_vectors_(layer, output)
        return output

    final: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, out: Tensor) -> None:
        final.append(out)

    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(mlps_through(model, moved, reads_at=dictionary.reads_at))
        norm = model.final_norm.module
        stack.callback(norm.register_forward_hook(keep).remove)
        if attention == "frozen":
            stack.enter_context(
                attention_through(model.hf, lambda layer, old: recording.patterns[layer].expand_as(old))
            )
        model.hf(input_ids=recording.token_ids.expand(moves.n_rows, -1), use_cache=False, logits_to_keep=1)
    readers.read_(values, model.n_layers, final[0])
    return values


def queue(
    pending: dict[int, Tensor],
    dictionary: Dictionary,
    layer: int,
    places: tuple[Tensor, Tensor, Tensor],
    change: Float[Tensor, " held"],
    *,
    like: Float[Tensor, "row pos d_model"],
) -> None:
    """Let change · decoder rows wait for the MLP output of every layer that the features write to."""
    rows, positions, features = places
    used, which = features.unique(return_inverse=True)
    decoder = dictionary.decoder_rows(layer, used).to(like)
    for k, target in enumerate(dictionary.targets(layer)):
        waiting = pending.setdefault(target, torch.zeros_like(like))
        waiting.index_put_((rows, positions), change[:, None].to(like) * decoder[which, k], accumulate=True)


def _activations(
    dictionary: Dictionary, layer: int, x: Float[Tensor, "held d_model"], features: Tensor
) -> Float[Tensor, " held"]:
    """The current activation of each held feature."""
    if dictionary.k is not None:  # features compete: all must be known
        return dictionary.encode_layer(layer, x.to(dictionary.dtype)).gather(1, features[:, None])[:, 0]
    used, which = features.unique(return_inverse=True)
    rows = dictionary.encoder_rows(layer, used)[which]
    before = (x.to(rows) * rows).sum(-1) + dictionary.b_enc(layer)[features]
    threshold = dictionary.threshold(layer)
    return before * (before > (0.0 if threshold is None else threshold[features]))
