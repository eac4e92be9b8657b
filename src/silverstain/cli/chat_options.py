"""`--chat`: the prompt is what a user says to an instruct model, in the model's own chat template."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from silverstain.errors import UsageError

if TYPE_CHECKING:
    from silverstain.models import LanguageModel


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Whether the prompt is put into the model's chat template, and behind which words of the system's."""

    chat: Annotated[
        bool, typer.Option("--chat/--no-chat", help="The prompt is what a user says, in the model's chat template.")
    ] = False
    system: Annotated[
        str | None, typer.Option(help="What the system says before the user, with --chat.", show_default=False)
    ] = None

    def check(self) -> None:
        """UsageError for words of the system's outside a conversation."""
        if self.system is not None and not self.chat:
            raise UsageError("--system is part of a conversation; add --chat")

    def set_up(self, model: "LanguageModel") -> None:
        """With --chat, the template's head keeps its real MLP. UsageError where the model has no template."""
        if self.chat:
            model.n_real = model.chat_head(system=self.system)

    def prompt(self, model: "LanguageModel", text: str) -> str | list[int]:
        """The text, or the tokens of the conversation in which the user says it."""
        return model.chat(text, system=self.system) if self.chat else text
