"""Examples as ids, in exactly the prompt that the program itself renders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.chat.chunks import Chunk, Control, ImageGrid, Text
from mistral_small_edge.chat.tekken_v11 import ARGUMENTS, CALL, CALL_ID, EOS, TekkenV11
from scripts.toy.tekken import SPECIAL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scripts.toy.tasks import Example

BOS_ID, EOS_ID, END_USER_ID = 1, 2, 4
IMG, IMG_BREAK, IMG_END = 10, 12, 13
_IDS = {name: id_ for id_, name in enumerate(SPECIAL_TOKENS)}


@dataclass(frozen=True, slots=True)
class Encoder:
    """Chunks to ids; `text` encodes plain text."""

    text: Callable[[str], list[int]]

    def prompt(self, example: Example) -> list[int]:
        """Ids of the request."""
        return self.ids(TekkenV11().render(example.request))

    def answer(self, example: Example) -> list[int]:
        """Ids of the right answer, its end included."""
        return self.ids(_answer_chunks(example))

    def ids(self, chunks: Iterable[Chunk]) -> list[int]:
        """Ids of chunks; an image is its marks."""
        ids: list[int] = []
        for chunk in chunks:
            match chunk:
                case Control(name):
                    ids.append(_IDS[name])
                case Text(text):
                    ids += self.text(text)
                case ImageGrid(columns=columns, rows=rows):
                    marks = ([IMG] * columns + [IMG_BREAK]) * rows
                    ids += [*marks[:-1], IMG_END]
        return ids


def _answer_chunks(example: Example) -> Iterator[Chunk]:
    if example.answer:
        yield Text(example.answer)
    for call in example.calls:
        yield from (CALL, Text(call.name), CALL_ID, Text(call.id))
        yield from (ARGUMENTS, Text(call.arguments))
    yield EOS
