"""`silverstain doctor`: check that this installation can do its work."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NamedTuple

import typer

from silverstain.cli import output
from silverstain.cli.options import Json
from silverstain.parts import shown_path

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "typer",
    "rich",
    "gguf",
    "accelerate",
)
SMALLEST_PYTHON = (3, 11)


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    seen: str
    advice: str = ""
    """What to do about it, if it is not as it should be."""


@app.command(epilog="The exit code is 1 if something is missing.")
def doctor(
    quick: Annotated[bool, typer.Option(help="Do not load the organism.")] = False,
    json: Json = False,
) -> None:
    """Check that this installation can do its work."""
    checks = [_python(), *map(_package, PACKAGES), _torch(), _terminal(), _models()]
    if not quick:
        checks.append(_organism())
    healthy = all(check.ok for check in checks)
    if json:
        output.emit({"ok": healthy, "checks": [check._asdict() for check in checks]})
    else:
        output.data(output.table([["✓" if c.ok else "✗", c.name, c.seen] for c in checks]))
        for check in checks:
            if not check.ok:
                output.talk(f"{check.name}: {check.advice}")
        output.talk("All is well. Next: silverstain demo" if healthy else "Something is missing.")
    if not healthy:
        raise typer.Exit(1)


def _python() -> Check:
    ok = sys.version_info >= SMALLEST_PYTHON
    return Check("python", ok, f"{platform.python_version()} on {platform.machine()}", "install Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False, "not installed", f"install it: pip install {name}")


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("devices", False, f"torch does not start: {error}", "install it again: pip install torch")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    seen = f"cpu with {torch.get_num_threads()} threads" + "".join(f", {name}" for name in names)
    return Check("devices", True, seen)


def _terminal() -> Check:
    encoding = (sys.stdout.encoding or "ascii").lower()
    ok = encoding.startswith("utf")
    return Check("terminal", ok, encoding, "drawings need UTF-8: export PYTHONIOENCODING=utf-8")


def _models() -> Check:
    """Which real models are here. That none is, is no fault."""
    from silverstain.known_models import KNOWN_MODELS, models_folder
    from silverstain.model_origin import kept_origin

    found = {name: kept_origin(model) for name, model in KNOWN_MODELS.items()}
    here = [f"{name} ({origin.words})" for name, origin in found.items() if origin is not None]
    if not here:
        return Check("models", True, "none is fetched yet: silverstain models list")
    return Check("models", True, f"{', '.join(here)} in {shown_path(models_folder())}")


def _organism() -> Check:
    """Load it with its dictionary and let it answer."""
    import silverstain
    from silverstain.errors import SilverstainError

    try:
        loaded = silverstain.load("organism")
    except (SilverstainError, ImportError, OSError) as error:
        return Check("organism", False, str(error), "install silverstain again, or grow it: silverstain organism grow")
    seen = f"{loaded.model.name} {loaded.model.hash}, dictionary {loaded.dictionary.name} {loaded.dictionary.hash}"
    return Check("organism", True, seen)
