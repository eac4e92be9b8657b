"""Where circuit-tracer's results are: small cases in this folder, and larger ones beside the repository if it has them.

A test takes them as parameters, and is skipped on those that are not here:

    @pytest.mark.parametrize("case", cases(*LLAMA))
    def test_...(case: Path): ...
"""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BESIDE = Path(os.environ.get("SILVERSTAIN_GOLDEN", HERE.parents[2] / "shared" / "golden"))

LLAMA = ("llama_plt", "a_llama_plt")
"""JumpReLU with a linear skip, read and written at the MLP."""
GPT2 = ("gpt2_plt", "a_gpt2_plt")
"""ReLU, read and written at the MLP."""
GEMMA2 = ("gemma2_clt", "b_gemma2_clt")
"""Across layers, JumpReLU, read from the residual stream and written behind the norm that follows the MLP."""
ALL = (*LLAMA, *GPT2, *GEMMA2)


def case(name: str) -> Path:
    """The folder of a case, be it there or not."""
    return BESIDE / name if name.startswith(("a_", "b_")) else HERE / name


def cases(*names: str) -> list:
    """Their folders as parameters of a test. What is missing beside the repository skips; here nothing may miss."""
    return [
        pytest.param(
            case(name),
            id=name,
            marks=pytest.mark.skipif(
                case(name).parent == BESIDE and not case(name).is_dir(), reason=f"{name} is not at {BESIDE}"
            ),
        )
        for name in names
    ]
