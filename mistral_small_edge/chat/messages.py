"""What is said: messages and the request that carries them.

Frozen values, free of any model's format. A door builds them; a renderer reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mistral_small_edge.chat.tools import NamedTool
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.chat.response_format import ResponseFormat
    from mistral_small_edge.chat.tools import Tool, ToolCall, ToolChoice
    from mistral_small_edge.images import Image
    from mistral_small_edge.sampling_params import SamplingParams

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text, whatever it looks like."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture, where it stands among the texts of a user's message."""

    image: Image


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    `content` is plain text, or parts (pictures only from the user). `tool_calls` are the
    assistant's; `tool_call_id` says which of them a message of role "tool" answers.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidRequest(
                f"role is {self.role!r}; it must be one of {', '.join(get_args(Role))}",
                "messages.role",
            )
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(
                f"a message of role {self.role} has tool_calls; only the assistant calls",
                "messages.tool_calls",
            )
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise InvalidRequest(
                "tool_call_id belongs to messages of role tool, and to each of them",
                "messages.tool_call_id",
            )
        for part in self.parts:
            self._check(part)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; a string is one of them, and an empty one is none."""
        if isinstance(self.content, str):
            return (TextPart(self.content),) if self.content else ()
        return self.content

    @property
    def text(self) -> str:
        """The content's texts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    def _check(self, part: Part) -> None:
        if isinstance(part, ImagePart):
            if self.role != "user":
                raise InvalidRequest(
                    f"a message of role {self.role} has an image; only the user shows images",
                    "messages.content",
                )
            return
        try:
            part.text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"content is not valid Unicode at character {error.start}", "messages.content"
            ) from None


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Text, or the ids of it, to be gone on with: no turns, no marks but those among the ids.

    `sampling` None takes what the model's publisher recommends.
    """

    prompt: str | tuple[int, ...]
    sampling: SamplingParams | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to be continued by the model.

    `sampling` None takes what the model's publisher recommends. A last message from the
    assistant is continued, not answered. `tool_choice` None is auto where there are tools.
    `response_format` None is free text.
    """

    messages: tuple[Message, ...]
    sampling: SamplingParams | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise InvalidRequest("messages is empty; at least one is needed", "messages")
        names = [tool.name for tool in self.tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidRequest(f"two tools are named {twice!r}", "tools")
        self._check_choice(names)

    def _check_choice(self, names: list[str]) -> None:
        choice = self.tool_choice
        if choice not in (None, "none") and not names:
            raise InvalidRequest("tool_choice asks for a tool and tools is empty", "tool_choice")
        if isinstance(choice, NamedTool) and choice.name not in names:
            raise InvalidRequest(
                f"tool_choice names {choice.name!r}; the tools are {', '.join(names)}",
                "tool_choice",
            )
