"""What figures mean, in words: what a reader of the table should not overlook."""

import math
from collections.abc import Sequence

from silverstain.evaluation.fidelity import Fidelity

NEARLY_LINEAR = 0.1
"""An affine map that leaves less of the MLPs' variance makes features pointless: a small model grown on 2 M tokens had
0.06, the same one on 12 M tokens 0.46."""
PARTLY_LINEAR = 0.2
MANY_DEAD = 0.1
"""Share of features."""
FEWEST_ACTIVE = 0.1
"""Active features a token, below which a layer does next to nothing."""
LARGE_SKIP = 0.5
"""Share of the outputs' variance that a linear skip carries."""
TOKENS_A_DIMENSION = 20
"""Least squares has d_model + 1 unknowns for each output: on n tokens it leaves a share 1 − (d_model + 1) ÷ n of what
it cannot fit, so 5 % too little at 20 tokens a dimension, and nothing at all at one. With fewer, the figures of affine
maps are no verdict on the model, and are corrected by this share where a dictionary is compared with them."""
FEWEST_TOKENS = 1000
"""Below which a mean over tokens is a few tokens' own."""


def remarks(fidelity: Fidelity, *, d_model: int, d_vocab: int) -> list[str]:
    """One line each for what the figures say about the model, the text or the dictionary."""
    return [
        *_about_the_model(fidelity, d_model, d_vocab),
        *_about_the_text(fidelity, d_model),
        *_about_the_dictionary(fidelity, d_model),
    ]


def tells_affine(fidelity: Fidelity, d_model: int) -> bool:
    """Whether there are tokens enough for the figures of affine maps to say something of the model."""
    return fidelity.n_tokens >= TOKENS_A_DIMENSION * d_model


def _about_the_model(fidelity: Fidelity, d_model: int, d_vocab: int) -> list[str]:
    return [*_about_linearity(fidelity, d_model), *_about_surprise(fidelity, d_vocab)]


def _about_linearity(fidelity: Fidelity, d_model: int) -> list[str]:
    if not tells_affine(fidelity, d_model):
        return []
    left = fidelity.affine_nmse
    if left < NEARLY_LINEAR:
        return [
            f"The MLPs are nearly linear here: affine maps leave {left:.3f} of their variance. The model is "
            "under-trained, or this text exercises little of it; a small NMSE says nothing about the dictionary."
        ]
    if left < PARTLY_LINEAR:
        return [
            f"An affine map in place of each MLP leaves only {left:.2f} of the variance: judge the dictionary by "
            "NMSE ÷ affine rather than by NMSE."
        ]
    return []


def _about_surprise(fidelity: Fidelity, d_vocab: int) -> list[str]:
    if fidelity.n_tokens < FEWEST_TOKENS or fidelity.ce_model <= math.log(d_vocab):
        return []
    return [
        f"The model itself predicts this text worse than a guess among its {d_vocab:,} tokens "
        f"({fidelity.ce_model:.2f} nats, a guess {math.log(d_vocab):.2f}): it is untrained, or this is no text of "
        "its kind."
    ]


def _about_the_text(fidelity: Fidelity, d_model: int) -> list[str]:
    if tells_affine(fidelity, d_model):
        return []
    return [
        f"{fidelity.n_tokens:,} tokens are few for a width of {d_model}: too few to tell how linear the MLPs are "
        "(affine maps are fitted to these very tokens and look better than they are) or which features are dead. "
        f"Give {TOKENS_A_DIMENSION * d_model:,} or more."
    ]


def _about_the_dictionary(fidelity: Fidelity, d_model: int) -> list[str]:
    out, is_enough = [], fidelity.n_tokens >= FEWEST_TOKENS
    ratio = fidelity.nmse_ratio * max(0.0, 1 - (d_model + 1) / fidelity.n_tokens)
    if fidelity.n_tokens > 2 * d_model and ratio > 1:
        out.append(f"The dictionary misses {ratio:.1f} times what affine maps without any feature would miss.")
    idle = _layers([value < FEWEST_ACTIVE for value in fidelity.l0_layers or ()])
    if idle and is_enough:
        out.append(f"{idle} ran dry: fewer than {FEWEST_ACTIVE} active features a token.")
    if tells_affine(fidelity, d_model) and fidelity.dead is not None and fidelity.dead > MANY_DEAD:
        out.append(f"{fidelity.dead:.0%} of the features were active on none of these tokens.")
    if is_enough and fidelity.skip_share is not None and fidelity.skip_share > LARGE_SKIP:
        out.append(
            f"The linear skip carries {fidelity.skip_share:.0%} of the outputs' variance: features explain the "
            "rest, and the replacement score does not credit the skip."
        )
    return out


def _layers(chosen: Sequence[bool]) -> str:
    numbers = [str(layer) for layer, here in enumerate(chosen) if here]
    return "" if not numbers else f"Layer{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
