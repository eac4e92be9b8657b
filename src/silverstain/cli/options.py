"""Options that several verbs share, each written once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.errors import UsageError

if TYPE_CHECKING:
    import torch

    from silverstain.loading import ReplacementModel
    from silverstain.models import LanguageModel

Json = Annotated[bool, typer.Option("--json/--no-json", help="Print one JSON object on stdout.")]
Model = Annotated[
    str, typer.Option(help="organism, organism/SIBLING, a Hugging Face folder or a hub id.", rich_help_panel="Model")
]
DictionaryName = Annotated[
    str | None,
    typer.Option(
        "--dictionary", help="cross-layer or per-layer for the organism; else a folder or hub id.", show_default=False
    ),
]
CheckDictionary = Annotated[
    bool,
    typer.Option(
        "--check-dictionary/--no-check-dictionary",
        help="Try a dictionary that does not carry its model's hash on a short text first.",
        rich_help_panel="Model",
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        help="A file of text, JSONL or Parquet, a folder of them, or a dataset as hf://NAME; may be repeated.",
        show_default="the organism's own sentences",
    ),
]
Field = Annotated[str, typer.Option(help="The field of a row that holds its text, or its token ids.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads. One is fastest for the organism.", show_default=False)
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1 …")]
DType = Annotated[str, typer.Option("--dtype", help="float32 or float64.")]
Width = Annotated[int | None, typer.Option(min=40, help="Columns to draw in.", show_default="the terminal's")]
GraphFile = Annotated[Path, typer.Argument(help="A graph file, as `silverstain trace --out` writes it.")]


def load_replacement(
    model: str,
    dictionary: str | None,
    *,
    check_dictionary: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> "ReplacementModel":
    """The model with its dictionary, and the number of threads set for it."""
    import torch

    import silverstain

    _set_up(model, threads, device, dtype)
    return silverstain.load(
        model, dictionary=dictionary, check_dictionary=check_dictionary, device=device, dtype=getattr(torch, dtype)
    )


def load_model_alone(model: str, *, threads: int | None, device: str, dtype: str) -> "LanguageModel":
    """The model without a dictionary, and the number of threads set for it."""
    import torch

    _set_up(model, threads, device, dtype)
    name, _, sibling = model.partition("/")
    if name == "organism":
        from silverstain.organism import load_organism_model

        return load_organism_model(sibling or "general", device=device, dtype=getattr(torch, dtype))
    from silverstain.models import load_model

    return load_model(model, device=device, dtype=getattr(torch, dtype))


def _set_up(model: str, threads: int | None, device: str, dtype: str) -> None:
    """Check type and device, and set the threads."""
    if dtype not in ("float32", "float64"):
        raise UsageError(f"--dtype is {dtype!r}; give float32 or float64")
    import torch

    _check_device(device, getattr(torch, dtype))
    if threads is None and model.split("/")[0] == "organism" and device == "cpu":
        threads = 1  # measured: its matrices are so small that threads wait for each other
    if threads is not None:
        torch.set_num_threads(threads)


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
