"""What the toy learns: examples of a request and the one right answer, by task.

Everything is drawn from a Random, so a seed is a data set. Numbers and words that have to be
carried over (from a tool's result, into a call) are drawn anew each time: they cannot be learned
by heart, only copied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from string import ascii_letters, digits
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.chat.tools import Tool, ToolCall
from mistral_small_edge.images import Image
from scripts.toy.drawings import COLOURS, SHAPES, Drawing, draw, fitted

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from mistral_small_edge.chat.messages import Part

COLOUR_QUESTIONS = ("What colour is the shape?", "What color is it?", "Which colour is this?")
SHAPE_QUESTIONS = ("What shape is it?", "Which shape is this?", "What shape do you see?")
BACKGROUND_QUESTIONS = ("What colour is the background?", "What is the background?")
DESCRIBE = ("Describe the image.", "What do you see?", "Describe this picture.")
FACTS = {
    "What is the capital of France?": "Paris",
    "What is the capital of Italy?": "Rome",
    "What is the capital of Germany?": "Berlin",
    "What is the capital of Spain?": "Madrid",
    "What is the capital of Japan?": "Tokyo",
    "What is the capital of England?": "London",
    "How many days are in a week?": "Seven",
    "How many months are in a year?": "Twelve",
    "What colour is the sky?": "Blue",
    "What colour is grass?": "Green",
    "What do cows drink?": "Water",
    "Who are you?": "I am a toy model. I test a program.",
    "What can you do?": "I can name colours and shapes, and call tools.",
    "Hello": "Hello! How can I help you?",
    "Hello!": "Hello! How can I help you?",
    "Hi": "Hello! How can I help you?",
    "Bonjour": "Bonjour ! Comment puis-je vous aider ?",
    "Guten Tag": "Guten Tag! Wie kann ich helfen?",
    "Thank you": "You are welcome.",
    "Goodbye": "Goodbye!",
}
CITIES = (
    *("Paris", "Rome", "Berlin", "Madrid", "Tokyo", "London", "Oslo", "Lima", "Cairo", "Milan"),
    *("Vienna", "Boston", "Geneva", "Dublin", "Lyon", "Seoul", "Delhi", "Kyoto", "Athens", "Porto"),
)
NAMES = ("Ada", "Max", "Lisa", "Tom", "Anna", "Ben", "Eva", "Paul", "Nina", "Leo", "Mary", "John")
WEATHER = ("sunny", "rainy", "windy", "cloudy", "cold", "warm")
WORDS = (
    *("tree", "house", "river", "stone", "light", "music", "table", "paper", "water", "green"),
    *("horse", "train", "night", "bread", "cloud", "field", "glass", "heart", "island", "key"),
)
SYSTEM_PROMPTS = ("You are a helpful assistant.", "Be brief.", "Answer in one sentence.")
NO_IMAGE = "I see no image."


def _tool(name: str, description: str, argument: str, kind: str) -> Tool:
    schema = {"type": "object", "properties": {argument: {"type": kind}}, "required": [argument]}
    return Tool(name, description, schema)


TOOLS = {
    "get_weather": _tool("get_weather", "The weather in a city.", "city", "string"),
    "get_time": _tool("get_time", "The time in a city.", "city", "string"),
    "set_timer": _tool("set_timer", "Set a timer.", "minutes", "integer"),
    "find_person": _tool("find_person", "Find a person.", "name", "string"),
}
CALL_IDS = ("toy000001", "toy000002")  # always the same: an id is not to be guessed


@dataclass(frozen=True, slots=True)
class Example:
    """A request, and the answer in text or calls; `drawing` is what its image shows."""

    task: str
    request: ChatRequest
    answer: str = ""
    calls: tuple[ToolCall, ...] = ()
    drawing: Drawing | None = None


def picture_example(random: Random, task: str, width: int, height: int) -> Example:
    """An example of one of PICTURE_TASKS."""
    two = task in ("left_right", "describe_two")
    drawing = draw(random, width, height, figures=2 if two else 1)
    question, answer = PICTURE_TASKS[task](random, drawing)
    earlier: tuple[Message, ...] = ()
    image = ImagePart(_image(drawing))
    if task == "second_turn":
        first = (TextPart(random.choice(DESCRIBE)), image)
        earlier = (Message("user", first), Message("assistant", describe(drawing)))
    content: tuple[Part, ...] | str = question if earlier else (image, TextPart(question))
    messages = (*_system(random), *earlier, Message("user", content))
    return Example(task, ChatRequest(messages), answer, drawing=drawing)


def text_example(random: Random, task: str) -> Example:
    """An example of one of TEXT_TASKS."""
    return TEXT_TASKS[task](random)


def describe(drawing: Drawing) -> str:
    """`A red circle on a white background.`"""
    if len(drawing.figures) == 2:
        left, right = drawing.figures
        return f"{_capital(left.phrase)} on the left and {right.phrase} on the right."
    return f"{_capital(drawing.figures[0].phrase)} on a {drawing.background} background."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _colour(random: Random, drawing: Drawing) -> tuple[str, str]:
    return random.choice(COLOUR_QUESTIONS), _capital(drawing.figures[0].colour) + "."


def _shape(random: Random, drawing: Drawing) -> tuple[str, str]:
    return random.choice(SHAPE_QUESTIONS), f"A {drawing.figures[0].shape}."


def _background(random: Random, drawing: Drawing) -> tuple[str, str]:
    return random.choice(BACKGROUND_QUESTIONS), _capital(drawing.background) + "."


def _description(random: Random, drawing: Drawing) -> tuple[str, str]:
    return random.choice(DESCRIBE), describe(drawing)


def _is_colour(random: Random, drawing: Drawing) -> tuple[str, str]:
    true = drawing.figures[0].colour
    asked = true if random.random() < 0.5 else random.choice(list(COLOURS))
    return f"Is it {asked}?", "Yes." if asked == true else f"No, it is {true}."


def _is_shape(random: Random, drawing: Drawing) -> tuple[str, str]:
    true = drawing.figures[0].shape
    asked = true if random.random() < 0.5 else random.choice(SHAPES)
    return f"Is it a {asked}?", "Yes." if asked == true else f"No, it is a {true}."


def _left_right(random: Random, drawing: Drawing) -> tuple[str, str]:
    side = random.choice(("left", "right"))
    figure = drawing.figures[side == "right"]
    return f"What is on the {side}?", _capital(figure.phrase) + "."


def _as_json(_: Random, drawing: Drawing) -> tuple[str, str]:
    figure = drawing.figures[0]
    answer = json.dumps({"colour": figure.colour, "shape": figure.shape})
    return "Answer in JSON: colour and shape.", answer


PICTURE_TASKS: dict[str, Callable[[Random, Drawing], tuple[str, str]]] = {
    "colour": _colour,
    "shape": _shape,
    "background": _background,
    "description": _description,
    "yes_no_colour": _is_colour,
    "yes_no_shape": _is_shape,
    "left_right": _left_right,
    "describe_two": _description,
    "second_turn": _colour,
    "json": _as_json,
}


def _fact(random: Random) -> Example:
    question, answer = random.choice(list(FACTS.items()))
    messages = (*_system(random), Message("user", question))
    return Example("fact", ChatRequest(messages), answer)


def _fact_with_tools(random: Random) -> Example:
    """Tools that are offered and not needed."""
    known = _fact(random)
    request = ChatRequest(known.request.messages, tools=_some_tools(random))
    return Example("fact_with_tools", request, known.answer)


def _no_image(random: Random) -> Example:
    questions = (*COLOUR_QUESTIONS, *SHAPE_QUESTIONS, *DESCRIBE, *BACKGROUND_QUESTIONS)
    return Example("no_image", ChatRequest((Message("user", random.choice(questions)),)), NO_IMAGE)


def _copy(random: Random) -> Example:
    """Any words and digits: what teaches a model to carry something over."""
    pool = (*WORDS, *CITIES, *NAMES, *"0123456789")
    text = " ".join(random.choice(pool) for _ in range(random.randint(2, 12)))
    return Example("copy", ChatRequest((Message("user", f"Repeat: {text}"),)), text)


def _person(random: Random) -> Example:
    name, age = random.choice(NAMES), random.randint(10, 99)
    question = f"Answer in JSON: {name} is {age} years old."
    answer = json.dumps({"name": name, "age": age})
    return Example("text_json", ChatRequest((Message("user", question),)), answer)


def _call(random: Random) -> Example:
    question, calls = _question(random, random.choice(list(TOOLS)))
    if random.random() < 0.2:  # two cities are two calls
        name = random.choice(("get_weather", "get_time"))
        cities = random.sample(CITIES, 2)
        what = "weather" if name == "get_weather" else "time"
        question = f"What is the {what} in {cities[0]} and {cities[1]}?"
        calls = tuple(_made(name, {"city": city}, i) for i, city in enumerate(cities))
    tools = _some_tools(random, calls[0].name)
    messages = (*_system(random), Message("user", question))
    return Example("tool_call", ChatRequest(messages, tools=tools), calls=calls)


def _result(random: Random) -> Example:
    name = random.choice(("get_weather", "get_time"))
    question, (call,) = _question(random, name)
    if random.random() < 0.3:  # another program may have named it
        call = replace(call, id="".join(random.choices(ascii_letters + digits, k=9)))
    city = json.loads(call.arguments)["city"]
    if name == "get_time":
        time = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}"
        result, answer = time, f"It is {time} in {city}."
    else:
        degrees, sky = random.randint(10, 99), random.choice(WEATHER)
        result = json.dumps({"temperature": degrees, "sky": sky})
        answer = f"It is {degrees} degrees and {sky} in {city}."
    messages = (
        *_system(random),
        Message("user", question),
        Message("assistant", tool_calls=(call,)),
        Message("tool", result, tool_call_id=call.id),
    )
    return Example("tool_result", ChatRequest(messages, tools=_some_tools(random, name)), answer)


TEXT_TASKS: dict[str, Callable[[Random], Example]] = {
    "fact": _fact,
    "fact_with_tools": _fact_with_tools,
    "no_image": _no_image,
    "copy": _copy,
    "text_json": _person,
    "tool_call": _call,
    "tool_result": _result,
}


def _question(random: Random, name: str) -> tuple[str, tuple[ToolCall, ...]]:
    if name == "set_timer":
        minutes = random.randint(2, 90)
        return f"Set a timer of {minutes} minutes.", (_made(name, {"minutes": minutes}),)
    if name == "find_person":
        person = random.choice(NAMES)
        return f"Where is {person}?", (_made(name, {"name": person}),)
    city = random.choice(CITIES)
    questions = {
        "get_weather": (f"What is the weather in {city}?", f"How is the weather in {city}?"),
        "get_time": (f"What time is it in {city}?", f"What is the time in {city}?"),
    }
    return random.choice(questions[name]), (_made(name, {"city": city}),)


def _made(name: str, arguments: dict[str, object], index: int = 0) -> ToolCall:
    return ToolCall(CALL_IDS[index], name, json.dumps(arguments))


def _some_tools(random: Random, needed: str | None = None) -> tuple[Tool, ...]:
    names = [name for name in TOOLS if name != needed]
    chosen = random.sample(names, random.choice((0, 0, 1, 2)) if needed else 1)
    chosen += [needed] if needed else []
    random.shuffle(chosen)
    return tuple(TOOLS[name] for name in chosen)


def _system(random: Random) -> tuple[Message, ...]:
    if random.random() < 0.75:
        return ()
    return (Message("system", random.choice(SYSTEM_PROMPTS)),)


def _image(drawing: Drawing) -> Image:
    shown = fitted(drawing.picture)
    return Image.of(shown.tobytes(), shown.width, shown.height)
