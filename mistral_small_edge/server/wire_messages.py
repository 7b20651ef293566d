"""Messages, tools and response formats as JSON carries them, and what they are to `chat`.

Fields that are missing from a class are not ignored: `fields.unknown` finds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue

from mistral_small_edge.chat.messages import ImagePart, Message, Part, TextPart
from mistral_small_edge.chat.response_format import (
    Choice,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    Regex,
    ResponseFormat,
)
from mistral_small_edge.chat.tools import NamedTool, Tool, ToolCall, ToolChoice
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images import Detail
from mistral_small_edge.server.fields import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mistral_small_edge.images import Image

Address = tuple[str, Detail]


class WireText(Wire):
    """Text in a message."""

    type: Literal["text"]
    text: str


class WireImageUrl(Wire):
    """Where a picture is."""

    url: str
    detail: Detail | None = None


class WireImage(Wire):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: WireImageUrl | str

    @property
    def url(self) -> str:
        """Where it is."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def detail(self) -> Detail:
        """How closely it is to be looked at."""
        given = None if isinstance(self.image_url, str) else self.image_url.detail
        return given or "auto"

    @property
    def address(self) -> Address:
        """What tells it from other pictures of the request."""
        return self.url, self.detail


class WireFunctionCall(Wire):
    """What was called."""

    name: str
    arguments: str


class WireToolCall(Wire):
    """A call that the assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: WireFunctionCall

    def value(self) -> ToolCall:
        """As chat knows it."""
        return ToolCall(self.id, self.function.name, self.function.arguments)


WirePart = Annotated[WireText | WireImage, Field(discriminator="type")]


class WireMessage(Wire):
    """One message of any role.

    The fields after `tool_call_id` are what OpenAI's client sends back of an answer, all null.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[WirePart] | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_call_id: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None

    def value(self, images: Mapping[Address, Image]) -> Message:
        """As chat knows it; `images` has its pictures.

        Raises:
            InvalidRequest: the fields do not go together.
        """
        return Message(
            "system" if self.role == "developer" else self.role,
            self._content(images),
            tuple(call.value() for call in self.tool_calls or ()),
            self.tool_call_id,
        )

    def _content(self, images: Mapping[Address, Image]) -> str | tuple[Part, ...]:
        if not isinstance(self.content, list):
            return self.content or ""
        return tuple(
            TextPart(part.text) if isinstance(part, WireText) else ImagePart(images[part.address])
            for part in self.content
        )


def images_of(messages: Iterable[WireMessage]) -> Iterator[tuple[str, WireImage]]:
    """Every picture of a conversation, and the path of its field.

    Raises:
        InvalidRequest: somebody else than the user shows one.
    """
    for at, message in enumerate(messages):
        parts = message.content if isinstance(message.content, list) else ()
        for number, part in enumerate(parts):
            if isinstance(part, WireImage):
                path = f"messages.{at}.content.{number}.image_url"
                if message.role != "user":
                    raise InvalidRequest(
                        f"a message of role {message.role} has an image; only the user shows images",
                        path,
                    )
                yield path, part


class WireFunction(Wire):
    """What a tool does, for the model to read."""

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class WireTool(Wire):
    """A tool that the caller would run."""

    type: Literal["function"]
    function: WireFunction

    def value(self) -> Tool:
        """As chat knows it.

        Raises:
            InvalidRequest: a name or a schema that cannot be.
        """
        given = self.function.model_dump(exclude_none=True)
        return Tool(**given)


class WireFunctionName(Wire):
    """The one function to call."""

    name: str


class WireNamedTool(Wire):
    """The choice of one tool."""

    type: Literal["function"]
    function: WireFunctionName


WireToolChoice = Literal["none", "auto", "required"] | WireNamedTool


def tool_choice(wire: WireToolChoice | None) -> ToolChoice | None:
    """As chat knows it."""
    return NamedTool(wire.function.name) if isinstance(wire, WireNamedTool) else wire


class WireSchema(Wire):
    """A JSON schema and its name. `strict` may say no; a schema is enforced all the same."""

    name: str
    description: str | None = None
    schema_: dict[str, JsonValue] | bool = Field(alias="schema")
    strict: bool | None = None


class AsText(Wire):
    """Any text."""

    type: Literal["text"]


class AsJsonObject(Wire):
    """Any JSON object."""

    type: Literal["json_object"]


class AsJsonSchema(Wire):
    """JSON that a schema admits."""

    type: Literal["json_schema"]
    json_schema: WireSchema


class AsEnum(Wire):
    """One of some strings, bare."""

    type: Literal["enum"]
    enum: list[str]


class AsRegex(Wire):
    """Text that a pattern matches."""

    type: Literal["regex"]
    regex: str


class AsGrammar(Wire):
    """Text that a grammar derives."""

    type: Literal["grammar"]
    grammar: str


WireFormat = Annotated[
    AsText | AsJsonObject | AsJsonSchema | AsEnum | AsRegex | AsGrammar,
    Field(discriminator="type"),
]


def response_format(wire: WireFormat | None) -> ResponseFormat | None:
    """As chat knows it; None for free text.

    Raises:
        InvalidRequest: what cannot be a shape.
    """
    match wire:
        case AsJsonObject():
            return JsonObject()
        case AsJsonSchema():
            return JsonSchema(wire.json_schema.schema_)
        case AsEnum():
            return Choice(tuple(wire.enum))
        case AsRegex():
            return Regex(wire.regex)
        case AsGrammar():
            return LarkGrammar(wire.grammar)
    return None
