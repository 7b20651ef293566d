"""Tool calls as a grammar: how Mistral's v11 spells them, held to each tool's schema.

    [TOOL_CALLS] name [CALL_ID] nine characters [ARGS] json

once or several times. The id may be missing, as the model may leave it out. The JSON is spaced as
in training, so that a call reads the same when it comes back in the next prompt.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mistral_small_edge.chat.grammar import ANSWER, AnswerRules, Grammar, Part, answer_part
from mistral_small_edge.chat.json_schema import ONE_SPELLING, check_schema
from mistral_small_edge.chat.parser import ARGUMENTS, CALL, CALL_ID
from mistral_small_edge.chat.tools import NamedTool

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.chat.tools import Tool

_CONTROLS = {"open": CALL, "number": CALL_ID, "arguments": ARGUMENTS}
_JSON_STYLE = {
    **ONE_SPELLING,
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
_PARAM = "tools.function.parameters"


def call_rules(request: ChatRequest) -> AnswerRules | None:
    """What the request's tools, tool_choice and response_format make of the answer; None: anything.

    Raises:
        InvalidGrammar: a schema that says what cannot be enforced.
    """
    answer = answer_part(request.response_format) if request.response_format else None
    if not request.tools:
        return AnswerRules(_grammar(answer, ())) if answer else None
    choice = request.tool_choice
    if choice == "none":
        return AnswerRules(_grammar(answer, ()) if answer else None, forbidden=(CALL,))
    if isinstance(choice, NamedTool):
        named = tuple(tool for tool in request.tools if tool.name == choice.name)
        return AnswerRules(_grammar(None, named), prose_until=CALL)
    calls = _grammar(
        None if choice == "required" else answer, request.tools, many=request.parallel_tool_calls
    )
    free = choice != "required" and answer is None
    return AnswerRules(calls, opened_by=CALL if free else None, prose_until=CALL)


def _grammar(answer: Part | None, tools: tuple[Tool, ...], *, many: bool = False) -> Grammar:
    starts = [f"@{ANSWER}"] if answer else []
    starts += [f"call{'+' * many}"] if tools else []
    rules = [f"start: {' | '.join(starts)}"]
    parts = [answer] if answer else []
    if not tools:
        return Grammar(tuple(rules), tuple(parts), {})
    names = " | ".join(f"call_{index}" for index in range(len(tools)))
    rules += [f"call: open ({names})", "id: number /[a-zA-Z0-9]{9}/"]
    for index, tool in enumerate(tools):
        rules.append(f"call_{index}: {json.dumps(tool.name)} id? arguments @tool_{index}")
        parts.append(_arguments(f"tool_{index}", tool))
    return Grammar(tuple(rules), tuple(parts), _CONTROLS)


def _arguments(name: str, tool: Tool) -> Part:
    if tool.strict:
        check_schema(tool.parameters, _PARAM)
    options = _JSON_STYLE if tool.strict else {**_JSON_STYLE, "lenient": True}
    schema = {"type": "object", **tool.parameters, "x-guidance": options}
    return Part(name, _PARAM, f"the parameters of {tool.name}", {"json_schema": schema})
