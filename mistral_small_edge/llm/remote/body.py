"""Requests as the server's interface spells them: the way back from what `server.wire_*` reads.

What a body says is read as the very request that it was made of, pictures included, so that the server
computes what would be computed here. What it cannot say is refused by name, and never left out.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest, ImagePart
from mistral_small_edge.chat.response_format import (
    Choice,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    Regex,
)
from mistral_small_edge.chat.tools import NamedTool
from mistral_small_edge.errors import InvalidRequest, UnsupportedImage
from mistral_small_edge.images.geometry import cells

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import Message, Part, TextRequest
    from mistral_small_edge.chat.response_format import ResponseFormat
    from mistral_small_edge.chat.tools import Tool, ToolCall, ToolChoice
    from mistral_small_edge.images import Image
    from mistral_small_edge.sampling_params import SamplingParams

JSONObject = dict[str, object]


def chat_body(request: ChatRequest) -> JSONObject:
    """What `POST /v1/chat/completions` is sent, but for the model and how the answer is to come.

    Raises:
        InvalidRequest: what the interface has no field for; `param` names it.
        UnsupportedImage: a picture larger than any that the model sees.
    """
    body: JSONObject = {
        "messages": [_message(message) for message in request.messages],
        "parallel_tool_calls": request.parallel_tool_calls,
    }
    if request.sampling is not None:
        body |= _sampling(request.sampling) | _logprobs(request.sampling)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None:
        body["response_format"] = _format(request.response_format)
    return body


def text_body(request: TextRequest, context_length: int) -> JSONObject:
    """The same for `POST /v1/completions`, which stops early if it is not told how far to go.

    Raises:
        InvalidRequest: as of `chat_body`, and log probabilities, which come without their bytes there.
    """
    prompt = request.prompt
    body: JSONObject = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
    sampling = request.sampling
    if sampling is not None:
        _refuse("top_logprobs", sampling.top_logprobs is not None)
        body |= _sampling(sampling)
    return {"max_tokens": context_length} | body


def _refuse(param: str, given: bool) -> None:
    if given:
        raise InvalidRequest(f"{param} cannot be asked of a server", param)


def _sampling(params: SamplingParams) -> JSONObject:
    """Every field that all kinds of completion have; what is None is the server's own."""
    _refuse("prompt_logprobs", params.prompt_logprobs is not None)
    _refuse("ignore_eos", params.ignore_eos)
    found: JSONObject = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "repeat_penalty": params.repeat_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()},
        "stop": list(params.stop),
    }
    if params.seed is not None:
        found["seed"] = params.seed
    if params.max_tokens is not None:
        found["max_tokens"] = params.max_tokens
    return found


def _logprobs(params: SamplingParams) -> JSONObject:
    if params.top_logprobs is None:
        return {}
    return {"logprobs": True, "top_logprobs": params.top_logprobs}


def _message(message: Message) -> JSONObject:
    content = message.content
    found: JSONObject = {
        "role": message.role,
        "content": content if isinstance(content, str) else [_part(part) for part in content],
    }
    if message.tool_calls:
        found["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _part(part: Part) -> JSONObject:
    if not isinstance(part, ImagePart):
        return {"type": "text", "text": part.text}
    # High: whatever the server's context is, it takes none of the cells away.
    return {"type": "image_url", "image_url": {"url": _address(part.image), "detail": "high"}}


def _address(image: Image) -> str:
    """The pixels as a data URI.

    Raises:
        UnsupportedImage: the server would make the picture smaller.
    """
    from mistral_small_edge.images.encode import png_bytes  # Pillow is slow to import

    if cells(image.width, image.height) != (image.columns, image.rows):
        raise UnsupportedImage(
            f"a picture of {image.width}x{image.height} pixels is larger than the model sees any",
            "messages",
        )
    return f"data:image/png;base64,{b64encode(png_bytes(image)).decode()}"


def _call(call: ToolCall) -> JSONObject:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: Tool) -> JSONObject:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> object:
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


def _format(wanted: ResponseFormat) -> JSONObject:
    match wanted:
        case JsonObject():
            return {"type": "json_object"}
        case JsonSchema():
            return {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": wanted.schema},
            }
        case Choice():
            return {"type": "enum", "enum": list(wanted.options)}
        case Regex():
            return {"type": "regex", "regex": wanted.pattern}
        case LarkGrammar():
            return {"type": "grammar", "grammar": wanted.source}
