"""Drawings of one shape, or of two side by side, and what is true of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from mistral_small_edge.images.geometry import CELL

if TYPE_CHECKING:
    from random import Random

    from numpy.typing import NDArray

COLOURS = {
    "red": (215, 30, 35),
    "green": (35, 160, 60),
    "blue": (35, 70, 215),
    "yellow": (240, 215, 40),
    "purple": (130, 40, 160),
    "orange": (245, 135, 25),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
}
BACKGROUNDS = {"white": (255, 255, 255), "gray": (128, 128, 128), "black": (0, 0, 0)}
SHAPES = ("circle", "square", "triangle", "star")
# What Pixtral's pictures are normalised by.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True, slots=True)
class Figure:
    """A shape in a colour."""

    shape: str
    colour: str

    @property
    def phrase(self) -> str:
        """`red circle`, with the right article before it."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture, and its figures from left to right."""

    picture: Image.Image
    figures: tuple[Figure, ...]
    background: str


def draw(random: Random, width: int, height: int, figures: int = 1) -> Drawing:
    """A drawing of `width` by `height` pixels; the figures are as high as they fit, or smaller."""
    background = random.choice(list(BACKGROUNDS))
    colours = [name for name in COLOURS if name != background]
    chosen = tuple(Figure(random.choice(SHAPES), random.choice(colours)) for _ in range(figures))
    picture = Image.new("RGB", (width, height), _jittered(random, BACKGROUNDS[background]))
    pen = ImageDraw.Draw(picture)
    for place, figure in enumerate(chosen):
        left, right = width * place / figures, width * (place + 1) / figures
        _place(random, pen, figure, (left, 0, right, height))
    return Drawing(picture, chosen, background)


def fitted(picture: Image.Image) -> Image.Image:
    """The picture with its sides stretched up to whole cells."""
    width, height = (math.ceil(side / CELL) * CELL for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def pixels(picture: Image.Image) -> NDArray[np.float32]:
    """(3, height, width) of the fitted picture, normalised."""
    values = np.asarray(fitted(picture), np.float32) / 255
    return np.ascontiguousarray(((values - MEAN) / DEVIATION).transpose(2, 0, 1))


def _place(
    random: Random,
    pen: ImageDraw.ImageDraw,
    figure: Figure,
    box: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = box
    room = min(right - left, bottom - top)
    radius = room * random.uniform(0.27, 0.44)
    x = random.uniform(left + radius, right - radius)
    y = random.uniform(top + radius, bottom - radius)
    fill = _jittered(random, COLOURS[figure.colour])
    if figure.shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif figure.shape == "square":
        half = radius * 0.86
        pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)
    else:
        pen.polygon(_corners(figure.shape, x, y, radius), fill=fill)


def _corners(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """A triangle's three corners, or a star's ten, the first of them on top."""
    number, inner = (3, 1.0) if shape == "triangle" else (10, 0.42)
    corners = []
    for index in range(number):
        angle = 2 * math.pi * index / number - math.pi / 2
        length = radius * (inner if index % 2 and shape == "star" else 1)
        corners.append((x + length * math.cos(angle), y + length * math.sin(angle)))
    return corners


def _jittered(random: Random, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, part + random.randint(-10, 10))) for part in colour)
    return red, green, blue
