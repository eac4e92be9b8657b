"""No verdict from too few tokens: what each remark needs before it is made."""

import pytest

from silverstain.evaluation.fidelity import Fidelity
from silverstain.evaluation.remarks import remarks


def fidelity(**figures):
    given = {
        "n_tokens": 100_000, "nmse": 0.05, "nmse_layers": (0.05,), "nmse_pooled": 0.05, "affine_nmse": 0.5,
        "affine_nmse_layers": (0.5,), "kl": 0.1, "top1_match": 0.9, "top1_match_determined": None, "families": {},
        "ce_model": 2.0, "ce_replaced": 2.1, "ce_recovered": 0.9,
    }  # fmt: skip
    return Fidelity(**{**given, **figures})


@pytest.mark.parametrize(
    ("figures", "words", "needed"),
    [
        ({"affine_nmse": 0.01}, "nearly linear", 20 * 576),
        ({"affine_nmse": 0.15}, "leaves only 0.15 of the variance", 20 * 576),
        ({"dead": 0.5}, "active on none of these tokens", 20 * 576),
        ({"l0_layers": (0.01,)}, "ran dry", 1000),
        ({"skip_share": 0.9}, "The linear skip carries", 1000),
        ({"ce_model": 12.0}, "worse than a guess", 1000),
    ],
)
def test_a_verdict_needs_its_tokens(figures, words, needed):
    def said(n):
        return " ".join(remarks(fidelity(n_tokens=n, **figures), d_model=576, d_vocab=49_152))

    assert words in said(needed)
    assert words not in said(needed - 1)
    assert ("too few to tell" in said(needed)) == (needed < 20 * 576)


def test_a_remark_on_linearity_fits_in_two_lines():
    said = remarks(fidelity(affine_nmse=0.0123), d_model=576, d_vocab=49_152)[0]
    assert "nearly linear here: affine maps leave 0.012 of" in said
    assert len(said) <= 2 * 110


def test_508_tokens_of_a_wide_model_say_nothing_of_its_linearity():
    """Least squares has more unknowns than that, and leaves nothing."""
    (said,) = remarks(fidelity(n_tokens=508, affine_nmse=0.0), d_model=576, d_vocab=49_152)
    assert said.startswith("508 tokens are few for a width of 576: too few to tell how linear the MLPs are")
    assert said.endswith("Give 11,520 or more.")


def test_the_comparison_with_affine_maps_takes_off_what_they_fit_by_chance():
    """At 4 tokens an unknown they leave a quarter too little."""
    for affine, is_worse in ((0.08, False), (0.03, True)):
        said = remarks(fidelity(n_tokens=4 * 577, nmse=0.1, affine_nmse=affine), d_model=576, d_vocab=100)
        assert any("times what affine maps" in line for line in said) == is_worse
