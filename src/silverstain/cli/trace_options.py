"""How a prompt is traced, as the flags of `trace` say it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.errors import UsageError
from silverstain.storage import check_is_file
from silverstain.target_forms import read_form

if TYPE_CHECKING:
    import torch

    from silverstain.attribution import TraceSettings


@dataclass(frozen=True, kw_only=True)
class TraceOptions:
    """Flags that together are the settings of a trace."""

    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to explain; may be repeated: TOKEN, id:40, diff:TOKEN,TOKEN, L2.F17, "
            "direction:FILE.safetensors:NAME, each with @POSITION behind. Default: the likeliest tokens."
        ),
    ] = None
    probability: Annotated[
        float, typer.Option(min=0, max=1, help="Without --target: explain tokens until they reach this probability.")
    ] = 0.95
    most_targets: Annotated[int, typer.Option(min=1, help="… but no more tokens than these.")] = 10
    at: Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")] = -1
    max_features: Annotated[
        int | None,
        typer.Option(min=0, help="Room for features; the rest goes to error nodes.", show_default="all; 500 neurons"),
    ] = None
    share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of neurons: as few as carry this share of all contributions.", show_default=False
        ),
    ] = None
    neuron_rule: Annotated[
        str | None,
        typer.Option(help="How neurons are made linear: half, up, derivative or ray.", show_default="half"),
    ] = None
    bound: Annotated[
        float, typer.Option(min=0, max=1, help="Stop when this share of the influence or less is left unexplained.")
    ] = 0.0
    norms: Annotated[
        str,
        typer.Option(help="frozen, as recorded; or linearised: what a norm would divide away counts for nothing."),
    ] = "frozen"
    products: Annotated[
        str | None,
        typer.Option(help="bfloat16: faster, less exact products, where the hardware has them.", show_default=False),
    ] = None

    def check(self) -> None:
        """UsageError for targets whose text says nothing, or names a file that is not there: before torch is loaded."""
        for text in self.target or ():
            form = read_form(text)
            if form.kind == "direction":
                check_is_file(Path(form.file))

    def settings(self) -> "TraceSettings":
        """What the flags say; UsageError for targets, norms or products that do not exist."""
        from silverstain.attribution import TraceSettings, norms_named, read_target

        return TraceSettings(
            targets=tuple(read_target(text) for text in self.target or ()) or None,
            position=self.at,
            probability=self.probability,
            most_targets=self.most_targets,
            max_features=self.max_features,
            share=self.share,
            neuron_rule=self.neuron_rule,
            max_unexplained=self.bound,
            norms=norms_named(self.norms),
            products=_product_dtype(self.products),
        )


def _product_dtype(name: str | None) -> "torch.dtype | None":
    if name not in (None, "bfloat16", "float32"):
        raise UsageError(f"--products is {name!r}; give bfloat16 or float32")
    import torch

    return None if name is None else getattr(torch, name)
