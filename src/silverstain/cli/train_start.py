"""The dictionary that `silverstain train --start` begins from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from silverstain.cli.options import LoadingOptions, ModelOptions, load_replacement
from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.bases import Dictionary
    from silverstain.models import LanguageModel


WARMUP = 50
"""Steps over which the learning rate rises: Adam knows no gradient yet, and its first steps would undo what was learned
(without it the divergence of a transcoder of SmolLM2 rose from 1.2 to 1.9 in three steps)."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The dictionary that a run begins from, if any, with its model."""

    host: "LanguageModel | None" = None
    dictionary: "Dictionary | None" = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        return self.settings.get("kind")

    def over(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The options with what the dictionary decides; its features may be more than are asked for."""
        if not self.settings or self.host is None:
            return dict(chosen)
        asked, there = chosen.get("n_features"), self.settings["n_features"]
        if asked and asked > there:
            raise UsageError(
                f"the dictionary to start from has {there:,} features a layer, and --features is {asked:,}"
            )
        if chosen.get("steps"):
            raise UsageError(
                "with --start there is no phase of reconstruction; leave --steps out, and give the steps of the second "
                "phase as --set finetune_steps=N"
            )
        decided = {name: value for name, value in self.settings.items() if name != "kind"}
        from silverstain.training.sizes import size_of

        size = size_of(self.host.d_model)
        return {
            **chosen, **decided, "n_features": asked or there,
            "finetune_steps": round(size.finetune_share * size.steps), "warmup": WARMUP,
        }  # fmt: skip


def beginning_from(start: str, loading: ModelOptions, kind: str | None, sweep: str | None) -> Beginning:
    """The dictionary that `--start` names, and what it decides."""
    from silverstain.training.sizes import KINDS
    from silverstain.training.starting import settings_of

    if sweep is not None:
        raise UsageError("a sweep trains from the beginning; give --start or --sweep")
    loaded = load_replacement(LoadingOptions(**vars(loading), dictionary=start))
    settings = settings_of(loaded.trained)
    if kind is not None and KINDS.get(kind, kind) != settings["kind"]:
        raise UsageError(f"{start} is {settings['kind']}, and --kind is {kind}; leave --kind out with --start")
    return Beginning(host=loaded.model, dictionary=loaded.trained, settings=settings)
