"""Ids of tool calls: the caller's, which may be anything, and the model's nine characters.

Deterministic, so that a conversation is the same prompt at every turn, and an answer the same
answer at every repetition.
"""

from __future__ import annotations

import hashlib
import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mistral_small_edge.chat.messages import Message

_NATIVE = re.compile(r"[a-zA-Z0-9]{9}")
_ALPHABET = string.ascii_letters + string.digits


class CallIds:
    """The ids of one conversation, and those that its next answer makes."""

    def __init__(self, messages: Iterable[Message]) -> None:
        ids = list(dict.fromkeys(_ids(messages)))
        self._for_model = {id_: id_ for id_ in ids if _NATIVE.fullmatch(id_)}
        self._used = set(self._for_model)
        for id_ in ids:
            if id_ not in self._for_model:
                self._for_model[id_] = self._unused(id_)
        self._num_calls = len(ids)

    def for_model(self, id_: str) -> str:
        """The nine characters that stand for an id of the conversation."""
        return self._for_model[id_]

    def of_answer(self, index: int, written: str | None) -> str:
        """The id of the answer's call number `index`: as the model wrote it, if that is usable.

        A new one is made where the model wrote none, or one that another call has already.
        """
        if written is not None and written not in self._used and _NATIVE.fullmatch(written):
            self._used.add(written)
            return written
        return self._unused(f"{self._num_calls}/{index}")

    def _unused(self, seed: str) -> str:
        """Nine characters that follow from the seed, and that no other call has."""
        candidate = next(id_ for id_ in _candidates(seed) if id_ not in self._used)
        self._used.add(candidate)
        return candidate


def _ids(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        yield from (call.id for call in message.tool_calls)
        if message.tool_call_id is not None:
            yield message.tool_call_id


def _candidates(seed: str) -> Iterator[str]:
    digest = seed.encode()
    while True:
        digest = hashlib.sha256(digest).digest()
        yield "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:9])
