"""Mistral Small 3.2's own format, as mistral_common's v11 tokenizer defines it.

    <s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]u[/INST]a</s>
    [AVAILABLE_TOOLS][json][/AVAILABLE_TOOLS][INST]u[/INST]
    [TOOL_CALLS]name[CALL_ID]abcDEF123[ARGS]{"k": 1}</s>[TOOL_RESULTS]abcDEF123[TOOL_CONTENT]r[/TOOL_RESULTS]

without the line breaks. Tools stand before the last user message. Every Text is encoded in one
piece, as it is there: the tests compare the ids with the original's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from mistral_small_edge.chat.call_grammar import call_rules
from mistral_small_edge.chat.call_ids import CallIds
from mistral_small_edge.chat.chunks import Chunk, Control, ImageGrid, Text
from mistral_small_edge.chat.messages import ImagePart, TextPart
from mistral_small_edge.chat.parser import OutputParser
from mistral_small_edge.chat.tool_results import check_results
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from mistral_small_edge.chat.grammar import AnswerRules
    from mistral_small_edge.chat.messages import ChatRequest, Message, Part, Role
    from mistral_small_edge.chat.tools import Tool, ToolCall
    from mistral_small_edge.images import Image

BOS, EOS = Control("<s>"), Control("</s>")
SYSTEM, END_SYSTEM = Control("[SYSTEM_PROMPT]"), Control("[/SYSTEM_PROMPT]")
USER, END_USER = Control("[INST]"), Control("[/INST]")
TOOLS, END_TOOLS = Control("[AVAILABLE_TOOLS]"), Control("[/AVAILABLE_TOOLS]")
CALL, CALL_ID, ARGUMENTS = Control("[TOOL_CALLS]"), Control("[CALL_ID]"), Control("[ARGS]")
RESULT, RESULT_CONTENT = Control("[TOOL_RESULTS]"), Control("[TOOL_CONTENT]")
END_RESULT = Control("[/TOOL_RESULTS]")
CONTROLS = (
    *(BOS, EOS, SYSTEM, END_SYSTEM, USER, END_USER, TOOLS, END_TOOLS),
    *(CALL, CALL_ID, ARGUMENTS, RESULT, RESULT_CONTENT, END_RESULT),
)
JOINT = "\n\n"  # between texts that become one turn


def speaks_v11(control_tokens: Collection[str]) -> bool:
    """Whether a vocabulary has every control token that the format needs."""
    return all(control.name in control_tokens for control in CONTROLS)


class TekkenV11:
    """The format as a Dialect."""

    family = ("mistral-small-3.2", "mistralai/Mistral-Small-3.2-24B-Instruct-2506")

    def render(self, request: ChatRequest) -> tuple[Chunk, ...]:
        """The prompt for the next assistant turn, or for the rest of the one begun.

        Raises:
            InvalidRequest: calls and results do not match, or tools have nowhere to stand.
        """
        check_results(request.messages)
        ids = CallIds(request.messages)
        turns = _turns(request.messages)
        last_user = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
        if request.tools and last_user is None:
            raise InvalidRequest(
                "tools are told with a user message, and messages has none", "messages"
            )
        chunks: list[Chunk] = [BOS]
        for index, turn in enumerate(turns):
            if index == last_user and request.tools:
                chunks += [TOOLS, Text(_tools_json(request.tools)), END_TOOLS]
            chunks += _RENDER[turn.role](turn, ids)
        if turns[-1].role == "assistant":
            chunks.pop()  # it is continued: not ended yet
        return tuple(chunks)

    def begun(self, request: ChatRequest) -> str:
        """What the caller wrote of the answer, as it is rendered."""
        last = self.render(request)[-1] if request.messages[-1].role == "assistant" else None
        return last.text if isinstance(last, Text) else ""

    def rules(self, request: ChatRequest) -> AnswerRules | None:
        """What the request's tools and response_format make of the answer; None: anything."""
        return call_rules(request)

    def parser(self, request: ChatRequest) -> OutputParser:
        """A parser that knows the request's tools, and the ids of its conversation."""
        ids = CallIds(request.messages)
        return OutputParser({tool.name for tool in request.tools}, ids.of_answer)


def image_grid(image: Image) -> ImageGrid:
    """The cells an image is seen in."""
    return ImageGrid(image, columns=image.columns, rows=image.rows)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Neighbouring messages of one role; a system or tool message stands for itself."""

    role: Role
    messages: tuple[Message, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for message in self.messages for part in message.parts)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(call for message in self.messages for call in message.tool_calls)


def _turns(messages: tuple[Message, ...]) -> list[_Turn]:
    turns: list[_Turn] = []
    for role, group in groupby(messages, key=lambda message: message.role):
        some = tuple(group)
        if role in ("user", "assistant"):
            turns.append(_Turn(role, some))
            continue
        if role == "tool":  # trained in the order of the calls, whatever came first
            order = {call.id: index for index, call in enumerate(turns[-1].calls)}
            some = tuple(sorted(some, key=lambda message: order[message.tool_call_id or ""]))
        turns += [_Turn(role, (one,)) for one in some]
    return turns


def _system(turn: _Turn, _: CallIds) -> Iterator[Chunk]:
    yield SYSTEM
    yield from _content(turn.parts)
    yield END_SYSTEM


def _user(turn: _Turn, _: CallIds) -> Iterator[Chunk]:
    content = _content(turn.parts)
    pictures = [index for index, chunk in enumerate(content) if isinstance(chunk, ImageGrid)]
    if pictures == [len(content) - 1]:  # the only one, behind text: trained to be seen first
        content.insert(0, content.pop())
    yield USER
    yield from content
    yield END_USER


def _assistant(turn: _Turn, ids: CallIds) -> Iterator[Chunk]:
    for text in _content(turn.parts):
        if isinstance(text, Text):
            yield Text(text.text.rstrip(" "))
    for call in turn.calls:
        yield from (CALL, Text(call.name), CALL_ID, Text(ids.for_model(call.id)))
        yield from (ARGUMENTS, Text(_arguments_json(call)))
    yield EOS


def _result(turn: _Turn, ids: CallIds) -> Iterator[Chunk]:
    (message,) = turn.messages
    assert message.tool_call_id is not None  # noqa: S101 - Message requires it of this role
    yield from (RESULT, Text(ids.for_model(message.tool_call_id)), RESULT_CONTENT)
    yield from _content(turn.parts)
    yield END_RESULT


_RENDER = {"system": _system, "user": _user, "assistant": _assistant, "tool": _result}


def _content(parts: Iterable[Part]) -> list[Text | ImageGrid]:
    """Texts next to each other as one, pictures between them; what is empty is nothing."""
    chunks: list[Text | ImageGrid] = []
    for kind, group in groupby(
        (part for part in parts if part != TextPart("")), key=lambda part: type(part)
    ):
        if kind is TextPart:
            chunks.append(Text(JOINT.join(p.text for p in group if isinstance(p, TextPart))))
        else:
            chunks += [image_grid(part.image) for part in group if isinstance(part, ImagePart)]
    return chunks


def _tools_json(tools: Iterable[Tool]) -> str:
    return _json(
        [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in tools
        ]
    )


def _arguments_json(call: ToolCall) -> str:
    """The arguments as the model writes JSON; text that is no JSON becomes a JSON string."""
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = call.arguments
    text = _json(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"the arguments of call {call.id!r} hold half of a surrogate pair",
            "messages.tool_calls.function.arguments",
        ) from None
    return text


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
