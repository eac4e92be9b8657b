"""Options that several verbs share, each written once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.cli import output
from silverstain.cli.quick_start import collect_as_usual
from silverstain.errors import UsageError
from silverstain.parts import shown_path
from silverstain.references import ORGANISM_DICTIONARIES, check_model_reference, check_references, is_organism
from silverstain.storage import check_is_file

if TYPE_CHECKING:
    import torch

    from silverstain.loading import ReplacementModel
    from silverstain.models import LanguageModel


def checked_threads(n: int | None) -> int | None:
    """UsageError for more threads than there are cores: some thousands of them end the process with a signal."""
    cores = os.cpu_count() or 1
    if n is not None and n > cores:
        raise UsageError(f"--threads is {n}, but there are {cores} cores; give at most {cores}")
    return n


Json = Annotated[bool, typer.Option("--json/--no-json", help="Print one JSON object on stdout.")]
DictionaryName = Annotated[
    str | None,
    typer.Option(
        "--dictionary",
        help="A folder, a hub id, or neurons, the model's own; cross-layer or per-layer for the organism.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, callback=checked_threads, help="CPU threads. One is fastest for the organism.", show_default=False
    ),
]
Width = Annotated[
    int | None, typer.Option(min=40, max=1_000, help="Columns to draw in.", show_default="the terminal's")
]
Boxes = Annotated[int, typer.Option(min=1, help="Draw at most this many boxes between words and answer.")]
DictionaryArgument = Annotated[
    str, typer.Argument(help="A folder or hub id; cross-layer or per-layer for the organism.")
]


def existing(path: Path | None) -> Path | None:
    """UsageError unless there is such a file, where one is named: asked before anything is loaded."""
    if path is not None:
        check_is_file(path)
    return path


def check_graph_suffix(path: Path | None) -> None:
    """UsageError for the name of a graph to write that says it is something else."""
    wrong = (".json", ".pt", ".svg", ".png", ".html", ".md", ".txt", ".pdf")
    if path is not None and path.suffix.lower() in wrong:
        raise UsageError(
            f"a graph is written as safetensors, and {shown_path(path)} ends in {path.suffix}; give --out "
            f"{shown_path(path.with_suffix('.safetensors'))}"
        )


GraphFile = Annotated[
    Path, typer.Argument(callback=existing, help="A graph file: of `silverstain trace --out`, or of another tool.")
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model is loaded, and where it computes."""

    model: Annotated[
        str,
        typer.Option(
            help="organism, organism/SIBLING, a name of `silverstain models list`, a Hugging Face folder, a GGUF file "
            "or a hub id."
        ),
    ] = "organism"
    threads: Threads = None
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1 …")] = "cpu"
    dtype: Annotated[str, typer.Option("--dtype", help="float32 or float64.")] = "float32"

    def check(self) -> None:
        """UsageError for what can be told to be wrong before anything is loaded."""
        if self.dtype not in ("float32", "float64"):
            raise UsageError(f"--dtype is {self.dtype!r:.80}; give float32 or float64")
        check_model_reference(self.model)
        if is_organism(self.model):
            from silverstain.organism import model_path

            model_path(self.model.partition("/")[2] or "general")


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

    def check(self) -> None:
        """The same, and a dictionary that is not there."""
        super().check()
        check_references(self.model, self.dictionary)
        if is_organism(self.model) and self.dictionary in (None, *ORGANISM_DICTIONARIES):
            from silverstain.organism import dictionary_path

            dictionary_path(self.model.partition("/")[2] or "general", self.dictionary)


def load_replacement(options: LoadingOptions) -> "ReplacementModel":
    """The model with its dictionary, and the number of threads set for it."""
    import silverstain

    dtype = _set_up(options)
    if options.dictionary is None and not is_organism(options.model):
        output.talk("no dictionary is named: reading the model's own neurons")
    loaded = silverstain.load(
        options.model,
        dictionary=options.dictionary,
        check_dictionary=options.check_dictionary,
        device=options.device,
        dtype=dtype,
    )
    collect_as_usual()
    return loaded


def load_model_alone(options: ModelOptions) -> "LanguageModel":
    """The model without a dictionary, and the number of threads set for it."""
    dtype = _set_up(options)
    if is_organism(options.model):
        from silverstain.organism import load_organism_model

        return load_organism_model(options.model.partition("/")[2] or "general", device=options.device, dtype=dtype)
    from silverstain.models import load_model

    return load_model(options.model, device=options.device, dtype=dtype)


def _set_up(options: ModelOptions) -> "torch.dtype":
    """Set the threads and give the type; UsageError if it cannot be computed with on the device."""
    options.check()
    import torch

    dtype, threads = getattr(torch, options.dtype), options.threads
    _check_device(options.device, dtype)
    if threads is None and is_organism(options.model) and options.device == "cpu":
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
