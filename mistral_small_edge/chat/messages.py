"""What is said: messages and the request that carries them.

Frozen values, free of any model's format. A door builds them; a renderer reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.sampling_params import SamplingParams

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `content` is plain text, whatever it looks like."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidRequest(
                f"role is {self.role!r}; it must be one of {', '.join(get_args(Role))}",
                "messages.role",
            )
        try:
            self.content.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"content is not valid Unicode at character {error.start}", "messages.content"
            ) from None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to be continued by the model.

    `sampling` None takes what the model's publisher recommends. A last message from the
    assistant is continued, not answered.
    """

    messages: tuple[Message, ...]
    sampling: SamplingParams | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise InvalidRequest("messages is empty; at least one is needed", "messages")
