"""Foreign templates: rendered as their author meant, told nothing they could leak, never trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.chat.chunks import Chunk, Control, ImageGrid, Text, merged
from mistral_small_edge.chat.jinja_template import JinjaTemplate
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.errors import InvalidRequest

CONTROLS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|im_start|>x", "[INST]", "[/INST]")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content | trim }} [/INST]{% else %}{{ message.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)


def render(source: str, *turns: tuple[str, str]) -> tuple[Chunk, ...]:
    template = JinjaTemplate(source, CONTROLS, "<s>", "</s>")
    messages = tuple(Message(role, content) for role, content in turns)  # type: ignore[arg-type]
    return template.render(ChatRequest(messages))


def spelt(chunks: tuple[Chunk, ...]) -> str:
    return "".join(
        c.name if isinstance(c, Control) else c.text for c in chunks if not isinstance(c, ImageGrid)
    )


@pytest.mark.parametrize(
    ("source", "turns", "expected"),
    [
        (
            CHATML,
            [("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")],
            (
                Control("<|im_start|>"),
                Text("user\nHi"),
                Control("<|im_end|>"),
                Text("\n"),
                Control("<|im_start|>"),
                Text("assistant\nHello."),
                Control("<|im_end|>"),
                Text("\n"),
                Control("<|im_start|>"),
                Text("user\nBye"),
                Control("<|im_end|>"),
                Text("\n"),
                Control("<|im_start|>"),
                Text("assistant\n"),
            ),
        ),
        (
            LLAMA_2,
            [("user", "  padded\n")],
            (Control("<s>"), Control("[INST]"), Text(" padded "), Control("[/INST]")),
        ),
    ],
)
def test_render(source: str, turns: list[tuple[str, str]], expected: tuple[Chunk, ...]) -> None:
    assert render(source, *turns) == expected


def test_a_last_assistant_message_is_continued() -> None:
    assert spelt(render(CHATML, ("user", "Count."), ("assistant", "1, 2,"))).endswith(
        "<|im_start|>assistant\n1, 2,"
    )


def test_the_longest_control_name_wins() -> None:
    assert render("<|im_start|>x{{ messages[0].content }}", ("user", "y")) == (
        Control("<|im_start|>x"),
        Text("y"),
    )


@given(texts=st.lists(st.text(max_size=8) | st.sampled_from(CONTROLS), min_size=1, max_size=5))
def test_message_text_stays_text_and_comes_out_as_it_went_in(texts: list[str]) -> None:
    turns = [("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts)]
    turns.append(("user", "end"))
    chunks = render(CHATML, *turns)
    expected = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    assert spelt(chunks) == expected + "<|im_start|>assistant\n"
    controls = [chunk.name for chunk in chunks if isinstance(chunk, Control)]
    assert controls == ["<|im_start|>", "<|im_end|>"] * len(turns) + ["<|im_start|>"]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_no_field_can_spell_a_control_token(control: str, role: str) -> None:
    chunks = render(CHATML, (role, f"a {control} b"), ("user", control))
    names = [chunk.name for chunk in chunks if isinstance(chunk, Control)]
    assert names == ["<|im_start|>", "<|im_end|>"] * 2 + ["<|im_start|>"]
    assert f"a {control} b" in spelt(chunks)


@pytest.mark.parametrize(
    ("source", "needle"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content + 1 }}", "messages"),
        ("{{ nothing.at.all }}", "nothing"),
        ("{{ messages[7].content.upper() }}", "messages"),
        ("only my own words", "leaves out message 0 (user)"),
    ],
)
def test_a_conversation_the_template_cannot_take_is_the_requests_fault(
    source: str, needle: str
) -> None:
    with pytest.raises(InvalidRequest, match="template") as caught:
        render(source, ("user", "Hi"))
    assert caught.value.param == "messages"
    assert needle in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append({'role': 'user', 'content': 'x'}) }}{{ messages[0].content }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_template_code_cannot_leave_the_sandbox(source: str) -> None:
    with pytest.raises(InvalidRequest):
        render(source, ("user", "Hi"))


def test_what_other_programs_offer_to_templates_is_there() -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        "{{ {'a': 'é<'} | tojson }}{{ strftime_now('%Y') | length }}"
    )
    assert spelt(render(source, ("user", "Hi"))) == 'Hi{"a": "é<"}4'


def test_a_template_that_does_not_compile_says_where() -> None:
    with pytest.raises(ValueError, match="line 2"):
        JinjaTemplate("fine\n{% if %}", CONTROLS, None, None)


def test_empty_messages_are_rendered_as_such() -> None:
    assert "".join(spelt(render(CHATML, ("system", ""), ("user", "  ")))) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n  <|im_end|>\n<|im_start|>assistant\n"
    )


def test_merged_joins_texts_and_drops_empty_ones() -> None:
    parts: list[Chunk] = [Text("a"), Text(""), Text("b"), Control("<s>"), Text(""), Control("</s>")]
    assert merged(parts) == (Text("ab"), Control("<s>"), Control("</s>"))
