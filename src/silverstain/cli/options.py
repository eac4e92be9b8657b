"""Options that several verbs share, each written once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.errors import UsageError
from silverstain.references import check_model_reference, check_references

if TYPE_CHECKING:
    import torch

    from silverstain.loading import ReplacementModel
    from silverstain.models import LanguageModel

Json = Annotated[bool, typer.Option("--json/--no-json", help="Print one JSON object on stdout.")]
DictionaryName = Annotated[
    str | None,
    typer.Option(
        "--dictionary", help="cross-layer or per-layer for the organism; else a folder or hub id.", show_default=False
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads. One is fastest for the organism.", show_default=False)
]
Width = Annotated[int | None, typer.Option(min=40, help="Columns to draw in.", show_default="the terminal's")]
DictionaryArgument = Annotated[
    str, typer.Argument(help="A folder or hub id; cross-layer or per-layer for the organism.")
]
GraphFile = Annotated[Path, typer.Argument(help="A graph file: of `silverstain trace --out`, or of another tool.")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model is loaded, and where it computes."""

    model: Annotated[str, typer.Option(help="organism, organism/SIBLING, a Hugging Face folder or a hub id.")] = (
        "organism"
    )
    threads: Threads = None
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1 …")] = "cpu"
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32"


@dataclass(frozen=True, kw_only=True)
class LoadingOptions(ModelOptions):
    """A model, and the dictionary that stands in for its MLPs."""

    dictionary: DictionaryName = None
    check_dictionary: Annotated[
        bool,
        typer.Option(
            "--check-dictionary/--no-check-dictionary",
            help="Try a dictionary that does not carry its model's hash on a short text first.",
        ),
    ] = True


def load_replacement(options: LoadingOptions) -> "ReplacementModel":
    """The model with its dictionary, and the number of threads set for it."""
    import silverstain

    check_references(options.model, options.dictionary)
    dtype = _set_up(options)
    return silverstain.load(
        options.model,
        dictionary=options.dictionary,
        check_dictionary=options.check_dictionary,
        device=options.device,
        dtype=dtype,
    )


def load_model_alone(options: ModelOptions) -> "LanguageModel":
    """The model without a dictionary, and the number of threads set for it."""
    check_model_reference(options.model)
    dtype = _set_up(options)
    name, _, sibling = options.model.partition("/")
    if name == "organism":
        from silverstain.organism import load_organism_model

        return load_organism_model(sibling or "general", device=options.device, dtype=dtype)
    from silverstain.models import load_model

    return load_model(options.model, device=options.device, dtype=dtype)


def _set_up(options: ModelOptions) -> "torch.dtype":
    """Set the threads and give the type; UsageError if it cannot be computed with on the device."""
    if options.dtype not in ("float32", "float64"):
        raise UsageError(f"--dtype is {options.dtype!r}; give float32 or float64")
    import torch

    dtype, threads = getattr(torch, options.dtype), options.threads
    _check_device(options.device, dtype)
    if threads is None and options.model.split("/")[0] == "organism" and options.device == "cpu":
        threads = 1  # measured: its matrices are so small that threads wait for each other
    if threads is not None:
        torch.set_num_threads(threads)
    return dtype


def _check_device(device: str, dtype: "torch.dtype") -> None:
    """UsageError unless numbers can be kept there and read back, and those of this type be computed with."""
    import torch

    try:
        torch.zeros(1, device=device).item()
        _check_type(device, dtype)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no one error for this
        found = torch.cuda.device_count()
        there = "cpu" if not found else "cpu, cuda:0" if found == 1 else f"cpu, cuda:0 to cuda:{found - 1}"
        raise UsageError(f"--device is {device!r}, which cannot be used here; there is {there}") from error


def _check_type(device: str, dtype: "torch.dtype") -> None:
    import torch

    try:
        matrix = torch.ones(2, 2, device=device, dtype=dtype)
        (matrix @ matrix).sum().item()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # a device without float64, such as mps
        name = str(dtype).removeprefix("torch.")
        raise UsageError(f"{device} cannot compute in {name}; give --dtype float32, or --device cpu") from error
