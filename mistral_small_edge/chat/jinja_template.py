"""Any model's own chat template: foreign code, run in a sandbox, told nothing it could leak.

Message text is not given to the template. It gets an unguessable placeholder for each message, and
what it renders is cut at the placeholders afterwards: what stands between them is the template's,
and only there are control tokens recognised.
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mistral_small_edge.chat.chunks import Chunk, Control, Text, merged
from mistral_small_edge.chat.grammar import AnswerRules, answer_rules
from mistral_small_edge.chat.messages import ImagePart
from mistral_small_edge.chat.parser import PlainParser
from mistral_small_edge.errors import InvalidRequest, UnsupportedImage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jinja2.parser import Parser

    from mistral_small_edge.chat.messages import ChatRequest, Message


class JinjaTemplate:
    """A compiled template; `render` may be called from any thread.

    Args:
        source: the template as the GGUF carries it.
        control_tokens: names that are control tokens in this vocabulary.
        bos, eos: names of the tokens a template may ask for.

    Raises:
        ValueError: the source is not a template; the text says where.
    """

    def __init__(
        self, source: str, control_tokens: Collection[str], bos: str | None, eos: str | None
    ) -> None:
        try:
            self._template = _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno}: {error.message}") from None
        # Longest first, as llama.cpp does: a name may begin another.
        names = sorted(control_tokens, key=lambda name: (-len(name), name))
        self._controls = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._bos = bos or ""
        self._eos = eos or ""

    family = ()

    def render(self, request: ChatRequest) -> tuple[Chunk, ...]:
        """The prompt for the next assistant turn.

        Raises:
            InvalidRequest: the template refuses the conversation, or leaves a message out.
        """
        _refuse_beyond_text(request)
        guards = [_Guard(message) for message in request.messages]
        rendered = self._run(guards, answer=request.messages[-1].role != "assistant")
        if request.messages[-1].role == "assistant":
            rendered = guards[-1].cut_after(rendered)
        self._refuse_left_out(request.messages, guards, rendered)
        return merged(self._split(rendered, guards))

    def begun(self, request: ChatRequest) -> str:
        """What the caller wrote of the answer, without white space at its end."""
        last = request.messages[-1]
        return last.text.rstrip() if last.role == "assistant" else ""

    def rules(self, request: ChatRequest) -> AnswerRules | None:
        """What the answer's text must be; None if it is free."""
        return answer_rules(request)

    def parser(self, request: ChatRequest) -> PlainParser:  # noqa: ARG002 - as in every dialect
        """Text is all that is known of this model's answers."""
        return PlainParser()

    def _run(self, guards: list[_Guard], *, answer: bool) -> str:
        try:
            return self._template.render(
                messages=[
                    {"role": guard.message.role, "content": guard.content} for guard in guards
                ],
                add_generation_prompt=answer,
                bos_token=self._bos,
                eos_token=self._eos,
                tools=None,
            )
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises, it refuses
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {error}", "messages"
            ) from None

    def _refuse_left_out(
        self, messages: tuple[Message, ...], guards: list[_Guard], rendered: str
    ) -> None:
        for index, (message, guard) in enumerate(zip(messages, guards, strict=True)):
            if guard.core and guard.placeholder not in rendered:
                raise InvalidRequest(
                    f"the model's chat template leaves out message {index} ({message.role})",
                    "messages",
                )

    def _split(self, rendered: str, guards: list[_Guard]) -> Iterator[Chunk]:
        cores = {guard.placeholder: guard.core for guard in guards if guard.core}
        if not cores:
            yield from self._template_part(rendered)
            return
        for index, part in enumerate(re.split(f"({'|'.join(cores)})", rendered)):
            if index % 2:
                yield Text(cores[part])
            else:
                yield from self._template_part(part)

    def _template_part(self, part: str) -> Iterator[Chunk]:
        at = 0
        for found in self._controls.finditer(part):
            yield Text(part[at : found.start()])
            yield Control(found[0])
            at = found.end()
        yield Text(part[at:])


def _refuse_beyond_text(request: ChatRequest) -> None:
    """Templates spell tools and pictures each in their own way: only Mistral's is known here."""
    if request.tools:
        raise InvalidRequest("this model has no tools that this program can drive", "tools")
    for message in request.messages:
        if message.role == "tool" or message.tool_calls:
            raise InvalidRequest(
                "this model has no tools that this program can drive", "messages.tool_calls"
            )
        if any(isinstance(part, ImagePart) for part in message.parts):
            raise UnsupportedImage("this model cannot see images", "messages.content")


class _Guard:
    """A message as the template sees it: its white space, and a placeholder for the rest.

    White space stays in sight because templates trim; it cannot spell a control token.
    """

    def __init__(self, message: Message) -> None:
        text = message.text
        self.message = message
        self.core = text.strip()
        self.placeholder = f"text{secrets.token_hex(16)}"
        begin = text.find(self.core)
        self.content = (
            text[:begin] + self.placeholder + text[begin + len(self.core) :] if self.core else text
        )

    def cut_after(self, rendered: str) -> str:
        """Drop what the template closes the last message with."""
        at = rendered.rfind(self.placeholder)
        return rendered[: at + len(self.placeholder)] if at >= 0 else rendered


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`: training marks what the assistant said; we print it."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own way

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
